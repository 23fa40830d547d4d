"""The command ``python -m studies.results``."""

import hashlib
import json
import shutil
import zipfile

import pytest
import xarray as xr

from detox_sim import sweep
from detox_sim.sweeps import write_netcdf
from detox_sim.sweeps.store import cell_of, content
from studies.results import main


def value(x, seed):
    return xr.Dataset({"value": ("y", [float(x * y + seed) for y in range(3)])}, {"y": range(3)})


@pytest.fixture
def folders(tmp_path):
    """Return folders with one sweep each: seeds 0 and 1, seed 2, and all three."""
    for name, seeds in (("a", [0, 1]), ("b", [2]), ("all", [0, 1, 2])):
        (tmp_path / name).mkdir()
        dataset = sweep({}, {"x": [1, 2], "seed": seeds}, value)
        write_netcdf(dataset, tmp_path / name / "mine.nc")
    return tmp_path


def opened(path):
    with xr.open_dataset(path, engine="netcdf4") as dataset:
        return dataset.load()


def changed(path, **facts):
    """Write a dataset again with the values doubled at seed 1, and other provenance."""
    dataset = opened(path)
    about = json.loads(dataset.attrs["provenance"]) | facts
    dataset["value"] = dataset.value.where(dataset.seed != 1, 2 * dataset.value)
    for cell in about["cells"].values():
        cell["content"] += "changed" * (cell["labels"][1] == 1)
    write_netcdf(dataset.assign_attrs(provenance=json.dumps(about)), path)


def test_show_says_what_is_there_and_what_was_found(smoke, folders, capsys):
    assert main([str(smoke[0])]) == 0
    printed = capsys.readouterr().out
    assert "filtering: Distorted files after the vote\n  profile smoke; 8 of 8 cells" in printed
    assert "* Placed at random (means): 5 of 45 Byzantine workers" in printed
    assert "**" not in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert main(["show", str(smoke[0]), "--brief"]) == 0
    assert len(capsys.readouterr().out) < len(printed)
    assert main([str(folders / "a")]) == 0
    assert "mine\n  a sweep; 4 of 4 cells" in capsys.readouterr().out


def test_diff_names_labels_and_values_that_differ(folders, capsys):
    pair = [str(folders / "a"), str(folders / "all")]
    assert main(["diff", pair[1], pair[1]]) == 0
    assert capsys.readouterr().out == "mine: the same values\n"
    assert main(["diff", *pair]) == 1
    assert "seed: only in the second: 2" in capsys.readouterr().out
    changed(folders / "a" / "mine.nc")
    assert main(["diff", *pair]) == 1
    found = capsys.readouterr().out
    assert "value: 6 of 12 values differ, by up to 5; intervals over seeds do not" in found
    (folders / "a" / "mine.nc").rename(folders / "a" / "other.nc")
    assert main(["diff", *pair]) == 1
    assert "only in" in capsys.readouterr().out


def test_merge_joins_disjoint_sweeps_and_refuses_conflicts(folders, capsys):
    a, b, target = (str(folders / name) for name in ("a", "b", "joined"))
    assert main(["merge", a, b, "--output", target]) == 0
    joined, whole = opened(folders / "joined" / "mine.nc"), opened(folders / "all" / "mine.nc")
    assert content(joined) == content(whole)
    about = json.loads(joined.attrs["provenance"])
    assert about["count"] == {"planned": 6, "finished": 6, "failed": 0}
    assert all(cell_of(joined, digest) is not None for digest in about["cells"])
    assert main(["merge", a, b, "--output", target]) == 2
    assert "exists; name another folder" in capsys.readouterr().err
    dataset = opened(folders / "all" / "mine.nc")
    (folders / "edited").mkdir()
    write_netcdf(dataset.assign(value=dataset.value + 1), folders / "edited" / "mine.nc")
    call = [a, str(folders / "edited"), "--output", str(folders / "c")]
    assert main(["merge", *call]) == 2  # the digests are those of before
    assert "have other numbers in the cell (1, 0)" in capsys.readouterr().err
    changed(folders / "a" / "mine.nc")
    assert main(["merge", a, str(folders / "all"), "--output", str(folders / "c")]) == 2
    assert "both have the cell 1, 1, with other values" in capsys.readouterr().err
    changed(folders / "a" / "mine.nc", base={"z": 1})
    assert main(["merge", a, b, "--output", str(folders / "d")]) == 2
    assert "differ in base: {'z': 1} and {}" in capsys.readouterr().err


