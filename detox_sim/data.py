"""Real data: ``dataset(**options) -> Data``. Loaded once a process, never modified."""

import functools
import gzip
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detox_sim.streams import stream

__all__ = ["digits", "fashion_mnist"]


class Data(NamedTuple):
    """Images as float32 (images, channels, height, width) in 0..1, labels as int64 (images,)."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int


@functools.cache
def digits() -> Data:
    """Load the 1,797 handwritten digits of 8 x 8 pixels that ship with scikit-learn.

    A fifth (359 images), drawn once and for all, is the test set.

    Returns
    -------
    Data

    Examples
    --------
    >>> digits().train_images.shape, digits().test_images.shape
    ((1438, 1, 8, 8), (359, 1, 8, 8))

    References
    ----------
    Alpaydin, Kaynak, Optical recognition of handwritten digits, UCI, 1998 (its test part).
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = stream(0, "digits split").permutation(len(labels))
    test, train = order[:359], order[359:]
    return _frozen(images[train], labels[train], images[test], labels[test])


FASHION_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@functools.cache
def fashion_mnist(*, folder: str | None = None) -> Data:
    """Load the 60,000 + 10,000 images of clothes of 28 x 28 pixels from IDX files.

    Parameters
    ----------
    folder : str, optional
        Where the four files lie. By default the environment variable FASHION_MNIST, else
        the folder of Debian's package dataset-fashion-mnist.

    Returns
    -------
    Data

    Raises
    ------
    ValueError
        When a file is missing; says which files belong where.

    Examples
    --------
    >>> fashion_mnist(folder="/nowhere")
    Traceback (most recent call last):
    ValueError: fashion_mnist finds no train-images-idx3-ubyte.gz in /nowhere: ...

    References
    ----------
    Xiao, Rasul, Vollgraf, Fashion-MNIST, 2017.
    """
    place = Path(folder or os.environ.get("FASHION_MNIST") or "/usr/share/datasets/fashion-mnist")
    for name in FASHION_FILES:
        if not (place / name).is_file():
            raise ValueError(
                f"fashion_mnist finds no {name} in {place}: put {', '.join(FASHION_FILES)} "
                "there, or name their folder with data_options={'folder': ...} or the variable "
                "FASHION_MNIST; on Debian: apt-get install dataset-fashion-mnist"
            )
    parts = [_idx(place / name) for name in FASHION_FILES]
    images = [(part[:, None] / np.float32(255)).astype(np.float32) for part in parts[::2]]
    return _frozen(images[0], parts[1], images[1], parts[3])


def _idx(path: Path) -> np.ndarray:
    """Read one IDX file of unsigned bytes."""
    try:
        raw = gzip.decompress(path.read_bytes())
        if raw[:3] != b"\x00\x00\x08":
            raise ValueError("wrong magic number")
        shape = np.frombuffer(raw, ">u4", raw[3], 4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is not a gzipped IDX file of unsigned bytes: {error}") from error


def _frozen(images, labels, test_images, test_labels) -> Data:
    """Fix the types, and make the arrays read-only."""
    labels, test_labels = labels.astype(np.int64), test_labels.astype(np.int64)
    data = Data(images, labels, test_images, test_labels, classes=int(labels.max()) + 1)
    for array in data[:4]:
        array.flags.writeable = False
    return data
