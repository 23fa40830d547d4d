"""What the tests of the codes share: gradients, their array libraries, and relative errors."""

import array_api_strict
import dask.array
import numpy as np

from detox_sim import data, models
from detox_sim.streams import stream

LIBRARIES = {
    "strict": array_api_strict.asarray,
    "numpy": lambda rows: rows,
    "dask": lambda rows: dask.array.from_array(rows, chunks=(7, 900)),
}


def normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def real_gradients(files):
    """Return gradients (files, 4810) of a perceptron on the digits."""
    digits = data.digits()
    images, labels = digits.train_images, digits.train_labels
    model = models.Model(models.mlp, images.shape[1:], digits.classes)
    parts = [array[: 12 * files].reshape(files, 12, *array.shape[1:]) for array in (images, labels)]
    with models.one_thread():
        return model.gradients(model.initial(stream(0, "parameters")), *parts)[1]


def relative(got, wanted):
    return np.linalg.norm(np.asarray(got) - wanted) / np.linalg.norm(wanted)
