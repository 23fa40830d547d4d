"""The type that every data set returns, its checks, and held-out images."""

from typing import NamedTuple

import numpy as np

from detox_sim.streams import stream


class Data(NamedTuple):
    """Images and labels, read-only, with their normalisation and augmentation.

    Attributes
    ----------
    train_images, test_images : array (images, channels, height, width)
        uint8, or float32 in 0..1.
    train_labels, test_labels : int64 array (images,)
        0 .. classes - 1.
    classes : int
    title : str
        Name on pages and figures, such as "CIFAR-10 (JPEG)".
    mean, deviation : tuple of float
        One per channel, or one for all, of values scaled to 0..1: a model gets
        (value - mean) / deviation.
    padding : int
        Above 0, training images are augmented: padded by that many reflected pixels, cropped at
        random to their size, and flipped horizontally with chance 1/2.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    title: str
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    padding: int = 0


def fixed(images, labels, test_images, test_labels, *, classes: int, **facts) -> Data:
    """Return the Data with labels as int64 and all arrays read-only.

    Raises
    ------
    ValueError
        When types, shapes or labels are not as `Data` describes them.

    Examples
    --------
    >>> fixed(np.zeros((2, 1, 8, 8), np.uint8), [0], np.zeros((1, 1, 8, 8), np.uint8), [0],
    ...     classes=1, title="mine")
    Traceback (most recent call last):
    ValueError: mine: 2 training images of shape (1, 8, 8) and int64 labels of shape (1,)
    """
    labels, test_labels = np.asarray(labels, np.int64), np.asarray(test_labels, np.int64)
    data = Data(images, labels, test_images, test_labels, classes, **facts)
    check(data)
    for array in data[:4]:
        array.flags.writeable = False
    return data


def check(data: Data) -> None:
    """Raise unless types, shapes and labels are as `Data` describes them."""
    parts = {
        "training": (data.train_images, data.train_labels),
        "test": (data.test_images, data.test_labels),
    }
    for part, (images, labels) in parts.items():
        shape, kind = np.shape(images), _kind(images)
        if kind not in (np.uint8, np.float32) or len(shape) != 4:
            raise ValueError(
                f"{data.title}: {part} images must be uint8, or float32 in 0..1, of shape (images, "
                f"channels, height, width), got {kind} {shape}"
            )
        if _kind(labels) != np.int64 or np.shape(labels) != shape[:1] or not len(labels):
            raise ValueError(
                f"{data.title}: {len(images)} {part} images of shape {shape[1:]} and "
                f"{_kind(labels)} labels of shape {np.shape(labels)}"
            )
        if labels.min() < 0 or labels.max() >= data.classes:
            raise ValueError(
                f"{data.title}: {part} labels must be 0 to {data.classes - 1}, got "
                f"{labels.min()} to {labels.max()}"
            )
    if data.train_images.shape[1:] != data.test_images.shape[1:]:
        raise ValueError(
            f"{data.title}: training images of shape {data.train_images.shape[1:]} and test "
            f"images of {data.test_images.shape[1:]}"
        )


def hold_out(data: Data, share: float) -> tuple[Data, Data]:
    """Return the data without a share of the training images, and with that share as test set.

    Which images are held out depends only on how many there are: a learning rate chosen on them
    is chosen without the training images of any seed. Both have the same training images.

    Parameters
    ----------
    data : Data
    share : float
        0 <= share < 1, rounded down to whole images.

    Examples
    --------
    >>> images, labels = np.zeros((10, 1, 8, 8), np.uint8), np.arange(10) % 2
    >>> data = fixed(images, labels, images, labels, classes=2, title="mine")
    >>> kept, held_out = hold_out(data, 0.3)
    >>> len(kept.train_labels), len(held_out.test_labels)
    (7, 3)
    """
    count = int(share * len(data.train_labels))
    order = stream(0, "validation").permutation(len(data.train_labels))
    kept, held = np.sort(order[count:]), np.sort(order[:count])
    parts = [array[rows] for rows in (kept, held) for array in data[:2]]
    for array in parts:
        array.flags.writeable = False
    training = data._replace(train_images=parts[0], train_labels=parts[1])
    return training, training._replace(test_images=parts[2], test_labels=parts[3])


def _kind(array: object) -> object:
    """Return the dtype of an array, or the name of the type of anything else."""
    return getattr(array, "dtype", type(array).__name__)


def check_option(name: str, value: object, kind: type) -> None:
    """Raise unless the value of an option is of that type.

    Examples
    --------
    >>> check_option("augment", 1, bool)
    Traceback (most recent call last):
    ValueError: augment must be a bool, got 1
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, got {value!r}")
