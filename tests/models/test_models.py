"""Law 6: gradients of `models.__all__` against differences, and what batch norms keep."""

import numpy as np
import pytest
import torch

from detox_sim import models
from detox_sim.models import Model, check, one_thread
from detox_sim.streams import stream

CLASSES = 10
SHAPES = {"softmax": (1, 8, 8), "mlp": (1, 8, 8), "cnn": (1, 8, 8), "lenet5": (1, 28, 28)}
NORMED = ("resnet8", "resnet20", "resnet18", "vgg13_bn")


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def shape_of(name):
    return SHAPES.get(name, (3, 32, 32))


def model_of(name, **options):
    model = Model(getattr(models, name), shape_of(name), CLASSES, **options)
    return model, model.initial(stream(3, "parameters"))


def batch(files, size, dtype=np.float32, seed=0, shape=(1, 8, 8)):
    rng = np.random.default_rng(seed)
    images = rng.random((files, size, *shape)).astype(dtype)
    return images, rng.integers(CLASSES, size=(files, size))


@pytest.mark.parametrize("name", models.__all__)
def test_gradients_are_the_slopes_of_the_loss(name):
    """In double precision, along random directions."""
    model, params = model_of(name)
    params = params.astype(np.float64)
    images, labels = batch(2, 3, np.float64, shape=shape_of(name))
    losses, rows, _ = model.gradients(params, images, labels)
    rng, h = np.random.default_rng(1), 1e-8  # kinks are near
    for _ in range(2 if name in NORMED else 5):
        direction = rng.normal(size=model.parameters)
        direction /= np.linalg.norm(direction) / np.sqrt(min(model.parameters, 5000))
        ahead = model.gradients(params + h * direction, images, labels).losses
        behind = model.gradients(params - h * direction, images, labels).losses
        slope = (ahead - behind) / (2 * h)
        size = np.linalg.norm(rows, axis=1)
        assert np.abs(rows @ direction - slope).max() < 1e-5 * size.max()
    if name not in NORMED:  # which evaluate by other statistics
        assert losses == pytest.approx(
            [model.evaluate(params, *file).loss for file in zip(images, labels, strict=True)]
        )


@pytest.mark.parametrize("name", models.__all__)
def test_a_gradient_does_not_depend_on_the_other_files(name):
    model, params = model_of(name)
    images, labels = batch(5, 4, shape=shape_of(name))
    losses, rows, statistics = model.gradients(params, images, labels)
    assert rows.dtype == np.float32
    assert rows.shape == (5, model.parameters)
    for some in ([4], [3], [0], [1, 2], [2, 0, 4]):
        loss, row, seen = model.gradients(params, images[some], labels[some])
        assert row.tobytes() == rows[some].tobytes()
        assert loss.tobytes() == losses[some].tobytes()
        assert seen.tobytes() == statistics[some].tobytes()


@pytest.mark.parametrize("name", models.__all__)
def test_a_model_is_pure(name):
    model, params = model_of(name)
    images, labels = batch(2, 3, shape=shape_of(name))
    for array in (params, images, labels):
        array.flags.writeable = False
    before = params.tobytes()
    first = model.gradients(params, images, labels)
    model.gradients(params + 1, images, labels)
    model.evaluate(params + 1, images[0], labels[0])
    again = model.gradients(params, images, labels)
    for one, other in zip(first, again, strict=True):
        assert one.tobytes() == other.tobytes()
    assert params.tobytes() == before


@pytest.mark.parametrize("name", models.__all__)
def test_initial_parameters_come_from_the_stream(name):
    model, params = model_of(name)
    state = torch.random.get_rng_state()
    assert params.dtype == np.float32
    assert params.shape == (model.parameters,)
    assert params.tobytes() == model.initial(stream(3, "parameters")).tobytes()
    assert params.tobytes() != model.initial(stream(4, "parameters")).tobytes()
    assert 0 < params.std() <= np.abs(params).max() <= 1
    assert (torch.random.get_rng_state() == state).all()  # the caller's draws are left alone


def test_a_model_keeps_its_own_initial_parameters():
    """VGG's last layer is N(0, 0.01^2), its biases 0, its batch norms start at 1 and 0."""
    model, params = model_of("vgg13_bn")
    pieces = np.split(params, np.cumsum(model.sizes)[:-1])
    assert pieces[-2].std() == pytest.approx(0.01, rel=0.05)
    assert pieces[0].std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)
    assert not pieces[-1].any()
    assert not pieces[1].any()
    assert (pieces[2] == 1).all()


