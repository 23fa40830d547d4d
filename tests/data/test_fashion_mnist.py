"""Fashion-MNIST: where its IDX files are found, and what is refused."""

import gzip

import numpy as np
import pytest
from image_files import idx

from detox_sim import data
from detox_sim.data import grey


def test_idx_files_are_read(fashion):
    folder, (images, labels, test_images, test_labels) = fashion
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


def test_folder_of_a_variable_of_debian_or_of_torchvision_is_found(fashion, tmp_path, monkeypatch):
    folder, (images, *_) = fashion

    def check(where):
        assert data.fashion_mnist().train_images.tolist() == images[:, None].tolist(), where
        assert grey.local_fashion_mnist() is not None, where

    monkeypatch.setenv("FASHION_MNIST", str(folder))
    check("variable")
    monkeypatch.delenv("FASHION_MNIST")
    with monkeypatch.context() as debian:
        debian.setattr(grey, "DEBIAN", folder)
        check("debian")
    (tmp_path / "root" / "FashionMNIST").mkdir(parents=True)
    folder.rename(tmp_path / "root" / "FashionMNIST" / "raw")
    check("torchvision")


def test_idx_files_may_be_plain(fashion):
    folder, (images, *_) = fashion
    for name in grey.FASHION_FILES:
        raw = gzip.decompress((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / name.removesuffix(".gz")).write_bytes(raw)
    got = data.fashion_mnist(folder=str(folder))
    assert got.train_images.tolist() == images[:, None].tolist()


def test_missing_file_is_named(fashion):
    folder, _ = fashion
    for missing in grey.FASHION_FILES:
        raw = (folder / missing).read_bytes()
        (folder / missing).unlink()
        with pytest.raises(ValueError, match=f"finds no {missing} in {folder}: put") as refused:
            data.fashion_mnist(folder=str(folder))
        assert all(name in str(refused.value) for name in grey.FASHION_FILES), missing
        (folder / missing).write_bytes(raw)


def test_damaged_idx_files_are_refused(fashion):
    folder, _ = fashion
    images, labels = (folder / name for name in grey.FASHION_FILES[:2])
    raw = images.read_bytes()
    for content in (b"", b"\0\0\x08", b"\0\0\x0d\x01\0\0\0\0", b"\0\0\x08\x03"):
        images.write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match="is not a gzipped IDX file of unsigned bytes"):
            data.fashion_mnist(folder=str(folder))
    images.write_bytes(raw)
    labels.write_bytes(gzip.compress(idx(np.arange(19) % 10)))
    with pytest.raises(ValueError, match=r"20 training images .* int64 labels of shape \(19,\)"):
        data.fashion_mnist(folder=str(folder))
