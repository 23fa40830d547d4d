"""What is installed, and what the documents say."""

import doctest
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
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
REQUIRED = [*PROJECT["dependencies"], *EXTRAS["studies"], *EXTRAS["docs"], *EXTRAS["test"]]


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
    wanted = dict(map(split, REQUIRED))
    assert conda == {CONDA_NAMES.get(name, name): version for name, version in wanted.items()}


def test_every_dependency_is_pinned():
    pins = dict(
        re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    )
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    wanted = [split(r)[0] for r in REQUIRED]
    assert [name for name in wanted if name not in pins] == []
    assert pins["torch"] == "2.13.0"


def test_wheel_holds_the_package_and_nothing_else(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("detox_sim", "studies"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "detox_sim" / "atlas.json").write_text("{}")  # as the project makes it from runs
    build = "from setuptools import build_meta; print('wheel:', build_meta.build_wheel('.'))"
    command = [sys.executable, "-W", "ignore", "-c", build]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(tmp_path / done.stdout.rpartition("wheel: ")[2].strip()) as wheel:
        names = wheel.namelist()
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "detox-sim = detox_sim.__main__:run" in wheel.read(entry).decode()
    information = entry.partition("/")[0]
    assert {name.partition("/")[0] for name in names} == {"detox_sim", information}
    source = {str(p.relative_to(ROOT)) for p in (ROOT / "detox_sim").rglob("*.py")}
    assert {name for name in names if name.startswith("detox_sim/")} == source | {
        "detox_sim/atlas.json",
        "detox_sim/py.typed",
    }


def test_version_is_stated_once():
    assert PROJECT["version"] == detox_sim.__version__
    assert f"## {detox_sim.__version__}" in (ROOT / "CHANGELOG.md").read_text()


DOCUMENTS = [  # pages of the site, whose build checks links between them and their sections
    *ROOT.glob("[RC]*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("deploy/*.md"),
    ROOT / "reports" / "how_to_choose.md",
]


def test_links_in_the_documents_exist():
    assert len(DOCUMENTS) > 20
    for file in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
            exists = target.startswith("https://") or (file.parent / target).exists()
            assert exists, f"{file} links to {target}"


def test_reference_has_every_public_name():
    """The reference shows all names of `__all__` of the modules that it lists."""
    listed = (ROOT / "docs" / "reference" / "index.rst").read_text().split()
    names = ["detox_sim", *(m.name for m in pkgutil.iter_modules(detox_sim.__path__, "detox_sim."))]
    public = [m for m in map(importlib.import_module, names) if hasattr(m, "__all__")]
    assert len(public) > 15
    for module in public:
        assert module.__name__ in listed
        for name in module.__all__:
            value = getattr(module, name)
            assert value.__doc__ or not callable(value), f"{module.__name__}.{name}"


def test_table_of_rules_is_the_generated_one():
    text = (ROOT / "reports" / "how_to_choose.md").read_text()
    assert text.partition("<!-- rules -->\n")[2].strip() == as_markdown()
    assert list(FACTS) == aggregators.__all__


EXAMPLES = sorted(str(p.relative_to(ROOT)) for p in DOCUMENTS if "\n>>> " in p.read_text())


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_documents_run(name):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testfile(str(ROOT / name), module_relative=False, optionflags=flags)
    assert results.attempted
    assert results.failed == 0
