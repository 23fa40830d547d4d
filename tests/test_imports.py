"""Imports point one way: read from the source, and seen in a fresh process."""

import ast
import subprocess
import sys
from pathlib import Path

import detox_sim

ROOT = Path(detox_sim.__file__).parents[1]

# Lowest first; a module imports only from its own folder and from rows above its own.
LAYERS = [
    {"arrays", "streams", "catalogue", "files"},
    {"sweeps"},
    {"primitives"},
    {"messages"},
    {"aggregators", "assignments", "encodings", "models", "data", "partitions"},
    {"mixers", "costs", "theory", "coding"},
    {"placements", "voting"},
    {"attacks", "planning"},
    {"trials"},
    {"cluster"},
    {"training"},
    {"sweeping"},
    {"commands"},
]
FLOORS = [
    *({f"detox_sim.{name}" for name in row} for row in LAYERS),
    {"detox_sim"},
    {"studies", "studies.style"},
    {f"studies.{group}" for group in ("redundancy", "training", "robustness")},
    {"studies.timing"},  # models the rounds of the pipelines that are trained
    {"studies.evidence"},
    {"reports"},
    {"studies.workflow"},
    {f"studies.{command}" for command in ("reproduce", "claims", "results")},
    {"detox_sim.__main__"},  # runs any command; nothing imports it
]
LEVEL = {name: level for level, row in enumerate(FLOORS) for name in row}

# These know nothing of DETOX, so that they could leave the project as they are.
STRANGERS = (
    "detox_sim.cluster.connecting",
    "detox_sim.cluster.joining",
    "detox_sim.files",
    "detox_sim.sweeps",
    "detox_sim.commands.terminal",
)

# Compiled code, and classes that inherit from torch's: imported when it is needed.
BACKENDS = {
    "detox_sim.data.scaling",
    "detox_sim.models.at_once",
    *(f"detox_sim.primitives.cpu.{name}" for name in ("compiled", "exchange", "pairwise", "tile")),
    *(f"detox_sim.primitives.cpu.{name}" for name in ("orders", "votes", "weighted")),
    "detox_sim.primitives.cpu",
    "detox_sim.theory.worker_sets",
    "detox_sim.trials.elimination",
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


def part(module):
    """The folder of the house, or the module beside the folders, that a name belongs to."""
    return module if module in LEVEL else ".".join(module.split(".")[: 1 + ("." in module)])


def level(module):
    name = part(module)
    return LEVEL.get("reports" if name.startswith("reports") else name)


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
    packages = {"detox_sim", "studies", "reports"}
    return sorted({other for other in imported(MODULES[name]) if other.split(".")[0] in packages})


def test_every_module_has_a_floor():
    assert [name for name in MODULES if level(name) is None] == []


def test_no_import_points_up():
    for name in MODULES:
        for other in ours(name) if name != "detox_sim" else ():
            same = part(name) == part(other) or name.split(".")[0] == "reports" == other[:7]
            assert same or level(other) < level(name), f"{name} imports {other}"


def test_import_walk_sees_what_it_should():
    names = set(imported(ast.parse("def f():\n    from detox_sim import training, messages")))
    assert names == {"detox_sim.training", "detox_sim.messages"}
    assert level("detox_sim.training") > level("detox_sim.voting") > level("detox_sim.messages")
    assert level("studies.reproduce") > level("reports.timing.kernels") > level("studies.timing")
    assert level("detox_sim.unheard_of") is None


def test_general_modules_know_nothing_of_detox():
    for name in (name for name in MODULES if name.startswith(STRANGERS)):
        known = [o for o in ours(name) if not o.startswith(STRANGERS)]
        assert known == [], f"{name} imports {known}"


def at_import(tree):
    """The statements that run when a module is imported, `TYPE_CHECKING` blocks left out."""
    for node in ast.iter_child_nodes(tree):
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not function and not typing:
            yield node
            yield from at_import(node)


def test_heavy_libraries_wait_until_they_are_needed():
    for name in MODULES:
        if not name.startswith("detox_sim") or name in BACKENDS:
            continue
        for node in at_import(MODULES[name]):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found = {other.partition(".")[0] for other in imported(node)}
                assert not found & HEAVY, f"{name} imports {found & HEAVY} when it is imported"


def test_at_import_sees_what_runs_and_only_that():
    source = "try:\n    import torch\nexcept OSError:\n    pass\ndef f():\n    import dask\n"
    found = [ast.unparse(n) for n in at_import(ast.parse(source)) if isinstance(n, ast.Import)]
    assert found == ["import torch"]


def test_catalogues_import_nothing_heavy():
    heavy = HEAVY | {"xarray", "pandas", "matplotlib"}
    for name in ("", ".aggregators", ".attacks", ".voting", ".theory", ".placements", ".cluster"):
        code = f"import detox_sim{name}, sys; print(*({heavy} & sys.modules.keys()))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert done.stdout.split() == [], f"detox_sim{name}"
