"""Imports point one way: read from the source, and seen in a fresh process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Lowest first; a module may import only from rows above its own.
LAYERS = [
    {"arrays", "streams", "catalogue", "checkpoints"},
    {"primitives"},
    {"messages"},
    {"aggregators", "attacks", "assignments", "models", "data"},
    {"mixers", "costs", "theory", "coding"},
    {"placements", "voting"},
    {"lies"},
    {"rounds", "outcomes", "planning"},
    {"trial"},
    {"problem"},
    {"cluster", "one_process"},
    {"training"},
]
LEVEL = {f"detox_sim.{name}": level for level, row in enumerate(LAYERS) for name in row}
ABOVE = {"studies": len(LAYERS), "reports": len(LAYERS) + 1}
COMMAND = {"studies.outputs", "studies.reproduce"}  # on top: they run studies, render reports
PACKAGES = {"detox_sim", *ABOVE}

# These know nothing of DETOX, so that they could leave the project as they are.
STRANGERS = {"detox_sim.cluster.connecting", "studies.store", "studies.sweep"}

# Compiled code: imported when it is needed.
BACKENDS = {
    "detox_sim.primitives.cpu",
    "detox_sim.primitives.cpu_distances",
    "detox_sim.primitives.tile",
    "detox_sim.theory.kernels",
}

HEAVY = {"torch", "cupy", "dask", "distributed", "numba", "PIL", "pooch"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): ast.parse(path.read_text())
    for package in ("detox_sim", "studies", "reports")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def level(module):
    if module in COMMAND:
        return len(LAYERS) + 2
    return LEVEL.get(part(module), ABOVE.get(module.partition(".")[0]))


def part(module):
    """The module or package of `detox_sim` that a name belongs to."""
    return ".".join(module.split(".")[:2])


def imported(tree):
    """Names that a tree imports; of ``from package import module`` the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inner)


def ours(name):
    return sorted({other for other in imported(MODULES[name]) if other.split(".")[0] in PACKAGES})


INNER = [name for name in MODULES if name != "detox_sim"]


@pytest.mark.parametrize("name", INNER)
def test_every_module_has_a_place(name):
    assert level(name) is not None, f"give {name} a row in LAYERS"


@pytest.mark.parametrize("name", INNER)
def test_no_import_points_up(name):
    for other in ours(name):
        same_package = name.split(".")[0] == other.split(".")[0] != "detox_sim"
        same_package |= part(name) == part(other)
        public = other == "detox_sim" and level(name) >= ABOVE["studies"]
        assert same_package or public or level(other) < level(name), f"{name} imports {other}"


def test_the_law_can_fail():
    names = set(imported(ast.parse("def f():\n    from detox_sim import training, messages")))
    assert names == {"detox_sim.training", "detox_sim.messages"}
    assert level("detox_sim.training") > level("detox_sim.voting") > level("detox_sim.messages")
    assert level("detox_sim.unheard_of") is None


@pytest.mark.parametrize("name", sorted(STRANGERS & set(MODULES)))
def test_strangers_know_nothing_of_detox(name):
    assert [other for other in ours(name) if other.startswith("detox_sim")] == []


def at_import(tree):
    """The statements that run when a module is imported, `TYPE_CHECKING` blocks left out."""
    for node in ast.iter_child_nodes(tree):
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not function and not typing:
            yield node
            yield from at_import(node)


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.startswith("detox_sim") and name not in BACKENDS]
)
def test_heavy_libraries_wait_until_they_are_needed(name):
    for node in at_import(MODULES[name]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found = {other.partition(".")[0] for other in imported(node)}
            assert not found & HEAVY, f"{name} imports {found & HEAVY} when it is imported"


def test_at_import_sees_what_runs_and_only_that():
    source = "try:\n    import torch\nexcept OSError:\n    pass\ndef f():\n    import dask\n"
    found = [ast.unparse(n) for n in at_import(ast.parse(source)) if isinstance(n, ast.Import)]
    assert found == ["import torch"]


@pytest.mark.parametrize(
    "name", ["", ".aggregators", ".attacks", ".voting", ".theory", ".placements", ".cluster"]
)
def test_a_catalogue_is_light(name):
    heavy = HEAVY | {"xarray", "pandas", "matplotlib"}
    code = f"import detox_sim{name}, sys; print(*({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []
