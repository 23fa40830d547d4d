"""A study from a file or module of the user's own."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from refusals import assert_refused

import studies
from detox_sim.sweeps.assembly import join
from studies.reproduce import main
from studies.results import main as results_main
from studies.training import own
from studies.workflow.plans import make_plans

GRID = """
title = "Two rules"
[base]
workers = 15
byzantine = 2
batch = 60
steps = 4
evaluate_every = 2
[axes]
seed = [0, 1]
[axes.rule.Median]
outer = "median"
[axes.rule.Krum]
outer = "krum"
"""


@pytest.fixture(autouse=True)
def none_outside(monkeypatch):
    monkeypatch.setenv(studies.OUTSIDE, "")


def test_page_shows_the_file_that_the_module_describes():
    def example(text):
        return text.split("```toml")[1].split("```")[0].strip()

    page = Path(__file__).parents[3] / "docs" / "how_to" / "studies.md"
    assert example(page.read_text()) == example(own.__doc__)


def test_file_is_a_study_with_figure_and_page(tmp_path, capsys):
    (tmp_path / "two_rules.toml").write_text(GRID)
    output = tmp_path / "out"
    call = [str(tmp_path / "two_rules.toml"), "--output", str(output), "--processes", "1"]
    assert main(call) == 0
    printed = capsys.readouterr().out
    assert "two_rules: Two rules\n  profile laptop; 4 of 4 cells" in printed
    assert "accuracy after the last step is highest with" in printed
    os.environ[studies.OUTSIDE] = ""  # another program does not know the file
    assert results_main([str(output)]) == 0
    assert "accuracy after the last step is highest with" in capsys.readouterr().out
    page = (output / "report" / "two_rules.html").read_text()
    assert "Two rules</h1>" in page.replace('<a class="anchor-link"', "</h1>")
    assert 'src="data:image/svg+xml;base64,' in page
    index = (output / "report" / "index.html").read_text()
    assert "two_rules.html" in index
    assert (
        "in the same way count once here: 43 not run." in index
    )  # the package's datasets do not count
    with xr.open_dataset(output / "two_rules.nc", engine="netcdf4") as dataset:
        about = json.loads(dataset.attrs["provenance"])
        assert about["axes"] == {"seed": [0, 1], "rule": ["Median", "Krum"]}
        over_rules = own.figure(dataset.load(), variable="accuracy", over="rule")
    assert len(over_rules.axes) == 1
    assert own.finding(dataset.where(False), variable="loss").startswith("No cell")


def test_trials_of_unlike_lengths_count_with_their_last_evaluation():
    accuracy = [[[0.1, 0.5, np.nan], [0.2, 0.7, np.nan]], [[0.1, 0.2, 0.3], [0.2, 0.3, 0.5]]]
    dataset = xr.Dataset(
        {"accuracy": (("steps", "seed", "eval_step"), accuracy)},
        {"steps": [2, 4], "seed": [0, 1], "eval_step": [0, 2, 4]},
    )
    found = own.finding(dataset, variable="accuracy")
    assert "highest with 2: 0.600" in found
    assert "lowest with 4: 0.400" in found
    assert own.finding(dataset.isel(steps=0), variable="accuracy").endswith("is 0.600 ± 1.271.")
    assert own.table(dataset.isel(steps=0), "accuracy").index.tolist() == ["all"]
    assert (
        own.finding(dataset, variable="validation_loss") == "These trials have no validation_loss."
    )
    assert own.figure(dataset, variable="validation_loss", over="steps").texts


def test_wrong_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "grid.toml"
    for text, said in (
        ("x = 1", "unknown key 'x'; did you mean 'axes'"),
        ("[axes]", "axes must be a dict"),
        ("[axes]\nseed = 3", "axis 'seed' needs a list of values, .* got 3"),
        ('variable = "acuracy"\n[axes]\nseed = [1]', "did you mean 'accuracy'"),
        ('over = "q"\n[axes]\nseed = [1]', "unknown axis in over 'q'; known: eval_step, seed"),
        ("a = ", "Invalid value"),
        ("base = 3\n[axes]\nseed = [1]", "base must be a table of fields, got 3"),
        ("[axes.rule]\nMedian = 3", "axis 'rule' needs a list of values"),
        ('[axes]\nmixers = [["nnm"]]', "axis 'mixers' has values that are lists"),
        ('[axes]\nvote = ["majority"]', "an axis cannot be called 'vote'"),
        ("[axes]\n" + "\n".join(f"{n} = [1, 2]" for n in "abcde"), "a figure shows 4 axes"),
    ):
        path.write_text(text)
        assert_refused(rf"grid\.toml: .*{said}", own.read, path)
    assert_refused(r"absent\.toml: No such file", own.read, tmp_path / "absent.toml")


def test_module_from_outside_is_a_study(tmp_path, monkeypatch):
    (tmp_path / "my_studies").mkdir()
    source = "from studies.robustness.mean_estimation import STUDY\n"
    (tmp_path / "my_studies" / "robust.py").write_text(source)
    (tmp_path / "my_studies" / "filtering.py").write_text(source)
    (tmp_path / "my_studies" / "empty.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert studies.outside(["my_studies.robust"]) == ["robust"]
    assert studies.load("robust") is studies.load("mean_estimation")
    assert (studies.group("robust"), studies.names()[-1]) == ("own", "robust")
    assert os.environ[studies.OUTSIDE] == "my_studies.robust"
    assert_refused("there is another page 'filtering'", studies.outside, ["my_studies.filtering"])
    assert_refused("has no STUDY", studies.outside, ["my_studies.empty"])
    assert_refused("cannot load the study 'no.such'", studies.outside, ["no.such"])


def test_module_of_the_documentation_is_a_study(tmp_path, monkeypatch):
    text = (Path(studies.__path__[0]).parent / "docs" / "how_to" / "studies.md").read_text()
    code = text.partition("```python\n# my_package/my_study.py\n")[2].partition("```")[0]
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_study.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    (name,) = studies.outside(["my_package.my_study"])
    study = studies.load(name)
    (plan,) = make_plans([name], "laptop", {"steps": 2, "seed": 0})
    cells = {cell.labels: study.run(cell.fields) for cell in plan.cells}
    dataset, _ = join(cells, plan.axes)
    assert study.finding(dataset).startswith("mean: ")
    assert study.figure(dataset).axes
