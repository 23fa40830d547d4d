"""Gradients of dense models without autograd have the bits of autograd under `vmap`."""

import numpy as np
from torch import nn

from detox_sim.models import Model, mlp, one_thread, softmax
from detox_sim.models.backward import chain


def deep(shape, classes):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 20), nn.Sigmoid(), nn.Identity(),
        nn.Linear(20, classes), nn.ReLU(),
    )  # fmt: skip


def logarithmic(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes), nn.LogSoftmax(dim=1))


def test_bits_are_those_of_autograd():
    rng = np.random.default_rng(0)
    for factory in (mlp, softmax, deep, logarithmic):
        model = Model(factory, (1, 8, 8), 10)
        layers = model._layers
        assert layers is not None
        for files, size in ((1, 1), (1, 40), (2, 3), (5, 6), (15, 1), (15, 12), (45, 4)):
            images = rng.random((files, size, 1, 8, 8), dtype=np.float32)
            labels = rng.integers(0, 10, (files, size))
            for scale in (1.0, 30.0, np.inf):
                params = (scale * model.initial(rng)).astype(np.float32)
                found = []
                for model._layers in (layers, None):
                    with one_thread():
                        found.append(model.gradients(params, images, labels))
                case = factory.__name__, files, size, scale
                assert found[0].losses.tobytes() == found[1].losses.tobytes(), case
                assert found[0].rows.tobytes() == found[1].rows.tobytes(), case


def test_other_models_are_left_to_autograd():
    twice = nn.Linear(4, 4)
    for module in (
        nn.Linear(4, 4),
        nn.Sequential(nn.Linear(4, 4)),
        nn.Sequential(nn.Flatten(2), nn.Linear(4, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False)),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Dropout()),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.LogSoftmax(0)),
        nn.Sequential(nn.Flatten(), twice, twice),
        nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(4, 4))),
    ):
        assert chain(module) is None, module
    assert Model(mlp, (1, 8, 8), 10, precision="bfloat16")._layers is None