def test_cells_of_unlike_shapes_are_compared_and_joined(tmp_path, capsys):
    """Also where there are no coordinates, and where a variable is only in some cells."""

    def ragged(x, seed):
        more = {"extra": ((), 1.0)} if seed == 1 else {}
        return xr.Dataset({"value": ("y", [float(seed)] * (x + seed)), **more})

    for name, seeds in (("a", [0]), ("b", [1]), ("all", [0, 1])):
        (tmp_path / name).mkdir()
        dataset = sweep({}, {"x": [1, 2], "seed": seeds}, ragged)
        write_netcdf(dataset, tmp_path / name / "mine.nc")
    a, b, target = (str(tmp_path / name) for name in ("a", "b", "joined"))
    assert main(["diff", a, str(tmp_path / "all")]) == 1
    assert "value: over {" in capsys.readouterr().out
    assert main(["merge", a, b, "--output", target]) == 0
    joined = opened(tmp_path / "joined" / "mine.nc")
    assert content(joined) == content(opened(tmp_path / "all" / "mine.nc"))
    for digest in json.loads(joined.attrs["provenance"])["cells"]:
        assert cell_of(joined, digest) is not None


def test_plot_draws_a_variable_over_an_axis(folders, capsys):
    target = folders / "plot.png"
    call = ["plot", str(folders / "all"), "mine", "value", "--over", "y", "--output", str(target)]
    assert main(call) == 0
    assert target.stat().st_size > 5000
    for more, said in (
        (["--over", "z"], "unknown axis of value 'z'; known: x, seed, y"),
        (["--set", "x=7"], "unknown x '7'; known: 1, 2"),
    ):
        assert main([*call, *more]) == 2
        assert said in capsys.readouterr().err
    for place, said in (
        (folders / "plot.bmp", "unknown format of the figure 'bmp'"),
        (folders / "none" / "plot.png", "none is not a folder"),
    ):
        assert main([*call[:-1], str(place)]) == 2
        assert said in capsys.readouterr().err


def test_export_is_whole_and_the_same_bytes(smoke, tmp_path, capsys):
    paths = [tmp_path / name / "results.zip" for name in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        assert main(["export", str(smoke[0]), "--output", str(path)]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        names = {name.removeprefix("results/") for name in archive.namelist()}
        sums = archive.read("results/SHA256SUMS").decode().splitlines()
        for line in sums:
            digest, name = line.split("  ")
            assert hashlib.sha256(archive.read(f"results/{name}")).hexdigest() == digest, name
    assert len(sums) == len(names) - 1
    for name in ("filtering.nc", "figures/filtering.pdf", "report/index.html", "README.md"):
        assert name in names
    assert {"LICENSE", "CITATION.cff", "environment.yml", "constraints.txt"} <= names
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(smoke[0] / "filtering.nc", bare)
    assert main(["export", str(bare), "--output", str(tmp_path / "bare.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "bare.zip") as archive:
        text = archive.read("bare/README.md").decode()
    assert "`filtering.nc`" in text
    assert "report/" not in text, "of what the archive does not hold"
    capsys.readouterr()
    assert main(["export", str(smoke[0]), "--output", str(tmp_path / "x.tar")]) == 2
    assert "must be a .zip" in capsys.readouterr().err


def test_folder_without_results_is_one_line(tmp_path, capsys):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "filtering.nc").write_bytes(b"nothing")
    for name, said in (("", "has no dataset"), ("absent", "is not a folder"), ("bad", "filtering")):
        assert main([str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert said in error
