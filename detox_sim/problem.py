"""What a trial learns: its data, its model, and the gradients of the files of a step."""

from collections.abc import Sequence

import numpy as np

from detox_sim import models
from detox_sim.catalogue import bind
from detox_sim.models import Evaluation, Model
from detox_sim.streams import stream
from detox_sim.trial import Trial


class Problem:
    """The data and the model of a trial, loaded once a process.

    Parameters
    ----------
    trial : Trial
    files : int
        Parts of a step's batch.

    Examples
    --------
    >>> problem = Problem(Trial(batch=45), files=15)
    >>> losses, rows = problem.gradients(problem.initial(), step=1, files=[0, 7])
    >>> losses.shape, rows.shape == (2, problem.model.parameters)
    ((2,), True)
    """

    def __init__(self, trial: Trial, files: int):
        self._trial, self._data = trial, trial.dataset
        factory = bind(models, trial.model, trial.model_options)
        self._made_by = factory, self._data.train_images.shape[1:], self._data.classes
        self.model = Model(factory(*self._made_by[1:]))
        self.files = files

    def initial(self) -> np.ndarray:
        """Return the parameters (d,) of step 0."""
        return self.model.initial(stream(self._trial.seed, "parameters"))

    def sample_flops(self) -> int:
        """Return the floating-point operations of the gradient of one image."""
        return models.sample_flops(*self._made_by)

    def gradients(
        self,
        params: np.ndarray,
        step: int,
        files: Sequence[int] | np.ndarray,
        relabelled: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean losses (n,) of the given files of a step, and their gradients (n, d).

        `relabelled` asks for those of label c as classes - 1 - c.
        """
        images, labels = self._data.train_images, self._data.train_labels
        batch = stream(self._trial.seed, "batch", step).choice(
            len(images), self._trial.batch, False
        )
        mine = batch.reshape(self.files, -1)[np.asarray(files)]
        wanted = self._data.classes - 1 - labels[mine] if relabelled else labels[mine]
        return self.model.gradients(params, images[mine], wanted)

    def update(self, params, velocity, aggregate):
        """Return parameters and velocity (d,) after the server's step with momentum."""
        velocity = np.float32(self._trial.momentum) * velocity + aggregate
        return params - np.float32(self._trial.rate) * velocity, velocity

    def evaluate(self, params: np.ndarray) -> Evaluation:
        """Return loss and accuracy on the test set."""
        return self.model.evaluate(params, self._data.test_images, self._data.test_labels)
