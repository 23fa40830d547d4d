"""Data sets: what they hold, where they come from, and what is refused."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading
import time

import numpy as np
import pytest
from PIL import Image

from detox_sim import data
from detox_sim.data import cifar, downloads, grey
from detox_sim.data.base import Data
from detox_sim.data.folders import CIFAR10_CLASSES


@pytest.fixture(autouse=True)
def _nothing_at_hand(tmp_path, monkeypatch):
    """No data of this machine, and no network: every mirror is a port that refuses."""
    monkeypatch.delenv("FASHION_MNIST", raising=False)
    monkeypatch.setenv("DETOX_SIM_DATA", str(tmp_path / "root"))
    monkeypatch.setattr(grey, "DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(grey, "MIRRORS", ("http://127.0.0.1:9/",))
    for name in ("CIFAR10", "CIFAR100"):
        closed = getattr(cifar, name)._replace(mirrors=("http://127.0.0.1:9/",))
        monkeypatch.setattr(cifar, name, closed)


def images_of(loaded):
    return loaded.train_images, loaded.test_images


# --- The catalogue ---------------------------------------------------------------------------


def outside(*, label: int = 0, kind: str = "float32", listed: bool = False, side: int = 4):
    """A data set from outside the project."""
    images, labels = np.zeros((2, 1, 4, 4), kind), np.array([0, label])
    test = np.zeros((2, 1, side, side), kind)
    return Data(images, labels.tolist() if listed else labels, test, np.arange(2), 2, "outside")


def strange():
    return 1, 2, 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "unknown data set 'digit'; did you mean 'digits'"),
        ("digits", {"folder": "."}, "unknown option of digits 'folder'"),
        ("images", {}, "images needs the option 'path'"),
        ("images:/nowhere", {"path": "/there"}, "leave out the option 'path'"),
        ("images:/nowhere", {}, "images finds no folder or tar '/nowhere'"),
        ("images:/nowhere", {"side": 0}, "side must be an integer of 1 or more"),
        ("images:/nowhere", {"augment": "no"}, "augment must be a bool, got 'no'"),
        ("fashion_mnist", {"folder": ["/nowhere"]}, r"folder must be a str, got \['/nowhere'\]"),
        ("cifar10", {"folder": 3}, "folder must be a str, got 3"),
        ("cifar100", {"augment": 1}, "augment must be a bool, got 1"),
        (f"{__name__}:nothing", {}, "cannot load data set"),
        (f"{__name__}:strange", {}, "must return a detox_sim.data.Data, got tuple"),
        (f"{__name__}:outside", {"label": 2}, "outside: training labels must be 0 to 1, got 0 to"),
        (f"{__name__}:outside", {"kind": "float64"}, "must be uint8, or float32 in 0..1, of shape"),
        (f"{__name__}:outside", {"listed": True}, "2 training images .* and list labels of shape"),
        (
            f"{__name__}:outside",
            {"side": 5},
            r"of shape \(1, 4, 4\) and test .* \(1, 5, 5\)",
        ),
        (3, {}, "data set must be a name, got 3"),
    ],
)
def test_what_cannot_be_loaded_is_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, options)


def test_a_data_set_from_outside():
    assert data.load(f"{__name__}:outside", {"label": 1}).train_labels.tolist() == [0, 1]


# --- Digits ----------------------------------------------------------------------------------


def test_digits_are_split_once_and_for_all():
    digits = data.digits()
    assert digits is data.digits()
    assert digits.train_images.shape == (1438, 1, 8, 8)
    assert digits.test_images.shape == (359, 1, 8, 8)
    assert digits.train_images.dtype == np.float32
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64
    assert digits[4:] == (10, "digits", (0.0,), (1.0,), 0)
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 1)
    assert set(digits.train_labels) == set(digits.test_labels) == set(range(10))


def test_digits_parts_are_together_the_whole():
    from sklearn.datasets import load_digits

    digits = data.digits()
    images = np.concatenate(images_of(digits)) * 16
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    parts = [(*image.ravel().tolist(), label) for image, label in zip(images, labels, strict=True)]
    raw, answers = load_digits(return_X_y=True)
    whole = [(*image.tolist(), label) for image, label in zip(raw, answers, strict=True)]
    assert sorted(parts) == sorted(whole)


# --- Fashion-MNIST ---------------------------------------------------------------------------


def idx(array):
    header = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


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
    folder = tmp_path / "clothes"
    folder.mkdir()
    for name, array in zip(grey.FASHION_FILES, arrays, strict=True):
        (folder / name).write_bytes(gzip.compress(idx(array)))
    return folder, arrays


def test_fashion_mnist_reads_idx_files(clothes):
    folder, (images, labels, test_images, test_labels) = clothes
    got = data.load("fashion_mnist", {"folder": str(folder)})
    assert got.train_images.dtype == np.uint8
    assert got.train_images.tolist() == images[:, None].tolist()
    assert got.test_images.tolist() == test_images[:, None].tolist()
    assert got.train_labels.tolist() == labels.tolist()
    assert got.test_labels.tolist() == test_labels.tolist()
    assert got[4:] == (10, "Fashion-MNIST", (0.0,), (1.0,), 0)
    again = data.fashion_mnist(folder=str(folder), augment=True)
    assert again.padding == 2
    assert again.train_images is got.train_images, "read once a process"


@pytest.mark.parametrize("where", ["variable", "debian", "torchvision"])
def test_fashion_mnist_is_found(clothes, tmp_path, monkeypatch, where):
    folder, (images, *_) = clothes
    if where == "variable":
        monkeypatch.setenv("FASHION_MNIST", str(folder))
    elif where == "debian":
        monkeypatch.setattr(grey, "DEBIAN", folder)
    else:
        (tmp_path / "root" / "FashionMNIST").mkdir(parents=True)
        folder.rename(tmp_path / "root" / "FashionMNIST" / "raw")
    assert data.fashion_mnist().train_images.tolist() == images[:, None].tolist()
    assert grey.local_fashion_mnist() is not None


def test_idx_files_may_be_plain(clothes):
    folder, (images, *_) = clothes
    for name in grey.FASHION_FILES:
        raw = gzip.decompress((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / name.removesuffix(".gz")).write_bytes(raw)
    got = data.fashion_mnist(folder=str(folder))
    assert got.train_images.tolist() == images[:, None].tolist()


@pytest.mark.parametrize("missing", grey.FASHION_FILES)
def test_a_missing_file_is_named(clothes, missing):
    folder, _ = clothes
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=f"finds no {missing} in {folder}: put") as refused:
        data.fashion_mnist(folder=str(folder))
    assert all(name in str(refused.value) for name in grey.FASHION_FILES)


@pytest.mark.parametrize(
    "content", [b"", b"\x00\x00\x08", b"\x00\x00\x0d\x01\x00\x00\x00\x00", b"\x00\x00\x08\x03"]
)
def test_what_is_not_idx_is_refused(clothes, content):
    folder, _ = clothes
    (folder / grey.FASHION_FILES[0]).write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="is not a gzipped IDX file of unsigned bytes"):
        data.fashion_mnist(folder=str(folder))


def test_images_and_labels_must_be_of_one_number(clothes):
    folder, _ = clothes
    (folder / grey.FASHION_FILES[1]).write_bytes(gzip.compress(idx(np.arange(19) % 10)))
    with pytest.raises(ValueError, match=r"20 training images .* int64 labels of shape \(19,\)"):
        data.fashion_mnist(folder=str(folder))


# --- CIFAR -----------------------------------------------------------------------------------


def text(value):
    return b"U" + bytes([len(value)]) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def python2_pickle(rows, labels, key):
    """A batch as Python 2 and NumPy 1 wrote CIFAR's: protocol 2, byte strings."""
    kind = b"cnumpy\ndtype\n" + text("u1") + number(0) + number(1) + b"\x87R("
    kind += number(3) + text("|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85"
    array += text("b") + b"\x87R(" + number(1) + number(len(rows)) + number(3072) + b"\x86"
    array += kind + b"\x89T" + struct.pack("<i", rows.size) + rows.tobytes() + b"tb"
    listed = b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + text("data") + array + text(key) + listed + b"u."


def python3_pickle(rows, labels, key):
    return pickle.dumps({b"data": rows, key.encode(): list(labels)}, protocol=4)


def by_columns(rows, labels, key):
    return python3_pickle(np.asfortranarray(rows), labels, key)


def batches(archive, write=python2_pickle):
    """Small batches of an archive: name -> pickle; and the rows and labels of all."""
    rng, files, parts = np.random.default_rng(1), {}, {}
    for name in (*archive.train, *archive.test):
        rows = rng.integers(256, size=(4, 3072), dtype=np.uint8)
        labels = rng.integers(archive.classes, size=4).tolist()
        files[f"{archive.base}/{name}"] = write(rows, labels, archive.labels.decode())
        parts[name] = rows, labels
    return files, parts


def write_tar(path, files):
    with tarfile.open(path, "w:" + path.suffix.removeprefix(".").replace("tar", "")) as tar:
        for name, raw in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return path


def write_folder(path, files):
    for name, raw in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(raw)
    return path


def trust(monkeypatch, path, name="CIFAR10"):
    """Let an archive of ours pass for the published one; return its path."""
    published = getattr(cifar, name)
    monkeypatch.setattr(cifar, name, published._replace(md5=md5(path)))
    return path


BOTH = pytest.mark.parametrize(("name", "load"), [("CIFAR10", "cifar10"), ("CIFAR100", "cifar100")])


@BOTH
@pytest.mark.parametrize("write", [python2_pickle, python3_pickle, by_columns])
@pytest.mark.parametrize("form", ["folder", "base", "archive", "holder", "root folder", "root tar"])
def test_cifar_is_read_wherever_it_lies(tmp_path, monkeypatch, name, load, write, form):
    archive = getattr(cifar, name)
    files, parts = batches(archive, write)
    place = tmp_path / ("root" if form.startswith("root") else "mine")
    place.mkdir()
    if form in ("archive", "holder", "root tar"):
        trust(monkeypatch, write_tar(place / archive.name, files), name)
    else:
        write_folder(place, files)
    options = {"base": place / archive.base, "archive": place / archive.name}
    given = {} if form.startswith("root") else {"folder": str(options.get(form, place))}
    got = data.load(load, given)
    rows = np.concatenate([parts[n][0] for n in archive.train])
    assert got.train_images.dtype == np.uint8
    assert got.train_images.tolist() == rows.reshape(-1, 3, 32, 32).tolist()
    assert got.train_labels.tolist() == [x for n in archive.train for x in parts[n][1]]
    assert got.test_images.ravel().tolist() == parts[archive.test[0]][0].ravel().tolist()
    assert got.test_labels.tolist() == parts[archive.test[0]][1]
    assert (got.classes, got.title, got.padding) == (archive.classes, archive.title, 4)
    assert got.mean == pytest.approx((0.491372549, 0.482352941, 0.446666667))
    assert got.deviation == pytest.approx((0.247058824, 0.243529412, 0.261568627))
    assert data.load(load, {**given, "augment": False}).padding == 0


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("pack", [write_folder, lambda p, f: write_tar(p / "a.tar.gz", f)])
def test_a_pickle_runs_nothing(tmp_path, monkeypatch, pack):
    trap, archive = tmp_path / "trap", cifar.CIFAR10
    files, _ = batches(archive)
    evil = pickle.dumps({b"data": Malicious(trap), b"labels": []})
    files[f"{archive.base}/data_batch_3"] = evil
    (tmp_path / "in").mkdir()
    place = pack(tmp_path / "in", files)
    if place.is_file():
        trust(monkeypatch, place)
    with pytest.raises(ValueError, match=r"data_batch_3 .* asks for posix.mkdir, which no data"):
        data.cifar10(folder=str(place))
    assert not trap.exists()
    pickle.loads(evil)
    assert trap.exists(), "the trap works"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "Ran out of input"),
        (pickle.dumps([1]), "needs the keys data and labels"),
        (pickle.dumps({b"data": 1, b"labels": []}), "no batch of CIFAR"),
        (python3_pickle(np.zeros((2, 3072)), [0, 1], "labels"), "not of unsigned bytes"),
        (python3_pickle(np.zeros((2, 5), np.uint8), [0, 1], "labels"), "no batch of CIFAR"),
        (python3_pickle(np.zeros((2, 3072), np.uint8), [0], "labels"), "2 images and labels of sh"),
        (python3_pickle(np.zeros((2, 3072), np.uint8), [0, 10], "labels"), "must be 0 to 9, got 0"),
        (python2_pickle(np.zeros((2, 3072), np.uint8), [0, 1], "labels")[:900], "no batch of CIF"),
    ],
)
def test_a_damaged_batch_is_named(tmp_path, raw, message):
    files, _ = batches(cifar.CIFAR10)
    files["cifar-10-batches-py/test_batch"] = raw
    with pytest.raises(ValueError, match=message):
        data.cifar10(folder=str(write_folder(tmp_path, files)))


