"""Law 6: gradients of `models.__all__` against differences, and what batch norms keep."""

import functools

import numpy as np
import pytest
import torch
from refusals import check_refusals
from torch import nn

from detox_sim import models
from detox_sim.models import Model, check, one_thread
from detox_sim.streams import stream

CLASSES = 10
SHAPES = {
    **dict.fromkeys(("softmax", "mlp", "cnn"), (1, 8, 8)),
    "lenet5": (1, 28, 28),
    "vgg13_bn": (3, 32, 32),
}
NORMED = ("resnet8", "resnet20", "resnet18", "vgg13_bn")


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def shape_of(name):
    return SHAPES.get(name, (3, 8, 8))


@functools.cache
def model_of(name, **options):
    """Return a model and its initial parameters; models are pure, so tests share them."""
    model = Model(getattr(models, name), shape_of(name), CLASSES, **options)
    params = model.initial(stream(3, "parameters"))
    params.flags.writeable = False
    return model, params


def batch(files, size, dtype=np.float32, seed=0, shape=(1, 8, 8)):
    rng = np.random.default_rng(seed)
    images = rng.random((files, size, *shape)).astype(dtype)
    return images, rng.integers(CLASSES, size=(files, size))


@pytest.mark.parametrize("name", models.__all__)
def test_gradient_is_the_slope_of_the_loss(name):
    """In double precision, along random directions."""
    model, params = model_of(name)
    params = params.astype(np.float64)
    images, labels = batch(2, 3, np.float64, shape=shape_of(name))
    losses, rows, _ = model.gradients(params, images, labels)
    rng, h = np.random.default_rng(1), 1e-8  # small: ReLU has kinks
    for _ in range({"resnet18": 1, "vgg13_bn": 1}.get(name, 4)):
        direction = rng.normal(size=model.parameters)
        direction /= np.linalg.norm(direction) / np.sqrt(min(model.parameters, 5000))
        ahead = model.gradients(params + h * direction, images, labels).losses
        behind = model.gradients(params - h * direction, images, labels).losses
        slope = (ahead - behind) / (2 * h)
        size = np.linalg.norm(rows, axis=1)
        assert np.abs(rows @ direction - slope).max() < 1e-5 * size.max()
    if name not in NORMED:  # which evaluate with running statistics
        assert losses == pytest.approx(
            [model.evaluate(params, *file).loss for file in zip(images, labels, strict=True)]
        )


@pytest.mark.parametrize("name", models.__all__)
def test_gradient_does_not_depend_on_other_files(name):
    model, params = model_of(name)
    images, labels = batch(5, 4 if name not in NORMED else 2, shape=shape_of(name))
    losses, rows, statistics = model.gradients(params, images, labels)
    assert rows.dtype == np.float32
    assert rows.shape == (5, model.parameters)
    for some in ([4], [3], [0], [1, 2], [2, 0, 4]):
        loss, row, batch_statistics = model.gradients(params, images[some], labels[some])
        assert row.tobytes() == rows[some].tobytes(), some
        assert loss.tobytes() == losses[some].tobytes(), some
        assert batch_statistics.tobytes() == statistics[some].tobytes(), some


@pytest.mark.parametrize("name", models.__all__)
def test_model_is_pure(name):
    model, params = model_of(name)
    images, labels = batch(2, 3, shape=shape_of(name))
    for array in (params, images, labels):
        array.flags.writeable = False
    before = params.tobytes()
    first = model.gradients(params, images, labels)
    model.gradients(params + 1, images, labels)
    model.evaluate(params + 1, images[0], labels[0])
    model.batch_statistics(params + 1, images[0])
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
    assert (torch.random.get_rng_state() == state).all()  # the caller's state is restored


def test_vgg13_keeps_the_initial_parameters_of_its_factory():
    """Its last layer is N(0, 0.01^2), its biases 0, its batch norms start at 1 and 0."""
    model, params = model_of("vgg13_bn")
    pieces = np.split(params, np.cumsum(model.sizes)[:-1])
    assert pieces[-2].std() == pytest.approx(0.01, rel=0.05)
    assert pieces[0].std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)
    assert not pieces[-1].any()
    assert not pieces[1].any()
    assert (pieces[2] == 1).all()


def test_evaluation_equals_a_count_by_hand():
    """Softmax with weights zero and one bias of log 2: odds of 2 to 9 for class 0."""
    model, _ = model_of("softmax")
    params = np.zeros(model.parameters, np.float32)
    params[-CLASSES] = np.log(2)
    images, _ = batch(1, 4)
    got = model.evaluate(params, images[0], np.array([0, 0, 0, 5]))
    assert got.accuracy == 0.75
    assert got.loss == pytest.approx(np.log(11) - 0.75 * np.log(2), rel=1e-6)


