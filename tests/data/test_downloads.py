"""Downloads: mirrors, checksums, and messages that name what to put where."""

import time

import pytest
from image_files import batches, md5, write_tar

from detox_sim import data
from detox_sim.data import cifar, downloads, grey


def test_first_good_mirror_is_used(tmp_path, monkeypatch, serve):
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
    assert [len(requests) > 0 for _, requests in served] == [True, True, True, False]
    kept = list((tmp_path / "root").iterdir())
    assert [path.name for path in kept] == [good.name], "no unfinished file"
    counts = [len(requests) for _, requests in served]
    assert data.cifar10() is not None
    assert [len(requests) for _, requests in served] == counts, "downloaded once"


def test_wrong_checksum_is_refused(tmp_path, monkeypatch, serve):
    files, _ = batches(cifar.CIFAR10)
    (tmp_path / "served").mkdir()
    write_tar(tmp_path / "served" / cifar.CIFAR10.name, files)
    address, _ = serve(tmp_path / "served")
    monkeypatch.setattr(cifar, "CIFAR10", cifar.CIFAR10._replace(mirrors=(address,)))
    with pytest.raises(ValueError, match=r"cannot download it from 127.* \(wrong checksum\): put"):
        data.cifar10()
    assert list((tmp_path / "root").iterdir()) == []


def test_fashion_mnist_is_downloaded(fashion, tmp_path, monkeypatch, serve):
    folder, (images, *_) = fashion
    monkeypatch.setattr(grey, "MIRRORS", ("http://127.0.0.1:9/", serve(folder)[0]))
    monkeypatch.setattr(grey, "CHECKSUMS", [md5(folder / name) for name in grey.FASHION_FILES])
    assert grey.local_fashion_mnist() is None
    assert data.fashion_mnist().train_images.tolist() == images[:, None].tolist()
    assert grey.local_fashion_mnist() == tmp_path / "root" / "FashionMNIST" / "raw"


def test_failed_download_says_what_to_put_where(tmp_path):
    for load, archive in [
        ("cifar10", cifar.CIFAR10),
        ("cifar100", cifar.CIFAR100),
        ("fashion_mnist", None),
    ]:
        started = time.monotonic()
        with pytest.raises(ValueError, match=f"{load} finds no") as refused:
            data.load(load)
        assert time.monotonic() - started < 5, load
        message, root = str(refused.value), str(tmp_path / "root")
        wanted = (archive.base, archive.name) if archive else grey.FASHION_FILES
        for part in (*wanted, root, "data_options={'folder': ...}", "127.0.0.1:9 ("):
            assert part in message, load
        assert ("DETOX_SIM_DATA" if archive else "FASHION_MNIST") in message, load


def test_folder_that_cannot_be_written_is_named_before_any_request(tmp_path, monkeypatch, serve):
    address, requests = serve(tmp_path)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DETOX_SIM_DATA", str(tmp_path / "file" / "root"))
    monkeypatch.setattr(cifar, "CIFAR10", cifar.CIFAR10._replace(mirrors=(address,)))
    with pytest.raises(ValueError, match=f"cannot be downloaded into {tmp_path}/file/root: Not a"):
        data.cifar10()
    assert requests == []


def test_folder_of_the_user_is_never_downloaded_into(fashion, tmp_path, monkeypatch, serve):
    address, requests = serve(fashion[0])
    monkeypatch.setattr(grey, "MIRRORS", (address,))
    monkeypatch.setattr(cifar, "CIFAR10", cifar.CIFAR10._replace(mirrors=(address,)))
    for load in ("fashion_mnist", "cifar10"):
        with pytest.raises(ValueError, match=f"finds no .* in {tmp_path}: put"):
            data.load(load, {"folder": str(tmp_path)})
    assert requests == []


def test_default_folder_is_in_the_cache_of_the_user(monkeypatch):
    monkeypatch.delenv("DETOX_SIM_DATA")
    assert downloads.root().name == "detox-sim"
    assert downloads.root().is_absolute()
