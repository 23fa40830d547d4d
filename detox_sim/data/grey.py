"""Small grey images: the digits that ship with scikit-learn, and Fashion-MNIST."""

import functools
import gzip
import os
import zlib
from pathlib import Path

import numpy as np

from detox_sim.data.base import Data, check_option, fixed
from detox_sim.data.downloads import fetch, given_folder, root
from detox_sim.streams import stream


@functools.cache
def digits() -> Data:
    """Load the 1,797 handwritten digits of 8 x 8 pixels that ship with scikit-learn.

    The test set is a fifth of them, 359 images; the split is always the same.

    Returns
    -------
    Data
        Images as float32.

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
    return fixed(
        images[train], labels[train], images[test], labels[test], classes=10, title="digits"
    )


FASHION_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
CHECKSUMS = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def fashion_mnist(*, folder: str | None = None, augment: bool = False) -> Data:
    """Load the 60,000 + 10,000 images of clothes of 28 x 28 pixels from IDX files.

    Parameters
    ----------
    folder : str, optional
        The folder of the four files, gzipped or not. By default the folder FASHION_MNIST; else that
        of Debian's package dataset-fashion-mnist; else ``FashionMNIST/raw`` in the folder
        DETOX_SIM_DATA (the root of torchvision's data sets) or in the user's cache folder, into
        which missing files are downloaded.
    augment : bool
        Pad by 2 reflected pixels, crop and flip training images.

    Returns
    -------
    Data

    Raises
    ------
    ValueError
        When a file is missing and cannot be downloaded; says which files belong in which folder.

    Examples
    --------
    >>> fashion_mnist(folder="/nowhere")
    Traceback (most recent call last):
    ValueError: fashion_mnist finds no train-images-idx3-ubyte.gz in /nowhere: ...

    References
    ----------
    Xiao, Rasul, Vollgraf, Fashion-MNIST, 2017.
    """
    check_option("augment", augment, bool)
    where, named = _fashion_folder(folder)
    paths = []
    for name, md5 in zip(FASHION_FILES, CHECKSUMS, strict=True):
        path, tried = _either(where / name), ""
        if path is None and not named:
            try:
                path = fetch(name, md5, MIRRORS, where)
            except ConnectionError as error:
                tried = f" and cannot download it from {error}"
        if path is None:
            raise ValueError(
                f"fashion_mnist finds no {name} in {where}{tried}: put {', '.join(FASHION_FILES)} "
                "there, or name their folder with data_options={'folder': ...} or the variable "
                "FASHION_MNIST; on Debian: apt-get install dataset-fashion-mnist"
            )
        paths.append(path)
    return _fashion_mnist(*paths)._replace(padding=2 if augment else 0)


def local_fashion_mnist() -> Path | None:
    """Return the folder of Fashion-MNIST, or None if a file is missing."""
    where, _ = _fashion_folder(None)
    return where if all(_either(where / name) for name in FASHION_FILES) else None


def _fashion_folder(folder: str | None) -> tuple[Path, bool]:
    """Return the folder of the four files, and whether the user named it."""
    given = given_folder(folder or os.environ.get("FASHION_MNIST"))
    if given is not None:
        return given, True
    debian = all(_either(DEBIAN / name) for name in FASHION_FILES)
    return DEBIAN if debian else root() / "FashionMNIST" / "raw", False


def _either(path: Path) -> Path | None:
    """Return the path of the gzipped or the plain file, or None if neither is there."""
    return next((p for p in (path, path.with_suffix("")) if p.is_file()), None)


@functools.cache
def _fashion_mnist(*paths: Path) -> Data:
    images, labels, test_images, test_labels = map(_idx, paths)
    return fixed(
        images[:, None],
        labels,
        test_images[:, None],
        test_labels,
        classes=10,
        title="Fashion-MNIST",
    )


def _idx(path: Path) -> np.ndarray:
    """Read one IDX file of unsigned bytes."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        if raw[:3] != b"\x00\x00\x08" or len(raw) < 4:
            raise ValueError("wrong magic number")
        shape = np.frombuffer(raw, ">u4", raw[3], 4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        kind = "a gzipped" if path.suffix == ".gz" else "an"
        raise ValueError(f"{path} is not {kind} IDX file of unsigned bytes: {error}") from error