def test_a_missing_batch_and_a_cut_archive_are_named(tmp_path, monkeypatch):
    files, _ = batches(cifar.CIFAR10)
    path = write_tar(tmp_path / "a.tar.gz", files)
    (tmp_path / "b.tar.gz").write_bytes(path.read_bytes()[:-5000])
    trust(monkeypatch, tmp_path / "b.tar.gz")
    with pytest.raises(ValueError, match=r"b.tar.gz cannot be read: .*; get it anew"):
        data.cifar10(folder=str(tmp_path / "b.tar.gz"))
    del files["cifar-10-batches-py/data_batch_2"]
    with pytest.raises(ValueError, match="holds no cifar-10-batches-py/data_batch_2"):
        data.cifar10(folder=str(trust(monkeypatch, write_tar(tmp_path / "c.tar.gz", files))))


def test_an_archive_with_a_changed_byte_is_refused(tmp_path, monkeypatch):
    """It may unpack: then its images would count as those of CIFAR-10."""
    files, _ = batches(cifar.CIFAR10)
    path = trust(monkeypatch, write_tar(tmp_path / "a.tar", files))
    assert len(data.cifar10(folder=str(path)).test_labels) == 4
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.with_name("b.tar").write_bytes(raw)
    with pytest.raises(ValueError, match=r"b.tar cannot be read: its md5 is .*; get it anew"):
        data.cifar10(folder=str(path.with_name("b.tar")))