def test_evaluation_by_hand():
    """Softmax with weights zero and one bias of log 2: odds of 2 to 9 for class 0."""
    model, _ = model_of("softmax")
    params = np.zeros(model.parameters, np.float32)
    params[-CLASSES] = np.log(2)
    images, _ = batch(1, 4)
    got = model.evaluate(params, images[0], np.array([0, 0, 0, 5]))
    assert got.accuracy == 0.75
    assert got.loss == pytest.approx(np.log(11) - 0.75 * np.log(2), rel=1e-6)


def test_evaluation_in_parts_is_that_of_the_whole(monkeypatch):
    model, params = model_of("cnn")
    images, labels = batch(1, 23)
    whole = model.evaluate(params, images[0], labels[0])
    monkeypatch.setattr(models.flat, "EVALUATED_AT_ONCE", 5)
    parts = model.evaluate(params, images[0], labels[0])
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert parts.accuracy == whole.accuracy


@pytest.mark.parametrize(
    ("name", "options", "shape", "classes", "parameters"),
    [
        ("softmax", {}, (1, 8, 8), 10, 64 * 10 + 10),
        ("mlp", {"hidden": 5}, (1, 8, 8), 10, 64 * 5 + 5 + 5 * 10 + 10),
        ("cnn", {"width": 3}, (1, 8, 8), 10, 27 + 3 + 3 * 6 * 9 + 6 + 6 * 4 * 10 + 10),
        ("lenet5", {}, (1, 28, 28), 10, 156 + 2416 + 48120 + 10164 + 850),
        ("lenet5", {}, (1, 32, 32), 10, 61706),
        ("resnet18", {}, (3, 32, 32), 10, 11_173_962),
        ("vgg13_bn", {}, (3, 32, 32), 100, 9_462_180),
        ("vgg13_bn", {}, (3, 32, 32), 10, 9_416_010),
        ("resnet20", {}, (3, 32, 32), 10, 272_474),
    ],
)
def test_parameters_are_those_published(name, options, shape, classes, parameters):
    def factory(shape, classes):
        return getattr(models, name)(shape, classes, **options)

    assert Model(factory, shape, classes).parameters == parameters


# --- Batch norms ------------------------------------------------------------------------------


def conv_and_norm(shape, classes):
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(shape[0], 3, 3),
        nn.BatchNorm2d(3, momentum=0.25),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * (shape[1] - 2) * (shape[2] - 2), classes),
    )


def test_statistics_are_those_that_torch_keeps():
    """The moving average of a file's statistics is the module's own running statistics."""
    model = Model(conv_and_norm, (1, 8, 8), CLASSES)
    params, (images, labels) = model.initial(stream(0, "parameters")), batch(3, 5)
    seen = model.gradients(params, images, labels).statistics
    running = model.initial_statistics()
    for each in seen:
        running = running + model.statistics_momentum * (each - running)
    module = conv_and_norm((1, 8, 8), CLASSES)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(params), module.parameters())
    for file in images:
        module(torch.from_numpy(file))
    norm = module[1]
    kept = torch.cat([norm.running_mean, norm.running_var]).detach().numpy()
    np.testing.assert_allclose(running, kept, rtol=1e-5)
    module.eval()
    scores = module(torch.from_numpy(images[0]))
    loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels[0]))
    assert model.evaluate(params, images[0], labels[0], running).loss == pytest.approx(
        loss.item(), rel=1e-5
    )
    assert model.evaluate(params, images[0], labels[0]).loss != pytest.approx(loss.item(), rel=1e-3)


def test_a_cumulative_batch_norm_is_refused():
    def factory(shape, classes):
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, momentum=None), nn.Linear(64, 10))

    with pytest.raises(ValueError, match="batch norms need a momentum"):
        Model(factory, (1, 8, 8), CLASSES)


# --- Options, and models that do not fit ------------------------------------------------------


def with_dropout(shape, classes):
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, classes))


def test_what_a_model_draws_belongs_to_the_file():
    model = Model(with_dropout, (1, 8, 8), CLASSES)
    params, (images, labels) = model.initial(stream(0, "parameters")), batch(2, 4)
    images[1], labels[1] = images[0], labels[0]
    rows = model.gradients(params, images, labels, seeds=[5, 6]).rows
    again = model.gradients(params, images[:1], labels[:1], seeds=[6]).rows
    assert (rows[0] != rows[1]).any()
    assert again[0].tobytes() == rows[1].tobytes()


