"""Execute the notebooks on stored datasets and write one self-contained HTML page each."""

import base64
import functools
import hashlib
import json
import queue
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any

import xarray as xr

import studies
from reports import tables
from studies import GENERAL

HERE = Path(__file__).parent
# A page shows what a dataset says of itself, and lets a browser run or load none of it. A page with
# scripts (`_scripts`) allows these by their digests.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PAGES_PER_KERNEL = 4  # fewer take less time than the start of a second kernel


class Report:
    """The pages of a folder of results; a context that keeps the notebooks' kernels until its end.

    Parameters
    ----------
    results : pathlib.Path
        Folder with ``<study>.nc``. Pages go to its subfolder ``report``, each as HTML, which loads
        nothing from anywhere, and as an executed notebook.
    names : sequence of str
        All studies that may have a page.
    """

    def __init__(self, results: Path, names: Sequence[str]):
        self.results, self.studies = results, names
        self.folder = results / "report"
        self._bodies: dict[str, tuple[str, list[str]]] = {}
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *exception) -> None:
        with ThreadPoolExecutor(1) as thread:  # the caller's may have an event loop of its own
            while not self._idle.empty():
                thread.submit(self._idle.get().close)

    def pages(self) -> dict[str, str]:
        """Return the title of each page by its name: the general ones, and those of datasets."""
        files = {name: self.results / f"{name}.nc" for name in self.studies}
        return GENERAL | {name: _title(path) for name, path in files.items() if path.exists()}

    def prepare(self) -> None:
        """Import what pages need, and compute what the first one shows of no run."""
        import jupytext  # noqa: F401
        import nbformat  # noqa: F401

        import reports
        from reports import processes  # noqa: F401

        reports.prepare()
        assert self._exporter

    def execute(self, names: Sequence[str], draw: Collection[str] = ()) -> None:
        """Execute the notebooks of pages, several of them on two kernels.

        Parameters
        ----------
        names : sequence of str
        draw : collection of str
            Those whose figure is drawn before, by the same kernel.

        Raises
        ------
        RuntimeError
            When a notebook fails; names it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(1 + (len(names) > PAGES_PER_KERNEL)) as threads:
            list(threads.map(lambda name: self._execute(name, name in draw), names))

    def write(self, names: Iterable[str]) -> None:
        """Write the HTML of executed pages, and delete the pages of studies without a dataset."""
        pages = self.pages()
        for name in set(self.studies) - set(pages):
            (self.folder / f"{name}.html").unlink(missing_ok=True)
        style = (HERE / "report.css").read_text()
        for name in names:
            body, scripts = self._body(name)
            heading, end, rest = body.rpartition("</h1>")
            body = heading + end + self._files(name) + _contents(body) + rest
            (self.folder / f"{name}.html").write_text(
                '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
                f'<meta http-equiv="Content-Security-Policy" content="{POLICY + _allowed(scripts)}">'
                '<meta name="viewport" content="width=device-width, initial-scale=1">'
                f"<title>detox_sim: {escape(pages[name])}</title><style>{style}</style></head>\n"
                f"<body>{_navigation(name, pages)}<main>{body}{_neighbours(name, pages)}</main>"
                f"{''.join(f'<script>{script}</script>' for script in scripts)}</body></html>\n",
                encoding="utf-8",
            )

    def _files(self, name: str) -> str:
        """Return links to the files that a page is made of."""
        files = {"notebook": f"{name}.ipynb"}
        if name not in GENERAL:
            files |= {"dataset": f"../{name}.nc"}
            files |= {k.upper(): f"../figures/{name}.{k}" for k in ("svg", "pdf", "png")}
        links = ", ".join(f'<a href="{path}">{said}</a>' for said, path in files.items())
        return f'<p class=files><a class=narrow href="#pages">all pages</a> {links}</p>'

    def _execute(self, name: str, draw: bool) -> None:
        import jupytext
        import nbformat
        from nbclient.exceptions import CellExecutionError

        from reports.processes import Kernel

        notebook = jupytext.read(source(name))
        code = f"from reports import draw_figure\ndraw_figure({name!r})"
        first = [nbformat.v4.new_code_cell(code)] if draw else []
        if source(name).name == "own.py":
            first.append(nbformat.v4.new_code_cell(f"import reports\nreports.shown = {name!r}"))
        notebook.cells = first + notebook.cells
        try:
            kernel = self._idle.get_nowait()
        except queue.Empty:
            kernel = Kernel(self.results)
        try:
            kernel.execute(notebook)
        except CellExecutionError as error:
            path = source(name).relative_to(HERE.parent)
            raise RuntimeError(f"{path} failed: {error}") from error
        finally:
            self._idle.put(kernel)
        notebook.cells = notebook.cells[len(first) :]
        nbformat.write(notebook, self.folder / f"{name}.ipynb")
        self._bodies.pop(name, None)

    def _body(self, name: str) -> tuple[str, list[str]]:
        """Return a page's HTML without head and links, and its scripts."""
        import nbformat

        if name not in self._bodies:
            notebook = nbformat.read(self.folder / f"{name}.ipynb", as_version=4)
            body = self._exporter.from_notebook_node(notebook)[0]
            self._bodies[name] = body, _scripts(name, notebook)
        return self._bodies[name]

    @functools.cached_property
    def _exporter(self) -> Any:
        from nbconvert import HTMLExporter

        return HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True)