def test_an_archive_writes_nothing(tmp_path, monkeypatch):
    files, _ = batches(cifar.CIFAR10)
    names = ["../outside", str(tmp_path / "absolute"), "cifar-10-batches-py/../../test_batch"]
    files |= dict.fromkeys(names, b"evil")
    (tmp_path / "in").mkdir()
    trust(monkeypatch, write_tar(tmp_path / "in" / cifar.CIFAR10.name, files))
    before = sorted(tmp_path.rglob("*"))
    assert len(data.cifar10(folder=str(tmp_path / "in")).train_labels) == 20
    assert sorted(tmp_path.rglob("*")) == before


# --- Downloads -------------------------------------------------------------------------------


@pytest.fixture
def serve(tmp_path):
    """Serve folders over HTTP: serve(folder) -> (address, paths asked for)."""
    servers = []

    def start(folder):
        asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                asked.append(self.path)

        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_the_first_good_mirror_is_used(tmp_path, monkeypatch, serve):
    """One refuses, one lacks the file, one has a wrong one, one is good, the last is not asked."""
    folders = [tmp_path / name for name in ("lacking", "wrong", "good", "last")]
    for folder in folders:
        folder.mkdir()
    files, parts = batches(cifar.CIFAR10)
    good = write_tar(folders[2] / cifar.CIFAR10.name, files)
    (folders[1] / good.name).write_bytes(b"wrong")
    served = [serve(folder) for folder in folders]
    mirrors = ("http://127.0.0.1:9/", *(address for address, _ in served))
    monkeypatch.setattr(cifar, "CIFAR10", cifar.CIFAR10._replace(md5=md5(good), mirrors=mirrors))
    got = data.cifar10()
    assert got.test_labels.tolist() == parts["test_batch"][1]
    assert [len(asked) > 0 for _, asked in served] == [True, True, True, False]
    kept = list((tmp_path / "root").iterdir())
    assert [path.name for path in kept] == [good.name], "and nothing half-done"
    counts = [len(asked) for _, asked in served]
    assert data.cifar10() is not None
    assert [len(asked) for _, asked in served] == counts, "downloaded once"


