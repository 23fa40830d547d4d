"""Loading by name, data sets from outside, digits, and held-out images."""

import numpy as np
import pytest
from image_files import batches, images_of, pictures, write_folder
from refusals import check_refusals

from detox_sim import data
from detox_sim.data import cifar
from detox_sim.data.base import Data, fixed


def outside(*, label: int = 0, kind: str = "float32", listed: bool = False, side: int = 4):
    """Return a data set from outside the project."""
    images, labels = np.zeros((2, 1, 4, 4), kind), np.array([0, label])
    test = np.zeros((2, 1, side, side), kind)
    return Data(images, labels.tolist() if listed else labels, test, np.arange(2), 2, "outside")


def no_data():
    return 1, 2, 3


def test_data_set_from_outside_is_loaded():
    assert data.load(f"{__name__}:outside", {"label": 1}).train_labels.tolist() == [0, 1]


def test_data_that_cannot_be_loaded_are_refused():
    mine = f"{__name__}:outside"
    check_refusals(
        data.load,
        [
            (("digit", {}), "unknown data set 'digit'; did you mean 'digits'"),
            (("digits", {"folder": "."}), "unknown option of digits 'folder'"),
            (("images", {}), "images needs the option 'path'"),
            (("images:/nowhere", {"path": "/there"}), "leave out the option 'path'"),
            (("images:/nowhere", {}), "images finds no folder or tar '/nowhere'"),
            (("images:/nowhere", {"side": 0}), "side must be an integer of 1 or more"),
            (("images:/nowhere", {"augment": "no"}), "augment must be a bool, got 'no'"),
            (("images:", {}), "images needs the path of a folder or tar, got ''"),
            (("images", {"path": ""}), "images needs the path of a folder or tar, got ''"),
            (("fashion_mnist", {"folder": ["/nowhere"]}), r"folder must be a str, got \['/nowhe"),
            (("cifar10", {"folder": 3}), "folder must be a str, got 3"),
            (("cifar10_jpeg", {"folder": 3}), "folder must be a str, got 3"),
            (("cifar10_jpeg", {"augment": "no"}), "augment must be a bool, got 'no'"),
            (("cifar100", {"augment": 1}), "augment must be a bool, got 1"),
            ((f"{__name__}:nothing", {}), "cannot load data set"),
            ((f"{__name__}:no_data", {}), r"must return a detox_sim\.data\.Data, got tuple"),
            ((mine, {"label": 2}), "outside: training labels must be 0 to 1, got 0 to"),
            ((mine, {"kind": "float64"}), r"must be uint8, or float32 in 0\.\.1, of shape"),
            ((mine, {"listed": True}), "2 training images .* and list labels of shape"),
            ((mine, {"side": 5}), r"of shape \(1, 4, 4\) and test .* \(1, 5, 5\)"),
            ((3, {}), "data set must be a name, got 3"),
        ],
    )


def test_digits_have_the_documented_form():
    digits = data.digits()
    assert digits is data.digits()
    assert digits.train_images.shape == (1438, 1, 8, 8)
    assert digits.test_images.shape == (359, 1, 8, 8)
    assert digits.train_images.dtype == np.float32
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64
    assert digits[4:] == (10, "digits", (0.0,), (1.0,), 0)
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 1)
    assert set(digits.train_labels) == set(digits.test_labels) == set(range(10))


def test_training_and_test_digits_are_together_all_digits():
    from sklearn.datasets import load_digits

    digits = data.digits()
    images = np.concatenate(images_of(digits)) * 16
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    parts = [(*image.ravel().tolist(), label) for image, label in zip(images, labels, strict=True)]
    raw, answers = load_digits(return_X_y=True)
    whole = [(*image.tolist(), label) for image, label in zip(raw, answers, strict=True)]
    assert sorted(parts) == sorted(whole)


def numbered(count, title="mine"):
    """Return data whose training image number i holds i everywhere and has the label i % 7."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.float32)[:, None, None, None], (count, 1, 2, 2)
    )
    test = np.zeros((3, 1, 2, 2), np.float32)
    facts = {"mean": (0.5,), "deviation": (2.0,), "padding": 1}
    return fixed(
        images.copy(), np.arange(count) % 7, test, [0, 1, 2], classes=7, title=title, **facts
    )


def test_held_out_images_are_a_share_of_the_training_images():
    whole = numbered(100)
    kept, held_out = data.hold_out(whole, 0.257)
    assert (len(kept.train_labels), len(held_out.test_labels)) == (75, 25), "25.7 rounded down"
    parts = [part.train_images[:, 0, 0, 0] for part in (kept, held_out)]
    held = held_out.test_images[:, 0, 0, 0]
    assert parts[0].tolist() == parts[1].tolist()
    assert sorted([*parts[0], *held]) == list(range(100))
    assert (kept.train_labels == parts[0] % 7).all()
    assert (held_out.test_labels == held % 7).all()
    assert kept.test_images is whole.test_images
    assert kept.test_labels is whole.test_labels
    assert kept[4:] == held_out[4:] == whole[4:]
    for array in (*kept[:4], *held_out[:4]):
        assert not array.flags.writeable


def test_held_out_images_depend_on_their_number_only():
    first, again, other = (
        data.hold_out(each, 0.3)[1].test_images[:, 0, 0, 0].tolist()
        for each in (numbered(50), numbered(50, "other"), numbered(60))
    )
    assert first == again
    assert first != list(range(15)), "drawn, not the first 15"
    assert set(first) != set(other)
    whole = numbered(50)
    kept, held_out = data.hold_out(whole, 0.0)
    assert (kept.train_images == whole.train_images).all()
    assert len(held_out.test_labels) == 0


def test_data_are_read_only(fashion, tmp_path):
    files, _ = batches(cifar.CIFAR10)
    names = ("train/cat/1.png", "train/ant/1.png", "test/ant/7.png", "test/cat/8.png")
    for loaded in (
        data.digits(),
        data.fashion_mnist(folder=str(fashion[0])),
        data.cifar10(folder=str(write_folder(tmp_path / "cifar", files))),
        data.images(path=str(write_folder(tmp_path / "pets", pictures(names)[0]))),
    ):
        for array in loaded[:4]:
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
