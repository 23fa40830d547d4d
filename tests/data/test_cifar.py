"""CIFAR-10 and CIFAR-100: every place and form of their archives, and what is refused."""

import itertools
import os
import pickle

import numpy as np
import pytest
from image_files import (
    batches,
    fortran_pickle,
    python2_pickle,
    python3_pickle,
    trust,
    write_folder,
    write_tar,
)

from detox_sim import data
from detox_sim.data import cifar

FORMS = ("folder", "base", "archive", "parent", "root folder", "root tar")


@pytest.mark.parametrize(("name", "load"), [("CIFAR10", "cifar10"), ("CIFAR100", "cifar100")])
def test_batches_are_read_from_every_place_and_form(tmp_path, monkeypatch, name, load):
    archive = getattr(cifar, name)
    for write, form in itertools.product((python2_pickle, python3_pickle, fortran_pickle), FORMS):
        case = f"{write.__name__}, {form}"
        files, parts = batches(archive, write)
        folder = tmp_path / case
        folder.mkdir()
        if form in ("archive", "parent", "root tar"):
            trust(monkeypatch, write_tar(folder / archive.name, files), name)
        else:
            write_folder(folder, files)
        monkeypatch.setenv("DETOX_SIM_DATA", str(folder))
        paths = {"base": folder / archive.base, "archive": folder / archive.name}
        given = {} if form.startswith("root") else {"folder": str(paths.get(form, folder))}
        got = data.load(load, given)
        rows = np.concatenate([parts[n][0] for n in archive.train])
        assert got.train_images.dtype == np.uint8, case
        assert (got.train_images == rows.reshape(-1, 3, 32, 32)).all(), case
        assert got.train_labels.tolist() == [x for n in archive.train for x in parts[n][1]], case
        test_rows, test_labels = parts[archive.test[0]]
        assert (got.test_images.reshape(-1, 3072) == test_rows).all(), case
        assert got.test_labels.tolist() == test_labels, case
        assert (got.classes, got.title, got.padding) == (archive.classes, archive.title, 4), case
        assert got.mean == pytest.approx((0.491372549, 0.482352941, 0.446666667))
        assert got.deviation == pytest.approx((0.247058824, 0.243529412, 0.261568627))
        assert data.load(load, {**given, "augment": False}).padding == 0, case


class Malicious:
    """Make a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickle_runs_no_code(tmp_path, monkeypatch):
    trap, files = tmp_path / "trap", batches(cifar.CIFAR10)[0]
    evil = pickle.dumps({b"data": Malicious(trap), b"labels": []})
    files[f"{cifar.CIFAR10.base}/data_batch_3"] = evil
    folder = write_folder(tmp_path / "folder", files)
    archive = trust(monkeypatch, write_tar(tmp_path / "a.tar.gz", files))
    for path in (folder, archive):
        with pytest.raises(ValueError, match=r"data_batch_3 .* asks for posix.mkdir, which no dat"):
            data.cifar10(folder=str(path))
        assert not trap.exists(), path
    pickle.loads(evil)
    assert trap.exists(), "the test can fail"


def test_damaged_batch_is_refused(tmp_path):
    rows = np.zeros((2, 3072), np.uint8)
    for i, (raw, message) in enumerate(
        [
            (b"", "Ran out of input"),
            (pickle.dumps([1]), "needs the keys data and labels"),
            (pickle.dumps({b"data": 1, b"labels": []}), "no batch of CIFAR"),
            (python3_pickle(np.zeros((2, 3072)), [0, 1], "labels"), "not of unsigned bytes"),
            (python3_pickle(rows[:, :5], [0, 1], "labels"), "no batch of CIFAR"),
            (python3_pickle(rows, [0], "labels"), "2 images and labels of shape"),
            (python3_pickle(rows, [0, 10], "labels"), "must be 0 to 9, got 0"),
            (python2_pickle(rows, [0, 1], "labels")[:900], "no batch of CIFAR"),
        ]
    ):
        files = batches(cifar.CIFAR10)[0] | {"cifar-10-batches-py/test_batch": raw}
        with pytest.raises(ValueError, match=message):
            data.cifar10(folder=str(write_folder(tmp_path / str(i), files)))


def test_missing_batch_and_cut_archive_are_refused(tmp_path, monkeypatch):
    files, _ = batches(cifar.CIFAR10)
    path = write_tar(tmp_path / "a.tar.gz", files)
    (tmp_path / "b.tar.gz").write_bytes(path.read_bytes()[:-5000])
    trust(monkeypatch, tmp_path / "b.tar.gz")
    with pytest.raises(ValueError, match=r"b.tar.gz cannot be read: .*; get it anew"):
        data.cifar10(folder=str(tmp_path / "b.tar.gz"))
    del files["cifar-10-batches-py/data_batch_2"]
    with pytest.raises(ValueError, match="holds no cifar-10-batches-py/data_batch_2"):
        data.cifar10(folder=str(trust(monkeypatch, write_tar(tmp_path / "c.tar.gz", files))))


def test_archive_with_a_changed_byte_is_refused(tmp_path, monkeypatch):
    """It may unpack without an error: then its images would count as those of CIFAR-10."""
    files, _ = batches(cifar.CIFAR10)
    path = trust(monkeypatch, write_tar(tmp_path / "a.tar", files))
    assert len(data.cifar10(folder=str(path)).test_labels) == 4
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.with_name("b.tar").write_bytes(raw)
    with pytest.raises(ValueError, match=r"b.tar cannot be read: its md5 is .*; get it anew"):
        data.cifar10(folder=str(path.with_name("b.tar")))


def test_archive_writes_no_files(tmp_path, monkeypatch):
    files, _ = batches(cifar.CIFAR10)
    names = ["../outside", str(tmp_path / "absolute"), "cifar-10-batches-py/../../test_batch"]
    files |= dict.fromkeys(names, b"evil")
    (tmp_path / "in").mkdir()
    trust(monkeypatch, write_tar(tmp_path / "in" / cifar.CIFAR10.name, files))
    before = sorted(tmp_path.rglob("*"))
    assert len(data.cifar10(folder=str(tmp_path / "in")).train_labels) == 20
    assert sorted(tmp_path.rglob("*")) == before