def test_a_wrong_checksum_is_refused(tmp_path, monkeypatch, serve):
    files, _ = batches(cifar.CIFAR10)
    (tmp_path / "served").mkdir()
    write_tar(tmp_path / "served" / cifar.CIFAR10.name, files)
    address, _ = serve(tmp_path / "served")
    monkeypatch.setattr(cifar, "CIFAR10", cifar.CIFAR10._replace(mirrors=(address,)))
    with pytest.raises(ValueError, match=r"cannot download it from 127.* \(wrong checksum\): put"):
        data.cifar10()
    assert list((tmp_path / "root").iterdir()) == []


def test_fashion_mnist_is_downloaded(clothes, tmp_path, monkeypatch, serve):
    folder, (images, *_) = clothes
    monkeypatch.setattr(grey, "MIRRORS", ("http://127.0.0.1:9/", serve(folder)[0]))
    monkeypatch.setattr(grey, "CHECKSUMS", [md5(folder / name) for name in grey.FASHION_FILES])
    assert grey.local_fashion_mnist() is None
    assert data.fashion_mnist().train_images.tolist() == images[:, None].tolist()
    assert grey.local_fashion_mnist() == tmp_path / "root" / "FashionMNIST" / "raw"


@pytest.mark.parametrize("load", ["cifar10", "cifar100", "fashion_mnist"])
def test_offline_says_what_to_put_where(tmp_path, load):
    started = time.monotonic()
    with pytest.raises(ValueError, match=f"{load} finds no") as refused:
        data.load(load)
    assert time.monotonic() - started < 5
    message = str(refused.value)
    archive = {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}.get(load)
    wanted = (archive.base, archive.name) if archive else grey.FASHION_FILES
    for part in (*wanted, str(tmp_path / "root"), "data_options={'folder': ...}", "127.0.0.1:9 ("):
        assert part in message
    assert ("DETOX_SIM_DATA" if archive else "FASHION_MNIST") in message


