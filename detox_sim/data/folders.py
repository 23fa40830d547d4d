"""Images from a folder or tar with one folder for each class."""

import functools
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from detox_sim.catalogue import check_integer
from detox_sim.data import cifar
from detox_sim.data.base import Data, check_option, fixed
from detox_sim.data.downloads import given_folder, root
from detox_sim.streams import stream

JPEG = (".jpg", ".jpeg")
SUFFIXES = (*JPEG, ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
TRAIN, TEST = "train", ("test", "val")
CIFAR10_JPEG = "CIFAR-10 (JPEG)"

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

Names = list[PurePosixPath]
Files = dict[PurePosixPath, Callable[[], bytes]]  # a function that reads each image


def images(
    *, path: str, side: int | None = None, augment: bool = True, title: str | None = None
) -> Data:
    """Load images from a folder or tar with one folder for each class.

    Parameters
    ----------
    path : str
        A folder, or a tar (.tar, .tar.gz, .tar.xz, ...), of ``train/<class>/<image>`` and
        ``test/<class>/<image>`` (or ``val`` where there is no ``test``); or of ``<class>/<image>``,
        of which a fifth, always the same, is the test set. Classes and images are in the
        order of their names. Hidden files and files without the suffix of an image are left out;
        nothing of a tar is written to disk.
    side : int, optional
        Resize every image to so many pixels in width and height; by default all must have the
        same size.
    augment : bool
        Pad by an eighth of the side in reflected pixels (4 of 32), crop and flip training images.
    title : str, optional
        By default the name of the folder or tar, with "(JPEG)" for JPEG files; "CIFAR-10 (JPEG)"
        for JPEG files of CIFAR-10's size and classes.

    Returns
    -------
    Data
        One channel when all images are grey, else three. `mean` and `deviation` are those of the
        training images; for images of CIFAR-10's size and classes, those of `cifar10`.

    Raises
    ------
    ValueError
        When a file or folder is out of place, an image cannot be read, or sizes differ; names the
        file.

    Examples
    --------
    >>> images(path="/nowhere")
    Traceback (most recent call last):
    ValueError: images finds no folder or tar '/nowhere'; ...
    """
    check_option("path", path, str)
    if not path:
        raise ValueError("images needs the path of a folder or tar, got ''")
    check_option("augment", augment, bool)
    if side is not None:
        check_integer("side", side, 1)
    data = _load(Path(path).expanduser().absolute(), side)
    if title is not None:
        check_option("title", title, str)
        data = data._replace(title=title)
    return data if augment else data._replace(padding=0)


JPEG_ARCHIVE = "cifar10-jpeg.tar.xz"


def cifar10_jpeg(*, folder: str | None = None, augment: bool = True) -> Data:
    """Load a copy of CIFAR-10 whose images were re-encoded as JPEG, with loss.

    It is a data set of its own, so that its results never mix with those of `cifar10`. It is
    never downloaded.

    Parameters
    ----------
    folder : str, optional
        The folder of ``cifar10-jpeg.tar.xz``, a tar of ``train/<class>/<image>.jpg`` and
        ``test/<class>/<image>.jpg``; by default as for `cifar10`.
    augment : bool
        As for `cifar10`.

    Raises
    ------
    ValueError
        When the archive is not there, or holds other than JPEG files of CIFAR-10's size and
        classes.

    Examples
    --------
    >>> cifar10_jpeg(folder="/nowhere")
    Traceback (most recent call last):
    ValueError: cifar10_jpeg finds no cifar10-jpeg.tar.xz in /nowhere; put it there, or ...
    """
    check_option("augment", augment, bool)
    path = (given_folder(folder) or root()) / JPEG_ARCHIVE
    if not path.is_file():
        raise ValueError(
            f"cifar10_jpeg finds no {path.name} in {path.parent}; put it there, or use 'cifar10'"
        )
    data = _load(path.absolute(), None)
    if data.title != CIFAR10_JPEG:
        raise ValueError(f"{path} does not hold JPEG files of CIFAR-10's size and classes")
    return data if augment else data._replace(padding=0)


@functools.cache
def _load(path: Path, side: int | None) -> Data:
    files = _listed(path)
    train, test = _split(path, sorted(files))
    classes = _classes(path, train, test)
    pixels = _pixels(path, files, [*train, *test], side)
    labels = [classes.index(name.parts[-2]) for name in (*train, *test)]
    cut, height, width = len(train), *pixels.shape[2:]
    is_cifar = pixels.shape[1:] == (3, 32, 32) and tuple(classes) == CIFAR10_CLASSES
    mean, deviation = (cifar.MEAN, cifar.DEVIATION) if is_cifar else _moments(pixels[:cut])
    return fixed(
        pixels[:cut],
        labels[:cut],
        pixels[cut:],
        labels[cut:],
        classes=len(classes),
        title=_title(path, train, is_cifar),
        mean=mean,
        deviation=deviation,
        padding=min(height, width) // 8,
    )


def _listed(path: Path) -> Files:
    """Return a function that reads each image, by name without the folders common to all."""
    if path.is_dir():
        found = {
            PurePosixPath(p.relative_to(path)): p.read_bytes for p in path.rglob("*") if p.is_file()
        }
    elif path.is_file():
        found = _members(path)
    else:
        raise ValueError(
            f"images finds no folder or tar {str(path)!r}; give one of train/<class>/<image> and "
            "test/<class>/<image>, or of <class>/<image>"
        )
    found = {name: read for name, read in found.items() if _is_image(name)}
    if not found:
        raise ValueError(f"images finds no {', '.join(SUFFIXES)} in {path}")
    while len({n.parts[0] for n in found}) == 1 and all(len(n.parts) > 2 for n in found):
        found = {PurePosixPath(*name.parts[1:]): read for name, read in found.items()}
    return found


def _is_image(name: PurePosixPath) -> bool:
    """Return whether a file has the suffix of an image and is not hidden."""
    hidden = any(part.startswith(".") and part != ".." for part in name.parts)
    return name.suffix.lower() in SUFFIXES and not hidden


def _members(path: Path) -> Files:
    """Return the images of a tar, read into memory in one pass."""
    found: Files = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if not _is_image(name) or member.isdir():
                    continue
                if not member.isreg() or ".." in name.parts or name.is_absolute():
                    raise ValueError(f"{path} has {name}, which is a link or leads out of the tar")
                raw = tar.extractfile(member).read()  # type: ignore[union-attr]
                found[name] = functools.partial(bytes, raw)
            _check_end(tar)
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{path} is neither a folder nor a whole tar: {error}") from error
    return found


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise unless the tar was read to its end; tarfile stops at a damaged header as at the end."""
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"damaged header at byte {tar.offset}")


def _split(path: Path, names: Names) -> tuple[Names, Names]:
    """Return the names of training and test images."""
    tops = {name.parts[0] for name in names}
    parted = TRAIN in tops and not tops.isdisjoint(TEST)
    layout = f"{TRAIN}, {' or '.join(TEST)}/<class>/<image>" if parted else "<class>/<image>"
    for name in names:
        if len(name.parts) != 2 + parted or (parted and name.parts[0] not in (TRAIN, *TEST)):
            raise ValueError(f"{path}: {name} is out of place; wanted is {layout}")
    if parted:
        last = next(part for part in TEST if part in tops)
        return [n for n in names if n.parts[0] == TRAIN], [n for n in names if n.parts[0] == last]
    order = stream(0, "images split").permutation(len(names))
    test = set(order[: max(1, len(names) // 5)].tolist())
    return (
        [name for i, name in enumerate(names) if i not in test],
        [names[i] for i in sorted(test)],
    )


def _classes(path: Path, train: Names, test: Names) -> list[str]:
    """Return the names of the classes in order."""
    classes = sorted({name.parts[-2] for name in train})
    for name in test:
        if name.parts[-2] not in classes:
            raise ValueError(f"{path}: no training image is of the class of {name}")
    if len(classes) < 2:
        raise ValueError(f"{path}: needs 2 classes or more, got {', '.join(classes)}")
    return classes


def _pixels(path: Path, files: Files, names: Names, side: int | None) -> np.ndarray:
    """Decode images to uint8 (images, channels, height, width)."""

    def decode(some: Names) -> list[np.ndarray]:
        return [_decoded(path, side, name, files[name]) for name in some]

    with ThreadPoolExecutor() as pool:
        parts = pool.map(decode, [names[i : i + 64] for i in range(0, len(names), 64)])
        found = [image for part in parts for image in part]
    if any(image.ndim == 3 for image in found):
        found = [image if image.ndim == 3 else np.stack([image] * 3, -1) for image in found]
    else:
        found = [image[..., None] for image in found]
    for name, image in zip(names, found, strict=True):
        if image.shape != found[0].shape:
            (a, b), (c, d) = found[0].shape[:2], image.shape[:2]
            raise ValueError(
                f"{path}: {names[0]} is {b} x {a} pixels and {name} {d} x {c}; resize all with "
                f"data_options={{'side': {a}}}"
            )
    pixels = np.empty((len(found), found[0].shape[2], *found[0].shape[:2]), np.uint8)
    for target, image in zip(pixels, found, strict=True):
        target[:] = image.transpose(2, 0, 1)
    return pixels


def _decoded(
    path: Path, side: int | None, name: PurePosixPath, read: Callable[[], bytes]
) -> np.ndarray:
    """Decode one image to uint8 (height, width) when it is grey, else (height, width, 3)."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(read()), formats=FORMATS) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError("more than 8 bits a pixel")
            shown = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
            return np.asarray(shown.resize((side, side)) if side else shown)
    except Exception as error:  # Pillow's plugins raise errors of any type
        raise ValueError(f"{path}: {name} cannot be read as an image: {error}") from error


def _moments(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel, of values scaled to 0..1."""
    values, mean, deviation = np.arange(256) / 255, [], []
    for channel in range(pixels.shape[1]):
        parts = np.array_split(pixels[:, channel], max(1, pixels.size // 2**24))
        counts = sum(np.bincount(part.ravel(), minlength=256) for part in parts)
        share = counts / np.sum(counts)
        mean.append(float(share @ values))
        deviation.append(float(np.sqrt(share @ (values - mean[-1]) ** 2)) or 1.0)
    return tuple(mean), tuple(deviation)


def _title(path: Path, names: Names, is_cifar: bool) -> str:
    """Return the name of the folder or tar, marked if all files are JPEG."""
    stem = path.name if path.is_dir() else re.sub(r"(\.tar)?\.\w+$", "", path.name)
    jpeg = " (JPEG)" if all(name.suffix.lower() in JPEG for name in names) else ""
    return CIFAR10_JPEG if is_cifar and jpeg else stem + jpeg
