"""Gradients of convolutional models, several files in one pass, have the bits of a file alone."""

import numpy as np
import pytest
from torch import nn

from detox_sim.models import Model, cnn, flat, lenet5, one_thread, resnet8
from detox_sim.models.at_once import serves


def pooled(shape, classes):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 8, 3, groups=2, dilation=2, padding=2, bias=False), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 12), nn.Identity(), nn.Linear(12, classes),
    )  # fmt: skip


@pytest.mark.parametrize("factory", [resnet8, cnn, pooled])
def test_bits_are_those_of_one_file_at_a_time(factory):
    rng = np.random.default_rng(0)
    model = Model(factory, (1, 8, 8), 10)
    assert model._at_once
    for files, size in ((1, 3), (2, 1), (3, 4), (15, 12), (45, 2)):
        if size == 1 and model._norms:
            continue  # torch refuses it
        images = rng.random((files, size, 1, 8, 8), dtype=np.float32)
        labels = rng.integers(0, 10, (files, size))
        for scale in (1.0, 8.0, np.inf):
            with np.errstate(invalid="ignore"):
                params = (scale * model.initial(rng)).astype(np.float32)
            found = []
            for model._at_once in (True, False):
                with one_thread():
                    found.append(model.gradients(params, images, labels))
            for part, ours, alone in zip(found[0]._fields, *found, strict=True):
                np.testing.assert_array_equal(
                    ours, alone, err_msg=f"{part} of {files} files of {size} times {scale}"
                )


@pytest.mark.parametrize("factory", [resnet8, cnn, lenet5])
def test_bits_do_not_depend_on_the_files_of_a_pass(factory, monkeypatch):
    rng = np.random.default_rng(0)
    model, shape = Model(factory, (1, 28, 28), 10), (1, 28, 28)
    assert model._at_once
    for files, size, passes in ((5, 3, (5, 3, 2, 1)), (6, 32, (5, 1))):
        images = rng.random((files, size, *shape), dtype=np.float32)
        labels, params = rng.integers(0, 10, (files, size)), model.initial(rng)
        found = []
        for in_a_pass in passes:
            monkeypatch.setattr(flat, "PIXELS_AT_ONCE", in_a_pass * size * 28 * 28)
            assert (model._together(images) is None) == (in_a_pass == 1)
            with one_thread():
                found.append(model.gradients(params, images, labels))
        for other in found[1:]:
            for part, ours, wanted in zip(other._fields, other, found[0], strict=True):
                np.testing.assert_array_equal(ours, wanted, err_msg=f"{part} of {size} images")


def test_other_models_have_a_pass_for_each_file():
    twice = nn.Conv2d(1, 1, 1)
    for module in (
        nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout()),
        nn.Sequential(nn.Conv2d(1, 1, 1), nn.GroupNorm(1, 1)),
        nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, affine=False)),
        nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(0)),
        nn.Sequential(nn.Conv2d(1, 1, 3, padding="same")),
        nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")),
        nn.Sequential(twice, nn.ReLU(), twice),
        nn.Sequential(nn.Conv1d(1, 1, 1)),
        type("Own", (nn.Module,), {})(),
    ):
        assert not serves(module), module
    assert not Model(resnet8, (3, 32, 32), 10)._at_once  # where one pass takes longer
    assert not Model(resnet8, (1, 8, 8), 10, channels_last=True)._at_once
    assert not Model(resnet8, (1, 8, 8), 10, precision="bfloat16")._at_once