def test_a_folder_that_cannot_be_written_is_not_blamed_on_mirrors(tmp_path, monkeypatch, serve):
    address, asked = serve(tmp_path)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DETOX_SIM_DATA", str(tmp_path / "file" / "root"))
    monkeypatch.setattr(cifar, "CIFAR10", cifar.CIFAR10._replace(mirrors=(address,)))
    with pytest.raises(ValueError, match=f"cannot be downloaded into {tmp_path}/file/root: Not a"):
        data.cifar10()
    assert asked == []


def test_a_named_folder_is_never_filled(clothes, tmp_path, monkeypatch, serve):
    address, asked = serve(clothes[0])
    monkeypatch.setattr(grey, "MIRRORS", (address,))
    monkeypatch.setattr(cifar, "CIFAR10", cifar.CIFAR10._replace(mirrors=(address,)))
    for load in ("fashion_mnist", "cifar10"):
        with pytest.raises(ValueError, match=f"finds no .* in {tmp_path}: put"):
            data.load(load, {"folder": str(tmp_path)})
    assert asked == []


def test_data_are_kept_in_a_cache_of_the_system(monkeypatch):
    monkeypatch.delenv("DETOX_SIM_DATA")
    assert downloads.root().name == "detox-sim"
    assert downloads.root().is_absolute()


# --- Folders and tars of images --------------------------------------------------------------


