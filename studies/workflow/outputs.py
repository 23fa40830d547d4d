"""Datasets, figures and the report from finished cells; only what is missing or out of date."""

import functools
import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import reports
import studies
from detox_sim.files import write_whole
from detox_sim.sweeps import Cell, Store, assemble, write_netcdf
from reports.render import Report
from studies import GENERAL, STATIC
from studies.style import FORMATS
from studies.workflow.plans import Plan


class Outputs:
    """What is made of the finished cells of some plans; a context while pages are executed.

    Parameters
    ----------
    plans : sequence of Plan
    store : Store
    folder : pathlib.Path
        Where datasets, ``figures`` and ``report`` go.
    pages : bool
        Whether to make the report.
    """

    def __init__(self, plans: Sequence[Plan], store: Store, folder: Path, pages: bool = True):
        self.plans, self.store, self.folder, self.pages = plans, store, folder, pages
        self._report = Report(folder, studies.names())
        self._ready: set[str] = set()  # pages that are executed and not written yet
        self._ledger = folder / "made.json"
        try:
            self._made: dict[str, str] = dict(json.loads(self._ledger.read_text()))
        except (OSError, ValueError, TypeError):
            self._made = {}

    def __enter__(self) -> "Outputs":
        self._report.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        self._report.__exit__(*exception)

    def prepare(self) -> None:
        """Start what makes figures and pages, and execute pages that need no result."""
        if self.pages:
            self._report.prepare()
            self._ready = {name for name in STATIC if self._outdated(name, _key(_source()))}
            self._report.execute(sorted(self._ready))

    def make(self, plans: Sequence[Plan], missing: Collection[Cell] = ()) -> list[str]:
        """Make the dataset, figure and page of some studies, and the general pages.

        Parameters
        ----------
        plans : sequence of Plan
            What is up to date is not made again.
        missing : collection of Cell
            Those of all plans that were not run. The index says how many each study misses, and
            other pages that exist are not made again before there are none.

        Returns
        -------
        list of str
            The studies that were made, and "report" if a page was.
        """
        changed = [plan.name for plan in plans if self._make_dataset(plan, missing)]
        self._write_unfinished(missing)
        if not self.pages:
            for name in changed:
                reports.draw_figure(name, self.folder)
        elif self._make_pages(changed, missing):
            changed.append("report")
        if changed:
            text = json.dumps(self._made, indent=1)
            write_whole(self._ledger, lambda path: path.write_text(text))
        return changed

    def _make_pages(self, changed: Sequence[str], missing: Collection[Cell]) -> bool:
        """Make pages that are out of date, figures of changed studies first; return if any was."""
        pages = self._report.pages()
        state = [[name, self._made.get(name)] for name in pages]
        general = _key(_source(), state, [cell.digest for cell in missing])
        keys = {name: _key(_source(), self._made.get(name)) for name in pages}
        keys |= dict.fromkeys(GENERAL, general) | dict.fromkeys(STATIC, _key(_source()))
        later = {"claims"} if missing else set()
        outdated = [
            name
            for name, key in keys.items()
            if name in changed
            or (self._outdated(name, key) and (name not in later or not self._page(name).exists()))
        ]
        if not outdated:
            return False
        for names in (set(outdated) - {*GENERAL}, set(outdated) & {*GENERAL}):
            self._report.execute(sorted(names - self._ready), draw=changed)
        self._ready = set()
        self._report.write(outdated if missing else list(pages))
        self._made |= {f"page {name}": keys[name] for name in outdated}
        return True

    def _outdated(self, name: str, key: str) -> bool:
        return self._made.get(f"page {name}") != key or not self._page(name).exists()

    def _page(self, name: str) -> Path:
        return self.folder / "report" / f"{name}.html"

    def _make_dataset(self, plan: Plan, missing: Collection[Cell]) -> bool:
        """Make one dataset if it or its figure is out of date; return whether one was."""
        finished = [cell for cell in plan.cells if cell not in missing]
        own = hashlib.sha256(studies.source_of(plan.name)).hexdigest()
        key = _key(
            [_source(), own],
            plan.axes,
            plan.settings,
            [[cell.digest, self.store.stored_at(cell)] for cell in finished],
            [self.store.failure(cell) for cell in plan.cells],
        )
        files = [self.folder / f"{plan.name}.nc"]
        files += [self.folder / "figures" / f"{plan.name}.{kind}" for kind in FORMATS]
        if self._made.get(plan.name) == key and all(path.exists() for path in files):
            return False
        about = _about(plan, missing)
        dataset = assemble(plan.cells, plan.axes, self.store, about, plan.study.derive)
        if dataset is None:
            for path in files:
                path.unlink(missing_ok=True)
            self._made.pop(plan.name, None)
            return False
        if studies.group(plan.name) == "own" and plan.study.finding is not None:
            dataset.attrs["finding"] = plan.study.finding(dataset)  # for who has not the study
        write_netcdf(dataset, files[0], compressed=True)
        self._made[plan.name] = key
        return True

    def _write_unfinished(self, missing: Collection[Cell]) -> None:
        """Write for the index how many cells of which studies are finished and planned."""
        path = self.folder / reports.UNFINISHED
        counts = {
            plan.name: [len(plan.cells) - absent, len(plan.cells)]
            for plan in self.plans
            if (absent := sum(cell in missing for cell in plan.cells))
        }
        if counts:
            path.write_text(json.dumps(counts))
        else:
            path.unlink(missing_ok=True)


def committed_datasets(profile: str) -> list[Path]:
    """Return the datasets of a profile that come with the repository; their cells do not run."""
    return sorted((Path(reports.__path__[0]) / "data" / profile).glob("*.nc"))


def _about(plan: Plan, missing: Collection[Cell] = ()) -> dict:
    """Return what the provenance of a study's dataset says beside what its cells recorded."""
    cells = [cell for cell in plan.cells if cell not in missing] or plan.cells
    first, *others = (cell.fields for cell in cells)
    common = {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}
    scale = plan.study.scale
    scales = [scale(cell.fields) for cell in cells] if callable(scale) else [scale]
    return {
        "study": plan.name,
        "title": plan.study.title,
        "claim": plan.study.claim,
        "definitions": plan.study.definitions,
        "scale": "; ".join(dict.fromkeys(scales)),
        "profile": plan.profile,
        "settings": plan.settings,
        "versions": {part: v for cell in cells for part, v in cell.versions.items()},
        "base": plan.base,
        "fields": common,
    }


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@functools.cache
def _source() -> str:
    """Return a digest of the files that decide how results are drawn and described."""
    kinds = {".py", ".css", ".js", ".mplstyle", ".toml", ".md", ".nc"}
    roots = (Path(package.__path__[0]) for package in (studies, reports))
    files = sorted(path for root in roots for path in root.rglob("*") if path.suffix in kinds)
    return _key([[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files])
