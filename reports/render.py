"""Execute the notebooks on stored datasets and write one self-contained HTML page each."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

from reports import FOLDER

HERE = Path(__file__).parent
# A page shows what a dataset says of itself, and lets a browser run or load none of it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
GENERAL = {"index": "Overview", "claims": "Claims", "how_to_choose": "How to choose"}


def render(results: Path, studies: Sequence[str]) -> Path:
    """Render the general pages, and one for each study whose dataset is there.

    Parameters
    ----------
    results : pathlib.Path
        Folder with ``<study>.nc``; pages go to its subfolder ``report``, each as HTML, which
        loads nothing from anywhere, and as an executed notebook.
    studies : sequence of str

    Returns
    -------
    pathlib.Path
        The index page.

    Raises
    ------
    RuntimeError
        When a notebook fails; names it.
    """
    present = [name for name in studies if (results / f"{name}.nc").exists()]
    folder = results / "report"
    folder.mkdir(parents=True, exist_ok=True)
    for name in set(studies) - set(present):
        (folder / f"{name}.html").unlink(missing_ok=True)
    pages = GENERAL | {name: _title(results / f"{name}.nc") for name in present}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: _page(name, pages, results, folder), pages))
    return folder / "index.html"


def source(name: str) -> Path:
    """Return the notebook of a page, which lies in the group of its study."""
    (path,) = {*HERE.glob(f"{name}.py"), *HERE.glob(f"*/{name}.py")}
    return path


def _title(path: Path) -> str:
    import xarray as xr

    with xr.open_dataset(path, engine="netcdf4") as dataset:
        return json.loads(dataset.attrs["provenance"])["title"]


def _page(name: str, pages: dict[str, str], results: Path, folder: Path) -> None:
    """Execute one notebook and write it as .ipynb and .html."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbconvert import HTMLExporter

    notebook = jupytext.read(source(name))
    # The kernel is this very Python, whatever kernels the user has installed.
    client = NotebookClient(notebook, timeout=300, kernel_name="", resources={})
    with tempfile.TemporaryDirectory() as private:
        client.km = _kernel(results, Path(private))
        try:
            asyncio.run(client.async_execute())
        except CellExecutionError as error:
            raise RuntimeError(
                f"{source(name).relative_to(HERE.parent)} failed: {error}"
            ) from error
    nbformat.write(notebook, folder / f"{name}.ipynb")
    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(notebook)
    links = "".join(
        f'<a href="{page}.html"{" class=here" * (page == name)}>{escape(title)}</a>'
        for page, title in pages.items()
    )
    style = (HERE / "report.css").read_text()
    (folder / f"{name}.html").write_text(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>detox_sim: {escape(pages[name])}</title><style>{style}</style></head>\n"
        f"<body><nav>{links}</nav><main>{body}</main></body></html>\n"
    )


def _kernel(results: Path, private: Path):
    """Return a manager of a kernel of this Python that opens no port and knows the results."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager(transport="ipc", connection_file=str(private / "kernel.json"))
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Python 3",
        language="python",
        env={FOLDER: str(results.resolve()), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return manager
