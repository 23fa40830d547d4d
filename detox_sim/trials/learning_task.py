"""What a trial learns: its data, its model, and the gradients of the files of a step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detox_sim import data, models
from detox_sim.arrays import to_backend, to_torch
from detox_sim.catalogue import bind
from detox_sim.models import Gradients, Model
from detox_sim.streams import stream
from detox_sim.trials.trial import Trial

if TYPE_CHECKING:
    import torch

EVALUATED_NODE = 0  # whose batch-norm statistics evaluate: the first node's, as in the DETOX code
RECALIBRATION_IMAGES = 2048  # at most; training images that give the recalibrated statistics


class State(NamedTuple):
    """Parameters and velocity (d,) at the server, and the running statistics (s,) of one node."""

    params: Any
    velocity: Any
    statistics: np.ndarray


class LearningTask:
    """The data and the model of a trial, loaded once a process.

    Every node keeps the batch-norm statistics of the files it saw; nobody shares them. Those of
    node 0 evaluate, so only these are kept.

    Parameters
    ----------
    trial : Trial
    files : int
        Parts of a step's batch.

    Examples
    --------
    >>> task = LearningTask(Trial(batch=45), files=15)
    >>> losses, rows, _ = task.gradients(task.initial().params, step=1, files=[0, 7])
    >>> losses.shape, rows.shape == (2, task.model.parameters)
    ((2,), True)
    """

    def __init__(self, trial: Trial, files: int):
        self._trial, self._data = trial, trial.dataset
        self._evaluated = {"": self._data}
        if trial.validation:
            self._data, self._evaluated["validation"] = data.hold_out(self._data, trial.validation)
        factory = bind(models, trial.model, trial.model_options)
        self._made_by = factory, self._data.train_images.shape[1:], self._data.classes
        self.model = Model(
            *self._made_by,
            backend=trial.backend,
            precision=trial.precision,
            channels_last=trial.channels_last,
        )
        self._images = to_torch(self._data.train_images).to(self.model.device)
        self.title, self.files = self._data.title, files

    def initial(self) -> State:
        """Return the state before the first step."""
        params = self.model.initial(stream(self._trial.seed, "parameters"))
        statistics = self.model.initial_statistics()
        params = to_backend(params, self._trial.backend)
        return State(params, np.zeros_like(params), statistics)

    def sample_flops(self) -> int:
        """Return the floating-point operations of the gradient of one image."""
        return models.sample_flops(*self._made_by)

    def gradients(
        self,
        params,
        step: int,
        files: Sequence[int] | np.ndarray,
        relabelled: bool = False,
    ) -> Gradients:
        """Return losses (n,), gradients (n, d), statistics (n, s) of the given files of a step.

        `relabelled` asks for those of label c as classes - 1 - c.
        """
        labels, trial = self._data.train_labels, self._trial
        batch = stream(trial.seed, "batch", step).choice(len(labels), trial.batch, False)
        mine = batch.reshape(self.files, -1)[np.asarray(files)]
        wanted = self._data.classes - 1 - labels[mine] if relabelled else labels[mine]
        images = self._scaled(self._drawn(mine, step, files)).unflatten(0, mine.shape)
        seeds = stream(trial.seed, "model", step).integers(2**63, size=self.files)
        return self.model.gradients(params, images, wanted, seeds[np.asarray(files)].tolist())

    def _drawn(self, mine: np.ndarray, step: int, files) -> "torch.Tensor":
        """Return the images of some files (n, images a file), each cropped and flipped at random.

        What is drawn belongs to the file, so that all its copies see the same images.
        """
        import torch

        device, padding = self.model.device, self._data.padding
        place = torch.from_numpy(mine.ravel()).to(device)
        if not padding:
            return self._images.index_select(0, place)  # quicker than [place]
        draws = [self._draw(step, int(file), mine.shape[1]) for file in files]
        shifts, flips = (np.concatenate(parts) for parts in zip(*draws, strict=True))
        *_, channels, height, width = self._images.shape
        rows = _reflected(shifts[:, :1] + np.arange(height) - padding, height)
        columns = _reflected(shifts[:, 1:] + np.arange(width) - padding, width)
        columns = np.where(flips[:, None], columns[:, ::-1], columns)
        channel = torch.arange(channels, device=device)
        return self._images[
            place[:, None, None, None],
            channel[:, None, None],
            torch.from_numpy(rows).to(device)[:, None, :, None],
            torch.from_numpy(columns).to(device)[:, None, None, :],
        ]

    def _draw(self, step: int, file: int, images: int) -> tuple[np.ndarray, np.ndarray]:
        rng = stream(self._trial.seed, "augmentation", step, file)
        shifts = rng.integers(2 * self._data.padding + 1, size=(images, 2))
        return shifts, rng.random(images) < 0.5

    def _scaled(self, images: "torch.Tensor") -> "torch.Tensor":
        """Return what the model sees of images (n, channels, height, width)."""
        import torch

        seen = images.to(torch.float32, copy=True)  # changed in place: new memory takes longer
        if images.dtype == torch.uint8:
            seen /= 255
        mean, deviation = (
            torch.tensor(values, dtype=torch.float32, device=images.device)[:, None, None]
            for values in (self._data.mean, self._data.deviation)
        )
        seen -= mean
        seen /= deviation
        return seen

    def update(self, state: State, aggregate, seen: np.ndarray, step: int) -> State:
        """Return the state after the server's step with momentum.

        Parameters
        ----------
        state : State
        aggregate : float32 (d,)
        seen : float32 (n, s)
            Batch statistics of the files of the node that evaluates, in its order.
        step : int
        """
        trial, statistics = self._trial, state.statistics
        velocity = np.float32(trial.momentum) * state.velocity + aggregate
        rate = trial.rate * trial.decay ** (step // trial.decay_every)
        for each in seen:
            statistics = statistics + self.model.statistics_momentum * (each - statistics)
        return State(state.params - np.float32(rate) * velocity, velocity, statistics)

    def evaluate(self, state: State) -> dict[str, float]:
        """Return losses and accuracies by the names they have in a history.

        `accuracy` and `test_loss`; of a model with batch norms these use the running statistics of
        one node, and `recalibrated_accuracy` and `recalibrated_test_loss` those of a fixed set of
        at most `RECALIBRATION_IMAGES` training images without augmentation, in one pass. With a
        validation split the same of it, with ``validation`` in place of ``test``.
        """
        statistics = {"": state.statistics}
        if state.statistics.size:
            statistics["recalibrated_"] = self._recalibrated(state.params)
        found = {}
        for part, data_set in self._evaluated.items():
            images = self._scaled(to_torch(data_set.test_images).to(self.model.device))
            for way, used in statistics.items():
                loss, accuracy = self.model.evaluate(
                    state.params, images, data_set.test_labels, used
                )
                found[f"{way}{part or 'test'}_loss"] = loss
                found[f"{way}{part}{'_' * bool(part)}accuracy"] = accuracy
        return found

    def _recalibrated(self, params) -> np.ndarray:
        """Return the batch-norm statistics (s,) of a fixed set of training images."""
        import torch

        order = stream(0, "recalibration").permutation(len(self._images))
        chosen = torch.from_numpy(order[:RECALIBRATION_IMAGES]).to(self.model.device)
        images = self._scaled(self._images.index_select(0, chosen))
        return self.model.batch_statistics(params, images)


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Return places inside 0..size-1 for places that may lie a little outside: mirror images.

    Examples
    --------
    >>> _reflected(np.array([-2, -1, 0, 3, 4]), 4)
    array([2, 1, 0, 3, 2])
    """
    return size - 1 - np.abs(size - 1 - np.abs(index))
