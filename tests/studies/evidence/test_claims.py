"""The command ``python -m studies.claims``."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from paper_claims import CLAIMS, doctored

from detox_sim.sweeps import write_netcdf
from studies import claims, outdated
from studies.workflow.verify import _share

CLAIM = "table-1-resnet18-median"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run in an empty folder, without the datasets of the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claims.verdicts, "committed", list)
    return tmp_path


def write(folder, **how):
    """Write the doctored dataset of a claim; it says nothing of the time of rounds."""
    folder.mkdir(parents=True)
    one = doctored(CLAIM, **how)
    one.dataset.drop_vars("modelled_round_seconds").to_netcdf(
        folder / f"{one.about['study']}.nc", engine="netcdf4"
    )


def test_exit_code_is_1_where_a_claim_is_contradicted(folder, capsys):
    assert claims.main([]) == 0
    assert f"{len(CLAIMS)} not run" in capsys.readouterr().out
    write(folder / "results" / "laptop", task="digits", profile="laptop")
    assert claims.main([]) == 0
    assert f"{CLAIM}: SAME DIRECTION, SMALLER SCALE" in capsys.readouterr().out
    write(folder / "results" / "paper", task="digits", good=False)
    assert claims.main([]) == 1
    assert f"{CLAIM}: CONTRADICTED" in capsys.readouterr().out


def test_changed_dataset_counts_only_where_its_folder_is_named(folder, capsys):
    write(folder / "results" / "laptop", task="digits", good=False, settings={"rate": 3})
    assert claims.main([]) == 0
    assert claims.main(["--results", "results/laptop"]) == 1
    assert "rate=3 by --set" in capsys.readouterr().out


def test_wrong_call_or_file_exits_2_and_names_it(folder, capsys):
    write(folder / "bare")
    path = folder / "bare" / "accuracy_alie.nc"
    one = doctored(CLAIM).dataset.drop_attrs()
    path.unlink()
    one.to_netcdf(path, engine="netcdf4")
    (folder / "broken").mkdir()
    (folder / "broken" / "filtering.nc").write_bytes(b"nothing")
    for name, said in (("absent", "absent"), ("broken", "filtering"), ("bare", "provenance")):
        assert claims.main(["--results", name]) == 2, name
        assert said in capsys.readouterr().err, name
    assert claims.main(["--results", "broken", "--verify", "1"]) == 2
    assert "filtering.nc" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        claims.main(["--resluts"])
    assert error.value.code == 2


def test_markdown_is_a_table_with_a_row_for_each_claim(capsys):
    claims.main(["--markdown"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert lines[0] == "| id | " + " | ".join(claims.COLUMNS) + " |"
    assert {line.count("|") for line in lines} == {len(claims.COLUMNS) + 2}
    for name, line in zip(CLAIMS, lines[2:], strict=True):
        assert line.startswith(f"| {name} | ")


def test_recomputed_cell_is_compared_with_the_range_of_the_seeds():
    cell, now = SimpleNamespace(labels=("alie", 1)), xr.DataArray([5.0, 6.0], dims="step")
    stored = xr.DataArray([[[0.0, 2.0], [4.0, 6.0]]], dims=("attack", "seed", "step"))
    stored = stored.assign_coords(attack=["alie"], seed=[0, 1])
    assert _share(stored, cell, now) == 0.5 / 4
    assert _share(stored, cell, now - 0.5) == 0
    assert _share(0 * stored, cell, now) == np.inf
    assert _share(stored.isel(seed=0, drop=True), cell, now) == 0  # no seeds to compare with


def test_recomputed_cells_make_a_dataset_of_an_older_version_count_again(smoke, tmp_path, capsys):
    path = tmp_path / "old" / "stragglers.nc"
    path.parent.mkdir()

    def change(source, **changed):
        dataset = xr.load_dataset(source, engine="netcdf4")
        about = json.loads(dataset.attrs["provenance"]) | changed
        write_netcdf(dataset.assign_attrs(provenance=json.dumps(about)), path)

    stored = json.loads(xr.load_dataset(smoke[0] / path.name).attrs["provenance"])["cells"]
    digest, cell = min(stored.items(), key=lambda item: item[1]["labels"])
    first, versions = cell["labels"], {"stragglers": 0}
    change(smoke[0] / path.name, cells={digest: cell}, versions=versions)
    about = json.loads(xr.load_dataset(path, engine="netcdf4").attrs["provenance"])
    assert "made by version 0" in outdated(about)
    assert claims.main(["--verify", "1", "--results", str(path.parent)]) == 0
    assert "the same bits" in capsys.readouterr().out
    about = json.loads(xr.load_dataset(path, engine="netcdf4").attrs["provenance"])
    assert outdated(about) == ""
    assert about["verified"]["cells"] == [first]

    other = {digest: cell | {"content": "0" * 64}}
    change(path, cells=other, verified={"versions": versions})
    assert claims.main(["--verify", "1", "--results", str(path.parent)]) == 1
    assert "differs" in capsys.readouterr().out
    about = json.loads(xr.load_dataset(path, engine="netcdf4").attrs["provenance"])
    assert "made by version 0" in outdated(about)
    assert claims.main(["--verify", "0"]) == 2