@pytest.mark.parametrize("name", ["mlp", "lenet5", "resnet8"])
def test_options_change_little_but_something(name):
    images, labels = batch(2, 16, shape=shape_of(name))
    plain, params = model_of(name)
    wanted = plain.gradients(params, images, labels).rows
    for options, most in (({"precision": "bfloat16"}, 0.2), ({"channels_last": True}, 5e-3)):
        found = model_of(name, **options)[0].gradients(params, images, labels).rows
        gap = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        assert gap < most
        assert gap > 0 or "precision" not in options


def test_full_precision_turns_tf32_off_and_gives_it_back():
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        seen = []

        def factory(shape, classes):
            class Watched(torch.nn.Linear):
                def forward(self, images):
                    cudnn = torch.backends.cudnn.allow_tf32
                    seen.append((torch.backends.cuda.matmul.allow_tf32, cudnn))
                    return super().forward(images.flatten(1))

            return Watched(64, classes)

        for precision, allowed in (("float32", False), ("tf32", True)):
            model = Model(factory, (1, 8, 8), CLASSES, precision=precision)
            seen.clear()
            model.gradients(model.initial(stream(0, "parameters")), *batch(1, 2))
            assert seen == [(allowed, allowed)]
            assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(
    ("name", "shape", "images", "message"),
    [
        ("lenet5", (1, 8, 8), 2, "lenet5 needs images of 12 x 12 or more, got 8 x 8; use cnn"),
        ("vgg13_bn", (3, 28, 28), 2, "vgg13_bn needs images of 32 x 32, got 28 x 28"),
        ("resnet8", (1, 4, 4), 1, "cannot train on 1 images of 1x4x4 at once: Expected more than"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(name, shape, images, message):
    with pytest.raises(ValueError, match=message):
        check(getattr(models, name), shape, CLASSES, images)


def test_scores_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"scores \(images, classes\) = \(2, 10\), got \(2, 7\)"):
        check(lambda shape, classes: models.softmax(shape, 7), (1, 8, 8), CLASSES)


class Seen(torch.nn.Module):
    """Counts what it sees in a buffer: in place, with a new one, or not at all."""

    def __init__(self, how):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.last, self.how = torch.nn.Linear(64, CLASSES), how

    def forward(self, images):
        if self.how == "in place":
            self.count += 1
        elif self.how == "anew":
            self.count = self.count + 1
        return self.last(images.flatten(1)) + self.count


def headed(*layers):
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(64, CLASSES))


@pytest.mark.parametrize(
    ("build", "buffer"),
    [
        (lambda: Seen("in place"), "count"),
        (lambda: Seen("anew"), "count"),
        (lambda: headed(torch.nn.InstanceNorm2d(1, track_running_stats=True)), "0.running_mean"),
        (
            lambda: headed(torch.nn.utils.parametrizations.spectral_norm(torch.nn.Conv2d(1, 1, 1))),
            "0.parametrizations.weight.0._u",
        ),
    ],
)
def test_a_model_whose_passes_leave_traces_is_refused(build, buffer):
    with pytest.raises(ValueError, match=f"changes the buffer '{buffer}'"):
        check(lambda shape, classes: build(), (1, 8, 8), CLASSES)


def test_buffers_that_stay_are_welcome():
    for build in (
        lambda: Seen("no"),
        lambda: headed(torch.nn.InstanceNorm2d(1)),
        lambda: headed(torch.nn.BatchNorm2d(1)),
    ):
        check(lambda shape, classes, build=build: build(), (1, 8, 8), CLASSES)


def test_what_a_module_draws_besides_parameters_is_always_the_same():
    """Else copies of a file on two workers would differ."""

    class Projected(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("drawn", torch.randn(64, 5))
            self.head = torch.nn.Linear(5, 10)

        def forward(self, images):
            return self.head(images.flatten(1) @ self.drawn)

    rng = np.random.default_rng(0)
    images, labels = rng.random((2, 3, 1, 8, 8), np.float32), np.zeros((2, 3), np.int64)
    rows = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = Model(lambda shape, classes: Projected(), (1, 8, 8), 10)
        assert torch.initial_seed() == seed
        rows.append(model.gradients(np.ones(model.parameters, np.float32), images, labels).rows)
    np.testing.assert_array_equal(*rows)