def test_evaluation_in_parts_equals_that_of_the_whole(monkeypatch):
    model, params = model_of("cnn")
    images, labels = batch(1, 23)
    whole = model.evaluate(params, images[0], labels[0])
    pixels = images[0, 0, 0].size
    for limit, size in (("EVALUATED_AT_ONCE", 5), ("CPU_AT_ONCE", 3), ("CPU_PIXELS", 2 * pixels)):
        with monkeypatch.context() as patch:
            patch.setattr(models.flat, limit, size)
            parts = model.evaluate(params, images[0], labels[0])
        assert parts.loss == pytest.approx(whole.loss, rel=1e-6), limit
        assert parts.accuracy == whole.accuracy, limit


def test_numbers_of_parameters_equal_published_values():
    for name, options, shape, classes, parameters in [
        ("softmax", {}, (1, 8, 8), 10, 64 * 10 + 10),
        ("mlp", {"hidden": 5}, (1, 8, 8), 10, 64 * 5 + 5 + 5 * 10 + 10),
        ("cnn", {"width": 3}, (1, 8, 8), 10, 27 + 3 + 3 * 6 * 9 + 6 + 6 * 4 * 10 + 10),
        ("lenet5", {}, (1, 28, 28), 10, 156 + 2416 + 48120 + 10164 + 850),
        ("lenet5", {}, (1, 32, 32), 10, 61706),
        ("resnet18", {}, (3, 32, 32), 10, 11_173_962),
        ("vgg13_bn", {}, (3, 32, 32), 100, 9_462_180),
        ("vgg13_bn", {}, (3, 32, 32), 10, 9_416_010),
        ("resnet20", {}, (3, 32, 32), 10, 272_474),
    ]:
        with torch.device("meta"):
            module = getattr(models, name)(shape, classes, **options)
        assert sum(p.numel() for p in module.parameters()) == parameters, (name, shape, classes)


# --- Batch norms ------------------------------------------------------------------------------


def conv_and_norm(shape, classes):
    return nn.Sequential(
        nn.Conv2d(shape[0], 3, 3),
        nn.BatchNorm2d(3, momentum=0.25),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * (shape[1] - 2) * (shape[2] - 2), classes),
    )


def test_running_statistics_are_those_that_torch_keeps():
    """The moving average of the files' statistics is the module's own running statistics."""
    model = Model(conv_and_norm, (1, 8, 8), CLASSES)
    params, (images, labels) = model.initial(stream(0, "parameters")), batch(3, 5)
    statistics = model.gradients(params, images, labels).statistics
    running = model.initial_statistics()
    for each in statistics:
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


def test_batch_statistics_are_means_and_variances_of_all_images():
    """Of the inputs of the batch norm, in double precision; the variance is unbiased."""
    model = Model(conv_and_norm, (1, 8, 8), CLASSES)
    params, (images, labels) = model.initial(stream(0, "parameters")), batch(1, 40)
    state = torch.random.get_rng_state()
    found = model.batch_statistics(params, images[0])
    kernels, biases = params[:27].reshape(3, 1, 3, 3), params[27:30]
    inputs = nn.functional.conv2d(
        *(torch.tensor(each, dtype=torch.float64) for each in (images[0], kernels, biases))
    )
    by_hand = torch.cat([inputs.mean((0, 2, 3)), inputs.var((0, 2, 3), unbiased=True)])
    assert found == pytest.approx(by_hand.numpy(), rel=1e-5)
    assert found.tobytes() == model.gradients(params, images, labels).statistics[0].tobytes()
    assert found.tobytes() == model.batch_statistics(params, images[0]).tobytes()
    assert (torch.random.get_rng_state() == state).all()
    parts = [model.batch_statistics(params, images[0][half::2]) for half in (0, 1)]
    assert found[:3] == pytest.approx((parts[0] + parts[1])[:3] / 2, rel=1e-5)
    assert (parts[0] != found).all()


@pytest.mark.parametrize("name", models.__all__)
def test_batch_statistics_and_density_of_a_model(name):
    """The statistics that batch norms keep, none without; dense is what `vmap` computes."""
    model, params = model_of(name)
    found = model.batch_statistics(params, batch(1, 6, shape=shape_of(name))[0][0])
    assert found.dtype == np.float32
    assert found.shape == model.initial_statistics().shape == model.statistics_momentum.shape
    assert (found.size > 0) == (name in NORMED)
    dense = models.is_dense(getattr(models, name), shape_of(name), CLASSES)
    assert dense == (name in ("softmax", "mlp")) == model._dense


