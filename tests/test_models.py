"""Law 6: gradients of `models.__all__` against differences; and the data they learn from."""

import gzip
import struct

import numpy as np
import pytest

from detox_sim import data, models
from detox_sim.models import Model, one_thread
from detox_sim.streams import stream

SHAPE, CLASSES = (1, 8, 8), 10


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def model_of(name):
    model = Model(getattr(models, name)(SHAPE, CLASSES))
    return model, model.initial(stream(3, "parameters"))


def batch(files, size, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.random((files, size, *SHAPE)).astype(dtype)
    return images, rng.integers(CLASSES, size=(files, size))


@pytest.mark.parametrize("name", models.__all__)
def test_gradients_are_the_slopes_of_the_loss(name):
    """In double precision, along random directions; the rows themselves are float32."""
    model, params = model_of(name)
    params, (images, labels) = params.astype(np.float64), batch(2, 6, np.float64)
    losses, rows = model.gradients(params, images, labels)
    rng, h = np.random.default_rng(1), 1e-8  # kinks are near
    for _ in range(5):
        direction = rng.normal(size=model.parameters)
        ahead, _ = model.gradients(params + h * direction, images, labels)
        behind, _ = model.gradients(params - h * direction, images, labels)
        slope = (ahead - behind) / (2 * h)
        size = np.linalg.norm(rows, axis=1)
        assert np.abs(rows @ direction - slope).max() < 1e-5 * size.max()
    assert losses == pytest.approx(
        [model.evaluate(params, *file).loss for file in zip(images, labels, strict=True)]
    )


@pytest.mark.parametrize("name", models.__all__)
def test_a_gradient_does_not_depend_on_the_other_files(name):
    model, params = model_of(name)
    images, labels = batch(5, 4)
    losses, rows = model.gradients(params, images, labels)
    assert rows.dtype == np.float32
    assert rows.shape == (5, model.parameters)
    for i in reversed(range(5)):
        loss, row = model.gradients(params, images[i : i + 1], labels[i : i + 1])
        assert row.tobytes() == rows[i].tobytes()
        assert loss[0] == losses[i]


@pytest.mark.parametrize("name", models.__all__)
def test_a_model_is_pure(name):
    model, params = model_of(name)
    images, labels = batch(2, 3)
    for array in (params, images, labels):
        array.flags.writeable = False
    before = params.tobytes()
    _, first = model.gradients(params, images, labels)
    model.gradients(params + 1, images, labels)
    model.evaluate(params + 1, images[0], labels[0])
    _, again = model.gradients(params, images, labels)
    assert first.tobytes() == again.tobytes()
    assert params.tobytes() == before


@pytest.mark.parametrize("name", models.__all__)
def test_initial_parameters_come_from_the_stream(name):
    model, params = model_of(name)
    assert params.dtype == np.float32
    assert params.shape == (model.parameters,)
    assert params.tobytes() == model.initial(stream(3, "parameters")).tobytes()
    assert params.tobytes() != model.initial(stream(4, "parameters")).tobytes()
    assert 0 < params.std() <= np.abs(params).max() <= 1


def test_evaluation_by_hand():
    """Softmax with weights zero and one bias of log 2: odds of 2 to 9 for class 0."""
    model, _ = model_of("softmax")
    params = np.zeros(model.parameters, np.float32)
    params[-CLASSES] = np.log(2)
    images, _ = batch(1, 4)
    got = model.evaluate(params, images[0], np.array([0, 0, 0, 5]))
    assert got.accuracy == 0.75
    assert got.loss == pytest.approx(np.log(11) - 0.75 * np.log(2), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("softmax", {}, 64 * 10 + 10),
        ("mlp", {"hidden": 5}, 64 * 5 + 5 + 5 * 10 + 10),
        ("cnn", {"width": 3}, 27 + 3 + 3 * 6 * 9 + 6 + 6 * 4 * 10 + 10),
    ],
)
def test_parameters_by_hand(name, options, parameters):
    assert Model(getattr(models, name)(SHAPE, CLASSES, **options)).parameters == parameters


# --- Data ------------------------------------------------------------------------------------


def test_digits_are_split_once_and_for_all():
    digits = data.digits()
    assert digits is data.digits()
    assert digits.train_images.shape == (1438, 1, 8, 8)
    assert digits.test_images.shape == (359, 1, 8, 8)
    assert digits.train_images.dtype == np.float32
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64
    assert digits.classes == 10
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 1)
    assert set(digits.train_labels) == set(digits.test_labels) == set(range(10))


def test_digits_parts_are_together_the_whole():
    from sklearn.datasets import load_digits

    digits = data.digits()
    images = np.concatenate([digits.train_images, digits.test_images]) * 16
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    parts = [(*image.ravel().tolist(), label) for image, label in zip(images, labels, strict=True)]
    raw, answers = load_digits(return_X_y=True)
    whole = [(*image.tolist(), label) for image, label in zip(raw, answers, strict=True)]
    assert sorted(parts) == sorted(whole)


def write_idx(path, array):
    header = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def clothes(tmp_path):
    """Four small IDX files; returns their folder and what they hold."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(256, size=(20, 28, 28)),
        np.arange(20) % 10,
        rng.integers(256, size=(7, 28, 28)),
        np.arange(7) % 10,
    ]
    for name, array in zip(data.FASHION_FILES, arrays, strict=True):
        write_idx(tmp_path / name, array)
    return tmp_path, arrays


def test_fashion_mnist_reads_idx_files(clothes, monkeypatch):
    folder, (images, labels, test_images, test_labels) = clothes
    got = data.fashion_mnist(folder=str(folder))
    assert got.train_images.dtype == np.float32
    assert got.train_images.shape == (20, 1, 28, 28)
    np.testing.assert_allclose(got.train_images[:, 0], images / 255, rtol=1e-6)
    np.testing.assert_allclose(got.test_images[:, 0], test_images / 255, rtol=1e-6)
    assert got.train_labels.tolist() == labels.tolist()
    assert got.test_labels.tolist() == test_labels.tolist()
    assert got.classes == 10
    data.fashion_mnist.cache_clear()
    monkeypatch.setenv("FASHION_MNIST", str(folder))
    assert (data.fashion_mnist().train_images == got.train_images).all()
    data.fashion_mnist.cache_clear()


@pytest.mark.parametrize("missing", data.FASHION_FILES)
def test_a_missing_file_is_named(clothes, missing):
    folder, _ = clothes
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=f"finds no {missing} in {folder}") as refused:
        data.fashion_mnist(folder=str(folder))
    assert all(name in str(refused.value) for name in data.FASHION_FILES)


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x0d\x01\x00\x00\x00\x00"])
def test_what_is_not_idx_is_refused(clothes, content):
    folder, _ = clothes
    (folder / data.FASHION_FILES[0]).write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="is not a gzipped IDX file of unsigned bytes"):
        data.fashion_mnist(folder=str(folder))


def test_data_are_read_only(clothes):
    folder, _ = clothes
    for loaded in (data.digits(), data.fashion_mnist(folder=str(folder))):
        for array in loaded[:4]:
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


@pytest.mark.parametrize("name", models.__all__)
def test_models_take_other_images(clothes, name):
    folder, _ = clothes
    loaded = data.fashion_mnist(folder=str(folder))
    model = Model(getattr(models, name)(loaded.train_images.shape[1:], loaded.classes))
    params = model.initial(stream(0, "parameters"))
    losses, _ = model.gradients(params, loaded.train_images[None], loaded.train_labels[None])
    assert losses[0] == pytest.approx(np.log(10), rel=0.3)