def source(name: str) -> Path:
    """Return the notebook of a page, which lies in the group of its study.

    Raises
    ------
    FileNotFoundError
        Where a study has no page; names the path.
    """
    if name not in GENERAL and studies.group(name) == "own":
        return HERE / "own.py"
    found = [*HERE.glob(f"{name}.py" if name in GENERAL else f"*/{name}.py")]
    if not found:
        raise FileNotFoundError(
            f"the study {name} has no page; write reports/GROUP/{name}.py, in the group of the study"
        )
    return found[0]


def _scripts(name: str, notebook: Any) -> list[str]:
    """Return the scripts of a page: those of its sortable tables, and the one beside its notebook."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    has_table = any(tables.MARK in output.get("metadata", {}) for output in outputs)
    own = source(name).with_suffix(".js")
    paths = [*tables.SCRIPTS] * has_table + [own] * own.exists()
    return [path.read_text(encoding="utf-8") for path in paths]


def _allowed(scripts: Sequence[str]) -> str:
    """Return what the policy of a page adds so that its own scripts run, and no others."""
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"; script-src {allowed}" if scripts else ""


def _navigation(name: str, pages: Mapping[str, str]) -> str:
    """Return links to all pages, those of studies in their groups."""
    groups: dict[str, list[str]] = {}
    for page, title in pages.items():
        group = "" if page in GENERAL else studies.group(page).capitalize()
        link = f'<a href="{page}.html"{" class=here" * (page == name)}>{escape(title)}</a>'
        groups.setdefault(group, []).append(link)
    lists = [f"<b>{group}</b>{''.join(links)}" for group, links in groups.items()]
    return "<nav id=pages>" + "".join(f"<div>{each}</div>" for each in lists) + "</nav>"


def _contents(body: str) -> str:
    """Return links to the sections of a page."""
    found = re.findall(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"', body)
    links = ", ".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in found)
    return f"<p class=contents>{links}</p>" if found else ""


def _neighbours(name: str, pages: Mapping[str, str]) -> str:
    """Return links to the page before and the page after."""
    order = list(pages)
    place = order.index(name)
    links = [
        f'<a href="{order[at]}.html">{said}: {escape(pages[order[at]])}</a>'
        for said, at in (("Previous", place - 1), ("Next", place + 1))
        if 0 <= at < len(order)
    ]
    return f"<p class=neighbours>{''.join(links)}</p>"


def _title(path: Path) -> str:
    with xr.open_dataset(path, engine="netcdf4") as dataset:
        return json.loads(dataset.attrs["provenance"])["title"]
