"""Small files of data sets, as the tests of `detox_sim.data` write them."""

import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
from PIL import Image

from detox_sim.data import cifar


def images_of(data):
    return data.train_images, data.test_images


def write_tar(path, files):
    """Write name -> bytes as a tar, compressed as its suffix says; return its path."""
    with tarfile.open(path, "w:" + path.suffix.removeprefix(".").replace("tar", "")) as tar:
        for name, raw in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return path


def write_folder(path, files):
    """Write name -> bytes into a folder; return its path."""
    for name, raw in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(raw)
    return path


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def trust(monkeypatch, path, name="CIFAR10"):
    """Take the checksum of an archive of ours for the published one; return its path."""
    published = getattr(cifar, name)
    monkeypatch.setattr(cifar, name, published._replace(md5=md5(path)))
    return path


# --- IDX -------------------------------------------------------------------------------------


def idx(array):
    header = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


# --- Batches of CIFAR ------------------------------------------------------------------------


def text(value):
    return b"U" + bytes([len(value)]) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def python2_pickle(rows, labels, key):
    """Return a batch as Python 2 and NumPy 1 wrote CIFAR's: protocol 2, byte strings."""
    kind = b"cnumpy\ndtype\n" + text("u1") + number(0) + number(1) + b"\x87R("
    kind += number(3) + text("|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85"
    array += text("b") + b"\x87R(" + number(1) + number(len(rows)) + number(3072) + b"\x86"
    array += kind + b"\x89T" + struct.pack("<i", rows.size) + rows.tobytes() + b"tb"
    listed = b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + text("data") + array + text(key) + listed + b"u."


def python3_pickle(rows, labels, key):
    return pickle.dumps({b"data": rows, key.encode(): list(labels)}, protocol=4)


def fortran_pickle(rows, labels, key):
    return python3_pickle(np.asfortranarray(rows), labels, key)


def batches(archive, write=python2_pickle):
    """Return small batches of an archive, name -> pickle; and name -> (rows, labels)."""
    rng, files, parts = np.random.default_rng(1), {}, {}
    for name in (*archive.train, *archive.test):
        rows = rng.integers(256, size=(4, 3072), dtype=np.uint8)
        labels = rng.integers(archive.classes, size=4).tolist()
        files[f"{archive.base}/{name}"] = write(rows, labels, archive.labels.decode())
        parts[name] = rows, labels
    return files, parts


# --- Pictures --------------------------------------------------------------------------------


def picture(seed, size=(8, 6), mode="RGB", form="PNG"):
    """Return a picture as a file's bytes, and its pixels (height, width[, 3])."""
    rng, channels = np.random.default_rng(seed), {"RGB": (3,), "L": ()}[mode]
    pixels = rng.integers(256, size=(size[1], size[0], *channels), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue(), pixels


def pictures(names, **options):
    """Return a picture for each name: name -> bytes, and name -> pixels."""
    made = {name: picture(seed, **options) for seed, name in enumerate(names)}
    return {n: raw for n, (raw, _) in made.items()}, {n: pixels for n, (_, pixels) in made.items()}
