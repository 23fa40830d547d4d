"""Datasets, figures and the report from finished cells; only what is missing or out of date."""

import hashlib
import json
from pathlib import Path

import reports
import studies
from detox_sim.sweeps import assemble
from detox_sim.sweeps.store import Store, write_netcdf
from reports.render import render
from studies.style import FORMATS, draw, save
from studies.workflow.plans import Plan


def make_outputs(plans: list[Plan], store: Store, folder: Path) -> list[str]:
    """Make the datasets, figures and the report that are missing or out of date; return which."""
    ledger = folder / "made.json"
    try:
        made = json.loads(ledger.read_text())
    except (OSError, ValueError):
        made = {}
    source, changed = _source(), []
    for plan in plans:
        key = _key(source, plan.settings, [cell.digest for cell in plan.cells], [
            store.failure(cell) for cell in plan.cells
        ])  # fmt: skip
        outputs = [folder / f"{plan.name}.nc", *_figures(folder, plan.name)]
        if made.get(plan.name) == key and all(path.exists() for path in outputs):
            continue
        if _make_study(plan, store, folder):
            made[plan.name] = key
            changed.append(plan.name)
    key = _key(source, made | {"report": None})
    page = folder / "report" / "index.html"
    if made.get("report") != key or not page.exists():
        render(folder, studies.names())
        made["report"] = key
        changed.append("report")
    if changed:
        ledger.write_text(json.dumps(made, indent=1))
    return changed


def committed_datasets() -> list[Path]:
    """Return the datasets that come with the package; their cells are not computed again."""
    return sorted((Path(reports.__path__[0]) / "data").glob("*/*.nc"))


def _figures(folder: Path, name: str) -> list[Path]:
    return [folder / "figures" / f"{name}.{kind}" for kind in FORMATS]


def _make_study(plan: Plan, store: Store, folder: Path) -> bool:
    """Assemble one dataset and draw its figure; False when every cell failed."""
    about = {
        "study": plan.name,
        "title": plan.study.title,
        "claim": plan.study.claim,
        "definitions": plan.study.definitions,
        "scale": _scale(plan),
        "profile": plan.profile,
        "settings": plan.settings,
        "versions": _versions(plan),
        "base": plan.base,
        "fields": _common(plan),
    }
    dataset = assemble(plan.cells, plan.axes, store, about, plan.study.derive)
    if dataset is None:
        for path in (folder / f"{plan.name}.nc", *_figures(folder, plan.name)):
            path.unlink(missing_ok=True)
        return False
    write_netcdf(dataset, folder / f"{plan.name}.nc", compressed=True)
    save(draw(plan.study.figure, dataset), folder / "figures" / plan.name)
    return True


def _versions(plan: Plan) -> dict[str, int]:
    """Return the versions of all parts that some cell uses."""
    return {part: v for cell in plan.cells for part, v in cell.versions.items()}


def _common(plan: Plan) -> dict:
    """Return the fields that all cells share."""
    first, *others = (cell.fields for cell in plan.cells)
    return {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}


def _scale(plan: Plan) -> str:
    """Return what the study says of its scale: always the same, or what its fields tell."""
    said = plan.study.scale
    if not callable(said):
        return said
    return "; ".join(dict.fromkeys(said(cell.fields) for cell in plan.cells))


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _source() -> str:
    """Return a digest of the files that decide how results are drawn and told."""
    kinds = {".py", ".css", ".mplstyle", ".toml", ".nc"}
    roots = (Path(package.__path__[0]) for package in (studies, reports))
    files = sorted(path for root in roots for path in root.rglob("*") if path.suffix in kinds)
    return _key([[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files])