def test_batch_norms_take_the_type_of_the_parameters():
    """Gradients of float64 parameters, then statistics and evaluation of float32."""
    model, params = model_of("resnet8")
    images, labels = (part[0] for part in batch(1, 6, shape=shape_of("resnet8")))
    wanted = model.batch_statistics(params, images), model.evaluate(params, images, labels)
    model.gradients(params.astype(np.float64), images[None].astype(np.float64), labels[None])
    found = model.batch_statistics(params, images)
    np.testing.assert_array_equal(found, wanted[0])
    model.gradients(params.astype(np.float64), images[None].astype(np.float64), labels[None])
    assert model.evaluate(params, images, labels) == wanted[1]


def test_dropout_and_convolutions_are_not_dense():
    layers = {nn.Tanh(): True, nn.LogSoftmax(1): True, nn.Dropout(0.5): False}
    layers |= {nn.BatchNorm1d(64): False, nn.Softplus(): False}
    for layer, dense in layers.items():
        module = nn.Sequential(nn.Flatten(), layer, nn.Linear(64, CLASSES))
        found = models.is_dense(lambda *_, module=module: module, (1, 8, 8), CLASSES)
        assert found == dense, layer


def test_batch_norm_without_momentum_is_refused():
    def factory(shape, classes):
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, momentum=None), nn.Linear(64, 10))

    with pytest.raises(ValueError, match="batch norms need a momentum"):
        Model(factory, (1, 8, 8), CLASSES)


# --- Options, and models that do not fit ------------------------------------------------------


def with_dropout(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, classes))


def test_dropout_depends_on_the_seed_of_the_file():
    model = Model(with_dropout, (1, 8, 8), CLASSES)
    params, (images, labels) = model.initial(stream(0, "parameters")), batch(2, 4)
    images[1], labels[1] = images[0], labels[0]
    rows = model.gradients(params, images, labels, seeds=[5, 6]).rows
    again = model.gradients(params, images[:1], labels[:1], seeds=[6]).rows
    assert (rows[0] != rows[1]).any()
    assert again[0].tobytes() == rows[1].tobytes()


@pytest.mark.parametrize("name", ["mlp", "lenet5", "resnet8"])
def test_precision_and_memory_order_change_gradients_little(name):
    images, labels = batch(2, 16, shape=shape_of(name))
    plain, params = model_of(name)
    wanted = plain.gradients(params, images, labels).rows
    for options, most in (({"precision": "bfloat16"}, 0.2), ({"channels_last": True}, 5e-3)):
        found = model_of(name, **options)[0].gradients(params, images, labels).rows
        gap = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        assert gap < most
        assert gap > 0 or "precision" not in options


def test_precision_sets_tf32_and_restores_it():
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        seen = []

        def factory(shape, classes):
            class Watched(nn.Linear):
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


def test_models_that_do_not_fit_are_refused():
    def seven_classes(shape, classes):
        return models.softmax(shape, 7)

    check_refusals(
        check,
        [
            ((models.lenet5, (1, 8, 8), CLASSES, 2), "lenet5 needs images of 12 x 12 or more, got"),
            ((models.vgg13_bn, (3, 28, 28), CLASSES, 2), "vgg13_bn needs images of 32 x 32, got 2"),
            (
                (models.resnet8, (1, 4, 4), CLASSES, 1),
                "cannot train on 1 images of 1x4x4 at once: Expected more than",
            ),
            (
                (seven_classes, (1, 8, 8), CLASSES),
                r"scores \(images, classes\) = \(2, 10\), got \(2, 7\)",
            ),
        ],
    )


class Counting(nn.Module):
    """Counts forward passes in a buffer: in place, in a new one, or not at all."""

    def __init__(self, how):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.last, self.how = nn.Linear(64, CLASSES), how

    def forward(self, images):
        if self.how == "in place":
            self.count += 1
        elif self.how == "new":
            self.count = self.count + 1
        return self.last(images.flatten(1)) + self.count


def with_head(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, CLASSES))


def test_models_whose_passes_change_a_buffer_are_refused():
    def spectral():
        return nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 1, 1))

    for build, buffer in [
        (lambda: Counting("in place"), "count"),
        (lambda: Counting("new"), "count"),
        (lambda: with_head(nn.InstanceNorm2d(1, track_running_stats=True)), "0.running_mean"),
        (lambda: with_head(spectral()), "0.parametrizations.weight.0._u"),
    ]:
        with pytest.raises(ValueError, match=f"changes the buffer '{buffer}'"):
            check(lambda shape, classes, build=build: build(), (1, 8, 8), CLASSES)


def test_models_whose_passes_change_no_buffer_are_accepted():
    for build in (
        lambda: Counting("not at all"),
        lambda: with_head(nn.InstanceNorm2d(1)),
        lambda: with_head(nn.BatchNorm2d(1)),
    ):
        check(lambda shape, classes, build=build: build(), (1, 8, 8), CLASSES)


def test_buffers_that_a_factory_draws_are_always_the_same():
    """Otherwise copies of a file on two workers would differ."""

    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("drawn", torch.randn(64, 5))
            self.head = nn.Linear(5, 10)

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