def picture(seed, size=(8, 6), mode="RGB", form="PNG"):
    """Return a picture as a file's bytes, and its pixels (height, width[, 3])."""
    rng, channels = np.random.default_rng(seed), {"RGB": (3,), "L": ()}[mode]
    pixels = rng.integers(256, size=(size[1], size[0], *channels), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue(), pixels


def pictures(names, **kind):
    made = {name: picture(seed, **kind) for seed, name in enumerate(names)}
    return {n: raw for n, (raw, _) in made.items()}, {n: pixels for n, (_, pixels) in made.items()}


SPLIT = [
    *("train/cat/2.png", "train/cat/10.png", "train/ant/1.png"),
    *("test/ant/7.png", "test/cat/8.png"),
]


@pytest.mark.parametrize("form", ["folder", "a.tar", "b.tar.gz", "c.tar.xz", "nested.tar"])
@pytest.mark.parametrize("last", ["test", "val"])
def test_images_of_every_form_are_the_same(tmp_path, form, last):
    """Whatever the order in the tar, classes and images are in the order of their names."""
    names = [name.replace("test", last) for name in SPLIT]
    files, pixels = pictures(names)
    files |= {"README.md": b"text", "train/.hidden.png": b"no", "train/cat/notes.txt": b"no"}
    if form == "folder":
        path = write_folder(tmp_path / form, files)
    else:
        prefix = "./some/where/" if form.startswith("nested") else ""
        path = write_tar(tmp_path / form, {f"{prefix}{n}": files[n] for n in reversed(files)})
    got = data.load(f"images:{path}")
    train = ["train/ant/1.png", "train/cat/10.png", "train/cat/2.png"]
    expected = np.stack([pixels[name] for name in train]).transpose(0, 3, 1, 2)
    assert got.train_images.dtype == np.uint8
    assert got.train_images.tolist() == expected.tolist()
    assert got.train_labels.tolist() == [0, 1, 1]
    assert got.test_images[0].tolist() == pixels[names[3]].transpose(2, 0, 1).tolist()
    assert got.test_labels.tolist() == [0, 1]
    assert (got.classes, got.title) == (2, form.partition(".")[0])
    assert got.mean == pytest.approx(expected.mean((0, 2, 3)) / 255)
    assert got.deviation == pytest.approx(expected.std((0, 2, 3)) / 255)
    again = data.images(path=str(path), augment=False, title="mine")
    assert (again.title, again.padding) == ("mine", 0)
    assert again.train_images is got.train_images


def test_a_fifth_is_the_test_set(tmp_path):
    names = [f"{kind}/{i:02}.png" for kind in ("a", "b") for i in range(10)]
    files, pixels = pictures(names, size=(16, 16))
    got = data.images(path=str(write_folder(tmp_path / "one", files)))
    assert (len(got.train_labels), len(got.test_labels), got.padding) == (16, 4, 2)
    parts = [image.transpose(1, 2, 0).tobytes() for image in np.concatenate(images_of(got))]
    assert sorted(parts) == sorted(image.tobytes() for image in pixels.values())
    again = data.images(path=str(write_tar(tmp_path / "two.tar", files)))
    assert again.test_images.tobytes() == got.test_images.tobytes()
    order = [pixels[name].tobytes() for name in names]
    assert [order.index(part) // 10 for part in parts] == [*got.train_labels, *got.test_labels]


@pytest.mark.parametrize("colours", [0, 1])
def test_grey_images_have_one_channel(tmp_path, colours):
    files, pixels = pictures(SPLIT, mode="L")
    if colours:
        files["train/ant/1.png"], pixels["train/ant/1.png"] = picture(99)
    got = data.images(path=str(write_folder(tmp_path / "grey", files)))
    assert got.train_images.shape == (3, 3 if colours else 1, 6, 8)
    assert len(got.mean) == len(got.deviation) == got.train_images.shape[1]
    for channel in got.test_images[1]:
        assert channel.tolist() == pixels["test/cat/8.png"].tolist()


@pytest.mark.parametrize(("suffix", "title"), [("jpg", "CIFAR-10 (JPEG)"), ("png", "small")])
def test_cifar_10_as_jpeg_is_called_so(tmp_path, suffix, title):
    names = [f"{part}/{kind}/1.{suffix}" for part in ("train", "test") for kind in CIFAR10_CLASSES]
    files, _ = pictures(names, size=(32, 32), form={"jpg": "JPEG", "png": "PNG"}[suffix])
    got = data.images(path=str(write_tar(tmp_path / "small.tar.xz", files)))
    assert (got.title, got.padding) == (title, 4)
    assert (got.mean, got.deviation) == (cifar.MEAN, cifar.DEVIATION)
    assert got.train_labels.tolist() == list(range(10))


def test_other_jpegs_keep_their_name(tmp_path):
    files, _ = pictures([name.replace("png", "JPEG") for name in SPLIT], form="JPEG")
    assert data.images(path=str(write_folder(tmp_path / "pets", files))).title == "pets (JPEG)"


def test_side_makes_sizes_equal(tmp_path):
    files, _ = pictures(SPLIT)
    files["test/cat/8.png"], _ = picture(5, size=(20, 10))
    path = str(write_folder(tmp_path / "sizes", files))
    with pytest.raises(ValueError, match=r"1.png is 8 x 6 pixels and test/cat/8.png 20 x 10.*side"):
        data.images(path=path)
    got = data.images(path=path, side=12)
    assert got.train_images.shape == (3, 3, 12, 12)
    assert got.test_images.shape == (2, 3, 12, 12)


def broken(name, raw):
    return lambda files: files | {name: raw}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken("train/cat/2.png", b"no image"), "train/cat/2.png cannot be read as an image"),
        (broken("train/cat/2.png", picture(0)[0][:90]), "train/cat/2.png cannot be read as an im"),
        (broken("train/cat/2.png", picture(0, form="ICO")[0]), "train/cat/2.png cannot be read"),
        (broken("train/3.png", b""), "train/3.png is out of place; wanted is train, test"),
        (broken("train/cat/more/3.png", b""), "train/cat/more/3.png is out of place"),
        (broken("other/cat/3.png", b""), "other/cat/3.png is out of place"),
        (broken("test/dog/3.png", b""), "no training image is of the class of test/dog/3.png"),
        (lambda _: {"a.txt": b""}, r"images finds no \.jpg"),
        (lambda _: {"cat/1.png": b"", "cat/2.png": b""}, "needs 2 classes or more, got cat"),
    ],
)
@pytest.mark.parametrize("pack", [write_folder, write_tar])
def test_what_is_no_data_set_is_named(tmp_path, change, message, pack):
    path = pack(tmp_path / "bad.tar", change(pictures(SPLIT)[0]))
    with pytest.raises(ValueError, match=message):
        data.images(path=str(path))


