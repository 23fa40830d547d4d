"""What a trial learns: its data, its model, and the gradients of the files of a step."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from detox_sim import attacks, data, models
from detox_sim.arrays import to_backend, to_host, to_torch
from detox_sim.catalogue import accepts, bind
from detox_sim.models import Gradients, Model
from detox_sim.streams import stream
from detox_sim.trials.state import Computed, State
from detox_sim.trials.trial import Trial, slots

if TYPE_CHECKING:
    import torch

    from detox_sim.voting import Reaction

EVALUATED_WORKER = 0  # whose batch-norm statistics evaluate: the first's, as in the DETOX code
SPREAD_IMAGES = 256  # of a slot, at most, of which its gradient is taken
RECALIBRATION_IMAGES = 2048  # at most; training images that give the recalibrated statistics


class LearningTask:
    """The data and the model of a trial, loaded once a process.

    Every worker has running batch-norm statistics, of the files it computed. Those of worker 0
    evaluate, so only these are kept.

    Parameters
    ----------
    trial : Trial

    Attributes
    ----------
    model : Model
    title : str
        What the data are called.
    wants_relabelled : bool
        The attack asks for the rows of relabelled files.

    Examples
    --------
    >>> task = LearningTask(Trial(batch=45))
    >>> files = [0, 7]
    >>> losses, rows, _ = task.gradients(task.initial().params, 1, files, task.draw(1)[files])
    >>> losses.shape, rows.shape == (2, task.model.parameters)
    ((2,), True)
    """

    def __init__(self, trial: Trial):
        self._trial, self._data = trial, trial.dataset
        self._evaluated = {"": self._data}
        if trial.validation:
            self._data, self._evaluated["validation"] = data.hold_out(self._data, trial.validation)
        self._slots = slots(trial, self._data.train_labels)
        factory = bind(models, trial.model, trial.model_options)
        self._made_by = factory, self._data.train_images.shape[1:], self._data.classes
        self.model = Model(
            *self._made_by,
            backend=trial.backend,
            precision=trial.precision,
            channels_last=trial.channels_last,
        )
        self._draws_nothing = models.is_dense(*self._made_by)
        attack = bind(attacks, trial.attack, trial.attack_options)
        self.wants_relabelled = accepts(attack, "relabelled")
        self._images = to_torch(self._data.train_images).to(self.model.device)
        self._scale = self._moments()
        self.title = self._data.title

    def initial(self) -> State:
        """Return the state before the first step."""
        trial = self._trial
        params = self.model.initial(stream(trial.seed, "parameters"))
        statistics = self.model.initial_statistics()
        params = to_backend(params, trial.backend)
        slots = trial.files * (1 + self.wants_relabelled) if trial.worker_momentum else 0
        momenta = np.zeros_like(params, shape=(slots, params.size))
        excluded = np.zeros(trial.workers, dtype=bool)
        zeros = np.zeros_like(params)
        return State(params, zeros, zeros, momenta, excluded, statistics)

    def sample_flops(self) -> int:
        """Return the floating-point operations of the gradient of one image."""
        return models.sample_flops(*self._made_by)

    def draw(self, step: int) -> np.ndarray:
        """Return the training images of a step, split evenly into files: int (files, images).

        With a partition each file is drawn from its own slot, without an image twice unless the
        slot has fewer than a file.

        Examples
        --------
        >>> LearningTask(Trial(batch=45)).draw(step=1).shape
        (15, 3)
        """
        trial, images = self._trial, len(self._data.train_labels)
        if self._slots is not None:
            size = trial.batch // trial.files
            drawn = [
                _draw(slot, size, stream(trial.seed, "batch", step, j))
                for j, slot in enumerate(self._slots)
            ]
            return np.stack(drawn)
        batch = stream(trial.seed, "batch", step).choice(images, trial.batch, False)
        return batch.reshape(trial.files, -1)

    def compute(
        self,
        params,
        momenta,
        step: int,
        files: Sequence[int] | np.ndarray,
        images: np.ndarray,
        relabelled: bool,
    ) -> Computed:
        """Compute what honest workers send of some files of a step.

        Parameters
        ----------
        params : float32 (d,)
        momenta : array (n or 2 n, d)
            ``Computed.momenta`` of these files after the step before; not looked at without worker
            momentum.
        step, files, images
            As in `gradients`.
        relabelled : bool
            Compute the rows of relabelled files too.
        """
        start = time.perf_counter()
        losses, rows, statistics = self.gradients(params, step, files, images)
        seconds = time.perf_counter() - start
        others = None
        if relabelled:
            others = self.gradients(params, step, files, images, relabelled=True).rows
        if self._trial.worker_momentum:
            n = len(files)
            rows = self._with_momentum(momenta[:n], rows)
            if relabelled:
                others = self._with_momentum(momenta[n:], others)
        return Computed(files, losses, rows, statistics, others, seconds)

    def _with_momentum(self, momenta, gradients):
        """Return the momenta after a step; always by this expression, so that copies are equal."""
        beta = self._trial.worker_momentum
        return np.float32(beta) * momenta + np.float32(1 - beta) * gradients

    def gradients(
        self,
        params,
        step: int,
        files: Sequence[int] | np.ndarray,
        images: np.ndarray,
        relabelled: bool = False,
    ) -> Gradients:
        """Return losses (n,), gradients (n, d) and batch statistics (n, s) of some files of a step.

        Parameters
        ----------
        params : float32 (d,)
        step : int
        files : sequence of int (n,)
            Which files; augmentation and dropout are drawn by the number of a file, so that all
            its copies see the same.
        images : int (n, images a file)
            The rows of `draw` of these files.
        relabelled : bool
            Take an image of class c for one of class classes - 1 - c.
        """
        labels = self._data.train_labels[images]
        if relabelled:
            labels = self._data.classes - 1 - labels
        if self._data.padding:
            seen = self._scaled(self._augmented(images, step, files))
        else:
            seen = self._scaled(self._images, images.ravel())
        seen = seen.unflatten(0, images.shape)
        seeds = None if self._draws_nothing else self._seeds(step)[np.asarray(files)].tolist()
        return self.model.gradients(params, seen, labels, seeds)

    def _seeds(self, step: int) -> np.ndarray:
        """Return what seeds the draws of the model, such as dropout, by file (files,)."""
        return stream(self._trial.seed, "model", step).integers(2**63, size=self._trial.files)

    def _augmented(self, chosen: np.ndarray, step: int, files) -> "torch.Tensor":
        """Return the images of some files (n, images a file), cropped and flipped at random."""
        import torch

        device, padding = self.model.device, self._data.padding
        index = torch.from_numpy(chosen.ravel()).to(device)
        draws = [self._draw_crops(step, int(file), chosen.shape[1]) for file in files]
        shifts, flips = (np.concatenate(parts) for parts in zip(*draws, strict=True))
        *_, channels, height, width = self._images.shape
        rows = _reflected(shifts[:, :1] + np.arange(height) - padding, height)
        columns = _reflected(shifts[:, 1:] + np.arange(width) - padding, width)
        columns = np.where(flips[:, None], columns[:, ::-1], columns)
        channel = torch.arange(channels, device=device)
        return self._images[
            index[:, None, None, None],
            channel[:, None, None],
            torch.from_numpy(rows).to(device)[:, None, :, None],
            torch.from_numpy(columns).to(device)[:, None, None, :],
        ]

    def _draw_crops(self, step: int, file: int, images: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the shifts (images, 2) of the crops of a file, and whether to flip (images,)."""
        rng = stream(self._trial.seed, "augmentation", step, file)
        shifts = rng.integers(2 * self._data.padding + 1, size=(images, 2))
        return shifts, rng.random(images) < 0.5

    def _scaled(self, images: "torch.Tensor", chosen: np.ndarray | None = None) -> "torch.Tensor":
        """Return what the model sees of images (n, channels, height, width), by default all."""
        from detox_sim.data.scaling import scaled

        return scaled(images, *self._scale, chosen)

    def _moments(self) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return mean and deviation of the data, each (channels,)."""
        import torch

        data, device = self._data, self.model.device
        channels = self._images.shape[1:2]
        mean = torch.tensor(data.mean, dtype=torch.float32, device=device)
        deviation = torch.tensor(data.deviation, dtype=torch.float32, device=device)
        return mean.expand(channels).contiguous(), deviation.expand(channels).contiguous()

    def update(
        self,
        state: State,
        aggregate,
        seen: np.ndarray,
        reaction: "Reaction | None",
        step: int,
    ) -> State:
        """Return the state after the server's step with momentum; momenta are left as they are.

        Parameters
        ----------
        state : State
        aggregate : float32 (d,)
        seen : float32 (n, s)
            Batch statistics of the files of the worker that evaluates, in ascending order.
        reaction : voting.Reaction or None
            Of the vote; the workers that it exposed are excluded.
        step : int
        """
        trial, statistics = self._trial, state.statistics
        velocity = np.float32(trial.momentum) * state.velocity + aggregate
        rate = trial.rate * trial.decay ** (step // trial.decay_every)
        for each in seen:
            statistics = statistics + self.model.statistics_momentum * (each - statistics)
        params = state.params - np.float32(rate) * velocity
        excluded = state.excluded if reaction is None else state.excluded | reaction.exposed
        return State(params, velocity, aggregate, state.momenta, excluded, statistics)

    def evaluate(self, state: State) -> dict[str, float]:
        """Return losses and accuracies by the names they have in a history.

        `accuracy` and `test_loss`; of a model with batch norms these use the running statistics of
        worker 0, and `recalibrated_accuracy` and `recalibrated_test_loss` those of a fixed set of
        at most `RECALIBRATION_IMAGES` training images without augmentation, in one pass. With a
        validation split also ``validation_accuracy``, ``validation_loss`` and their recalibrated
        values. With a partition also `slot_spread`, the root mean square distance of the slots'
        gradients from their mean (G in bounds for heterogeneous data).
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
        if self._slots is not None:
            found["slot_spread"] = self._slot_spread(state.params)
        return found

    def _slot_spread(self, params) -> float:
        """Return the root mean square distance of the slots' gradients from their mean.

        Of at most `SPREAD_IMAGES` images of each slot, without augmentation.
        """
        assert self._slots is not None
        total, squares = np.zeros(self.model.parameters), 0.0
        for slot in self._slots:
            chosen = slot[:SPREAD_IMAGES]
            images = self._scaled(self._images, chosen)[None]
            labels = self._data.train_labels[chosen][None]
            seeds = None if self._draws_nothing else [0]
            row = to_host(self.model.gradients(params, images, labels, seeds).rows)[0]
            row = row.astype(np.float64)
            total, squares = total + row, squares + float((row * row).sum())
        mean = total / len(self._slots)
        return float(np.sqrt(max(0.0, squares / len(self._slots) - float((mean * mean).sum()))))

    def _recalibrated(self, params) -> np.ndarray:
        """Return the batch-norm statistics (s,) of a fixed set of training images."""
        order = stream(0, "recalibration").permutation(len(self._images))
        images = self._scaled(self._images, order[:RECALIBRATION_IMAGES])
        return self.model.batch_statistics(params, images)


def _draw(slot: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return so many images of a slot: one order of all after the other, until there are enough.

    Examples
    --------
    >>> sorted(_draw(np.array([3, 5]), 4, np.random.default_rng(0)).tolist())
    [3, 3, 5, 5]
    """
    orders = [rng.permutation(slot) for _ in range(-(-size // len(slot)))]
    return np.concatenate(orders)[:size]


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Return indices that are a little outside 0..size-1 mirrored into it.

    Examples
    --------
    >>> _reflected(np.array([-2, -1, 0, 3, 4]), 4)
    array([2, 1, 0, 3, 2])
    """
    return size - 1 - np.abs(size - 1 - np.abs(index))
