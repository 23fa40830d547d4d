"""Folders and tars of images, and CIFAR-10 as JPEG."""

import io
import itertools
import tarfile

import numpy as np
import pytest
from image_files import (
    batches,
    images_of,
    picture,
    pictures,
    write_folder,
    write_tar,
)
from PIL import Image

from detox_sim import data
from detox_sim.data import cifar
from detox_sim.data.folders import CIFAR10_CLASSES

SPLIT = [
    *("train/cat/2.png", "train/cat/10.png", "train/ant/1.png"),
    *("test/ant/7.png", "test/cat/8.png"),
]


def test_every_form_gives_the_same_data(tmp_path):
    """Whatever the order in the tar, classes and images are in the order of their names."""
    forms = ("folder", "a.tar", "b.tar.gz", "c.tar.xz", "nested.tar")
    for form, last in itertools.product(forms, ("test", "val")):
        case = f"{form}, {last}"
        names = [name.replace("test", last) for name in SPLIT]
        files, pixels = pictures(names)
        files |= {"README.md": b"text", "train/.hidden.png": b"no", "train/cat/notes.txt": b"no"}
        (tmp_path / last).mkdir(exist_ok=True)
        if form == "folder":
            path = write_folder(tmp_path / last / form, files)
        else:
            prefix = "./some/where/" if form.startswith("nested") else ""
            backwards = {f"{prefix}{name}": files[name] for name in reversed(files)}
            path = write_tar(tmp_path / last / form, backwards)
        got = data.load(f"images:{path}")
        train = ["train/ant/1.png", "train/cat/10.png", "train/cat/2.png"]
        expected = np.stack([pixels[name] for name in train]).transpose(0, 3, 1, 2)
        assert got.train_images.dtype == np.uint8, case
        assert got.train_images.tolist() == expected.tolist(), case
        assert got.train_labels.tolist() == [0, 1, 1], case
        assert got.test_images[0].tolist() == pixels[names[3]].transpose(2, 0, 1).tolist(), case
        assert got.test_labels.tolist() == [0, 1], case
        assert (got.classes, got.title) == (2, form.partition(".")[0]), case
        assert got.mean == pytest.approx(expected.mean((0, 2, 3)) / 255), case
        assert got.deviation == pytest.approx(expected.std((0, 2, 3)) / 255), case
        again = data.images(path=str(path), augment=False, title="mine")
        assert (again.title, again.padding) == ("mine", 0), case
        assert again.train_images is got.train_images, case