@pytest.mark.parametrize("name", ["../train/cat/3.png", "/train/cat/3.png", "train/../../3.png"])
def test_a_tar_leads_nowhere(tmp_path, name):
    files = pictures(SPLIT)[0] | {name: picture(0)[0]}
    path = write_tar(tmp_path / "bad.tar", files)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=f"{name}, which is a link or leads out of the tar"):
        data.images(path=str(path))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_a_tar_is_refused(tmp_path):
    path = write_tar(tmp_path / "bad.tar", pictures(SPLIT)[0])
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("train/cat/3.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(ValueError, match=r"train/cat/3.png, which is a link"):
        data.images(path=str(path))


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz"])
def test_a_cut_tar_is_refused(tmp_path, suffix):
    path = write_tar(tmp_path / f"a.{suffix}", pictures(SPLIT, size=(64, 64))[0])
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match=r"is neither a folder nor a whole tar"):
        data.images(path=str(path))


def test_a_tar_with_a_damaged_header_is_refused(tmp_path):
    """Python's tarfile would take the damaged header for the end of the tar."""
    path = write_tar(tmp_path / "a.tar", pictures(SPLIT)[0])
    with tarfile.open(path) as tar:
        starts = [member.offset for member in tar]
    raw = path.read_bytes()
    for start in starts:
        path.write_bytes(raw[: start + 100] + b"x" + raw[start + 101 :])
        with pytest.raises(ValueError, match=r"is neither a folder nor a whole tar"):
            data.images(path=str(path))
    path.write_bytes(raw)
    assert len(data.images(path=str(path)).test_labels)


def test_an_empty_path_is_refused():
    for load in (lambda: data.images(path=""), lambda: data.load("images:")):
        with pytest.raises(ValueError, match="images needs the path of a folder or tar, got ''"):
            load()


def test_sixteen_bits_are_refused(tmp_path):
    files, buffer = pictures(SPLIT, mode="L")[0], io.BytesIO()
    Image.fromarray(np.full((6, 8), 40000, np.uint16)).save(buffer, "PNG")
    files["train/ant/1.png"] = buffer.getvalue()
    with pytest.raises(ValueError, match=r"ant/1.png cannot .* more than 8 bits a pixel"):
        data.images(path=str(write_folder(tmp_path / "deep", files)))


def test_cifar_10_jpeg():
    path = os.environ.get("CIFAR10_JPEG")
    if not path:
        pytest.skip("the variable CIFAR10_JPEG names no archive of CIFAR-10 as JPEG")
    got = data.load(f"images:{path}")
    assert got.train_images.shape == (50000, 3, 32, 32)
    assert got.test_images.shape == (10000, 3, 32, 32)
    assert got.title == "CIFAR-10 (JPEG)"
    assert np.bincount(got.train_labels).tolist() == [5000] * 10
    assert np.bincount(got.test_labels).tolist() == [1000] * 10


# --- All -------------------------------------------------------------------------------------


def test_data_are_read_only(clothes, tmp_path):
    files, _ = batches(cifar.CIFAR10)
    for loaded in (
        data.digits(),
        data.fashion_mnist(folder=str(clothes[0])),
        data.cifar10(folder=str(write_folder(tmp_path / "cifar", files))),
        data.images(path=str(write_folder(tmp_path / "pets", pictures(SPLIT)[0]))),
    ):
        for array in loaded[:4]:
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
