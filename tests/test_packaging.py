"""What a newcomer installs: conda's list equals pip's, and every pin is wanted."""

import re
import tomllib
from pathlib import Path

import pytest

import detox_sim
from detox_sim import aggregators
from detox_sim.aggregators.facts import FACTS, as_markdown

ROOT = Path(__file__).parent.parent
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "dask": "dask-core",
    "nbconvert": "nbconvert-core",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def split(requirement: str) -> tuple[str, str]:
    name, version = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()
    return name.lower().replace("_", "-"), version


def test_conda_and_pip_ask_for_the_same_packages():
    listed = re.findall(
        r"^  - (?!pip\b)([\w-]+[^:\s]*)$", (ROOT / "environment.yml").read_text(), re.M
    )
    conda = dict(map(split, listed))
    assert conda.pop("conda-forge") == ""
    assert conda.pop("python") == PROJECT["requires-python"]
    wanted = dict(map(split, [*PROJECT["dependencies"], *EXTRAS["test"]]))
    assert conda == {CONDA_NAMES.get(name, name): version for name, version in wanted.items()}


def test_every_dependency_is_pinned():
    pins = dict(
        re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    )
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    wanted = [split(r)[0] for r in [*PROJECT["dependencies"], *EXTRAS["test"]]]
    assert [name for name in wanted if name not in pins] == []
    assert pins["torch"] == "2.13.0"


def test_one_version():
    assert PROJECT["version"] == detox_sim.__version__
    assert f"## {detox_sim.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "deploy/README.md",
        "reports/how_to_choose.md",
    ],
)
def test_links_in_the_documents_exist(name):
    file = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
        assert target.startswith("https://") or (file.parent / target).exists(), target


def test_the_table_of_rules_is_the_generated_one():
    text = (ROOT / "reports" / "how_to_choose.md").read_text()
    assert text.partition("<!-- rules -->\n")[2].strip() == as_markdown()
    assert list(FACTS) == aggregators.__all__


def test_the_readme_example_runs():
    import doctest

    results = doctest.testfile(
        str(ROOT / "README.md"),
        module_relative=False,
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert results.attempted >= 3
    assert results.failed == 0