def test_test_set_is_a_fifth_without_a_given_split(tmp_path):
    names = [f"{label}/{i:02}.png" for label in ("a", "b") for i in range(10)]
    files, pixels = pictures(names, size=(16, 16))
    got = data.images(path=str(write_folder(tmp_path / "one", files)))
    assert (len(got.train_labels), len(got.test_labels), got.padding) == (16, 4, 2)
    parts = [image.transpose(1, 2, 0).tobytes() for image in np.concatenate(images_of(got))]
    assert sorted(parts) == sorted(image.tobytes() for image in pixels.values())
    again = data.images(path=str(write_tar(tmp_path / "two.tar", files)))
    assert again.test_images.tobytes() == got.test_images.tobytes()
    order = [pixels[name].tobytes() for name in names]
    assert [order.index(part) // 10 for part in parts] == [*got.train_labels, *got.test_labels]


def test_grey_images_have_one_channel(tmp_path):
    for colours in (0, 1):
        files, pixels = pictures(SPLIT, mode="L")
        if colours:
            files["train/ant/1.png"], pixels["train/ant/1.png"] = picture(99)
        got = data.images(path=str(write_folder(tmp_path / f"grey{colours}", files)))
        assert got.train_images.shape == (3, 3 if colours else 1, 6, 8)
        assert len(got.mean) == len(got.deviation) == got.train_images.shape[1]
        for channel in got.test_images[1]:
            assert channel.tolist() == pixels["test/cat/8.png"].tolist()


def test_other_jpegs_keep_the_name_of_their_folder(tmp_path):
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


# --- CIFAR-10 as JPEG ------------------------------------------------------------------------


def like_cifar10(suffix="jpg", form="JPEG", classes=CIFAR10_CLASSES, size=(32, 32)):
    """Return one image for each class and part: name -> bytes, and name -> pixels."""
    names = [f"{part}/{label}/1.{suffix}" for part in ("train", "test") for label in classes]
    return pictures(names, size=size, form=form)


def decoded(raw):
    return np.asarray(Image.open(io.BytesIO(raw))).transpose(2, 0, 1)


def test_cifar10_jpeg_reads_its_archive(tmp_path):
    files, _ = like_cifar10()
    (tmp_path / "root").mkdir()
    path = write_tar(tmp_path / "root" / "cifar10-jpeg.tar.xz", files)
    for options in ({}, {"folder": str(tmp_path / "root")}):
        got = data.load("cifar10_jpeg", options)
        assert (got.title, got.classes, got.padding) == ("CIFAR-10 (JPEG)", 10, 4)
        assert (got.mean, got.deviation) == (cifar.MEAN, cifar.DEVIATION)
        assert got.train_labels.tolist() == got.test_labels.tolist() == list(range(10))
        for part, images in zip(("train", "test"), images_of(got), strict=True):
            for label, image in zip(CIFAR10_CLASSES, images, strict=True):
                assert (image == decoded(files[f"{part}/{label}/1.jpg"])).all(), (part, label)
    assert data.cifar10_jpeg(augment=False).padding == 0
    named = data.images(path=str(path))
    assert (named.title, named.mean) == ("CIFAR-10 (JPEG)", cifar.MEAN)


def test_cifar10_and_cifar10_jpeg_are_never_taken_for_each_other(tmp_path):
    root = tmp_path / "root"
    published, parts = batches(cifar.CIFAR10)
    write_folder(root, published)
    with pytest.raises(ValueError, match=r"cifar10_jpeg finds no cifar10-jpeg.tar.xz in .*/root; "):
        data.cifar10_jpeg()
    write_tar(root / "cifar10-jpeg.tar.xz", like_cifar10()[0])
    both = data.cifar10(), data.cifar10_jpeg()
    assert [each.title for each in both] == ["CIFAR-10", "CIFAR-10 (JPEG)"]
    assert [len(each.train_labels) for each in both] == [20, 10]
    assert both[0].test_labels.tolist() == parts["test_batch"][1]
    for file in (root / cifar.CIFAR10.base).iterdir():
        file.unlink()
    (root / cifar.CIFAR10.base).rmdir()
    with pytest.raises(ValueError, match="cifar10 finds no cifar-10-batches-py"):
        data.cifar10()


def test_other_images_are_not_cifar10_jpeg(tmp_path):
    others = {
        "png": like_cifar10("png", "PNG"),
        "28 x 28": like_cifar10(size=(28, 28)),
        "classes": like_cifar10(classes=[*CIFAR10_CLASSES[:-1], "lorry"]),
        "fewer": like_cifar10(classes=CIFAR10_CLASSES[:-1]),
    }
    for case, (files, _) in others.items():
        (tmp_path / case).mkdir()
        path = write_tar(tmp_path / case / "cifar10-jpeg.tar.xz", files)
        message = f"{path} does not hold JPEG files of CIFAR-10's size and classes"
        with pytest.raises(ValueError, match=message):
            data.cifar10_jpeg(folder=str(tmp_path / case))
    (tmp_path / "cut").mkdir()
    whole = path.read_bytes()
    (tmp_path / "cut" / path.name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is neither a folder nor a whole tar"):
        data.cifar10_jpeg(folder=str(tmp_path / "cut"))


# --- What is refused -------------------------------------------------------------------------


def test_images_that_are_no_data_set_are_refused(tmp_path):
    good = pictures(SPLIT)[0]
    damaged = "train/cat/2.png cannot be read as an image"
    ico = picture(0, form="ICO")[0]
    cases = [
        (good | {"train/cat/2.png": b"no image"}, damaged),
        (good | {"train/cat/2.png": picture(0)[0][:90]}, damaged),
        (good | {"train/cat/2.png": ico}, damaged),
        (good | {"train/3.png": b""}, "train/3.png is out of place; wanted is train, test"),
        (good | {"train/cat/more/3.png": b""}, "train/cat/more/3.png is out of place"),
        (good | {"other/cat/3.png": b""}, "other/cat/3.png is out of place"),
        (good | {"test/dog/3.png": b""}, "no training image is of the class of test/dog/3.png"),
        ({"a.txt": b""}, r"images finds no \.jpg"),
        ({"cat/1.png": b"", "cat/2.png": b""}, "needs 2 classes or more, got cat"),
    ]
    for pack, (i, (files, message)) in itertools.product(
        (write_folder, write_tar), enumerate(cases)
    ):
        path = pack(tmp_path / f"{pack.__name__}{i}.tar", files)
        with pytest.raises(ValueError, match=message):
            data.images(path=str(path))


def test_sixteen_bits_are_refused(tmp_path):
    files, buffer = pictures(SPLIT, mode="L")[0], io.BytesIO()
    Image.fromarray(np.full((6, 8), 40000, np.uint16)).save(buffer, "PNG")
    files["train/ant/1.png"] = buffer.getvalue()
    with pytest.raises(ValueError, match=r"ant/1.png cannot .* more than 8 bits a pixel"):
        data.images(path=str(write_folder(tmp_path / "deep", files)))


def test_paths_and_links_out_of_a_tar_are_refused(tmp_path):
    for i, name in enumerate(["../train/cat/3.png", "/train/cat/3.png", "train/../../3.png"]):
        files = pictures(SPLIT)[0] | {name: picture(0)[0]}
        path = write_tar(tmp_path / f"path{i}.tar", files)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ValueError, match=f"{name}, which is a link or leads out of the tar"):
            data.images(path=str(path))
        assert sorted(tmp_path.rglob("*")) == before, name
    path = write_tar(tmp_path / "link.tar", pictures(SPLIT)[0])
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("train/cat/3.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(ValueError, match=r"train/cat/3.png, which is a link"):
        data.images(path=str(path))


def test_cut_tar_is_refused(tmp_path):
    for suffix in ("tar", "tar.gz", "tar.xz"):
        path = write_tar(tmp_path / f"a.{suffix}", pictures(SPLIT, size=(64, 64))[0])
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
        with pytest.raises(ValueError, match=r"is neither a folder nor a whole tar"):
            data.images(path=str(path))


def test_tar_with_a_damaged_header_is_refused(tmp_path):
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
