"""Notebooks that show stored datasets, and the functions they share; none computes a result."""

import base64
import functools
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import xarray as xr

import studies
from studies import GROUPS, load, outdated

FOLDER = "DETOX_SIM_RESULTS"  # environment variable: where the notebooks find the datasets
UNFINISHED = "unfinished.json"  # in that folder: study -> how many cells are finished and planned
THUMBNAIL = 480  # pixels
shown = ""  # the study whose page `own.py` is: set before it is executed
DATA = Path(__file__).with_name("data")
COMMITTED = {
    "digits": "On digits: every rule, five seeds",
    "atlas": "On Fashion-MNIST: every scheme, rule and attack",
    "cifar": "On CIFAR-10",
    "paper": "At the paper's scale",
}


def results_folder() -> Path:
    """Return the folder of the datasets that the notebooks show."""
    return Path(os.environ.get(FOLDER, "results/laptop"))


def unfinished() -> dict[str, tuple[int, int]]:
    """Return how many cells are finished and planned, of each study that misses some."""
    try:
        return json.loads((results_folder() / UNFINISHED).read_text())
    except FileNotFoundError:
        return {}


def open_study(
    name: str, profile: str | None = None, folder: Path | None = None
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return a study's stored dataset and its provenance.

    Parameters
    ----------
    name : str
    profile : str, optional
        The dataset of this profile that comes with the repository.
    folder : pathlib.Path, optional
        Where results are; by default `results_folder`.

    Raises
    ------
    FileNotFoundError
        When there is none; says how to make it.
    """
    folder = (folder or results_folder()) if profile is None else DATA / profile
    path = folder / f"{name}.nc"
    if not path.exists():
        run = f"python -m studies.reproduce {name}" + (f" --profile {profile}" if profile else "")
        raise FileNotFoundError(f"{path} is missing; run: {run}")
    with xr.open_dataset(path, engine="netcdf4") as stored:
        dataset = stored.load()
    return dataset, json.loads(dataset.attrs["provenance"])


def draw_figure(name: str, folder: Path | None = None) -> None:
    """Draw a study's stored dataset, and store the figure, by default in `results_folder`."""
    from studies.style import draw, save

    folder = folder or results_folder()
    dataset, _ = open_study(name, folder=folder)
    save(draw(load(name).figure, dataset), folder / "figures" / name)


def show(name: str) -> None:
    """Display a study's stored figure in a notebook, as vector graphics with nothing to load."""
    _, about = open_study(name)
    _display((results_folder() / "figures" / f"{name}.svg").read_bytes(), about["title"])


def show_committed(name: str, profile: str) -> None:
    """Display the figure of a dataset that comes with the repository, drawn from it."""
    dataset, about = open_study(name, profile)
    show_drawn(load(name).figure, dataset, f"{name}, profile {profile}: {about['title']}")


def show_drawn(figure: Callable[[xr.Dataset], Any], dataset: xr.Dataset, alt: str) -> None:
    """Display a figure drawn from a dataset on the page; `alt` says what it shows."""
    from studies.style import as_svg, draw

    _display(as_svg(draw(figure, dataset)), alt)


def main_finding() -> tuple[Any, list[str]]:
    """Return the figure of what the damage by ALIE consists of, and what the vote saves, in words.

    Of the datasets on digits and on CIFAR-10 that come with the repository and have all parts.
    """
    from studies.style import draw
    from studies.training.effects import differences, panels, tables

    profiles = [p for p in COMMITTED if (DATA / p / "accuracy_alie.nc").exists() and p != "paper"]
    datasets = [open_study("accuracy_alie", profile)[0] for profile in profiles]
    datasets = [one for one in datasets if differences.has_parts(one)]
    found = [tables.answer(dataset) for dataset in datasets]
    return draw(panels.decomposition_figure, datasets), found


@functools.cache
def _main_finding() -> tuple[bytes, list[str]]:
    """Return what `main_finding` does, the figure as SVG."""
    from studies.style import as_svg

    figure, found = main_finding()
    return as_svg(figure), found


def judged() -> list[Any]:
    """Return the verdict on each claim, as of `studies.evidence.verdicts.judged`.

    By the datasets at hand, and by those that come with the repository unless all at hand are of
    own grids or of studies that ``--set`` changed.
    """
    from studies.evidence import verdicts

    at_hand = [n for n in studies.names() if (results_folder() / f"{n}.nc").exists()]
    whole = [n for n in at_hand if studies.group(n) != "own" and not open_study(n)[1]["settings"]]
    return verdicts.judged([results_folder(), *(verdicts.committed() if whole else [])])


def show_main_finding() -> None:
    """Display the texts of `main_finding`, and its figure."""
    from IPython.display import Markdown, display

    figure, found = _main_finding()
    display(Markdown("\n\n".join(found)))
    _display(figure, "The parts of the damage that ALIE does to each rule, by task")


def prepare() -> None:
    """Import what pages need, and compute what the first page shows of no run, for later pages."""
    import seaborn  # noqa: F401

    from reports import answers

    _main_finding()
    answers.advice()


def show_picture() -> None:
    """Display the picture of a training step with DETOX."""
    from reports import picture
    from studies.style import as_svg

    _display(as_svg(picture.detox()), "Files, groups of workers, votes, vote groups, and the rule")


def link(name: str, text: str) -> str:
    """Return a Markdown link to the page of a study; without a dataset of it only the text."""
    there = (results_folder() / f"{name}.nc").exists()
    return f"[{text}]({name}.html)" if there else f"{text} (`{name}`)"


def first_paragraph(markdown: str) -> str:
    """Return the first paragraph or item of a Markdown text.

    Examples
    --------
    >>> first_paragraph("* **One** is here.\\n* Two.")
    '**One** is here.'
    """
    return markdown.strip().splitlines()[0].removeprefix("* ")


def show_gallery(stored: Mapping[str, tuple[xr.Dataset, dict[str, Any]]]) -> None:
    """Display a small figure and the first finding of each study, in the groups of studies.

    `stored` has datasets and their provenance, as of `open_study`, by study.
    """
    from IPython.display import HTML, Markdown, display

    for group in GROUPS:
        cards = [_card(n, *one) for n, one in stored.items() if studies.group(n) == group]
        if cards:
            display(Markdown(f"### {group.capitalize()}"))
            display(HTML(f"<div class=gallery>{''.join(cards)}</div>"))


def _card(name: str, dataset: xr.Dataset, about: dict[str, Any]) -> str:
    """Return a study's title, first finding and small figure, as HTML that links to its page."""
    from nbconvert.filters import markdown2html
    from PIL import Image

    finding = load(name).finding
    found = about["claim"] if finding is None else first_paragraph(finding(dataset))
    if finding is not None and larger(name, about):
        found += " (This run; its page has larger ones, too.)"
    path, image = results_folder() / "figures" / f"{name}.png", ""
    if path.exists():
        picture = io.BytesIO()
        with Image.open(path) as whole:
            whole.thumbnail((THUMBNAIL, THUMBNAIL))
            whole.convert("RGB").save(picture, "JPEG", quality=85)
        content = base64.b64encode(picture.getvalue()).decode()
        alt = escape(f"Figure: {about['title']}", quote=True)
        image = f'<img alt="{alt}" src="data:image/jpeg;base64,{content}">'
    return (
        f'<div><a href="{name}.html">{image}<b>{escape(about["title"])}</b></a>'
        f"{markdown2html(found)}</div>"
    )


def _display(content: bytes, alt: str) -> None:
    from IPython.display import HTML, display

    image, alt = base64.b64encode(content).decode(), escape(f"Figure: {alt}", quote=True)
    picture = f'<img alt="{alt}" src="data:image/svg+xml;base64,{image}">'
    display(HTML(f'<label class="figure" title="enlarge"><input type="checkbox">{picture}</label>'))


def larger(name: str, about: dict[str, Any]) -> dict[str, tuple[xr.Dataset, dict[str, Any]]]:
    """Return the datasets of larger profiles that come with the repository, the largest first.

    Parameters
    ----------
    name : str
        A study.
    about : dict
        Provenance of the results at hand: their profile is left out. A run that ``--set`` changed
        has no larger one.

    Returns
    -------
    dict of str to (xarray.Dataset, dict)
        By profile, as of `open_study`.
    """
    if about["settings"]:
        return {}
    profiles = [profile for profile in reversed(COMMITTED) if profile != about["profile"]]
    return {p: open_study(name, p) for p in profiles if (DATA / p / f"{name}.nc").exists()}


def show_findings(name: str) -> None:
    """Display what a study found in larger runs that come with the repository, and in the one at hand."""
    from IPython.display import Markdown, display

    (dataset, about), finding = open_study(name), load(name).finding
    if finding is None:
        return
    others = larger(name, about)
    for profile, (one, _) in others.items():
        display(Markdown(f"### {COMMITTED[profile]} (these runs come with the repository)"))
        display(Markdown(_folded(finding(one))))
    if others:
        display(Markdown(f"### This run (profile `{about['profile']}`)"))
    display(Markdown(_folded(finding(dataset))))


def _folded(finding: str) -> str:
    """Return a finding with the items below a sentence folded, so that the figure comes soon.

    Examples
    --------
    >>> _folded("* One.") == "* One.", "<details>" in _folded("All.\\n\\n* One.")
    (True, True)
    """
    first, *others = finding.split("\n\n")
    folded = "<details><summary>In detail</summary>\n\n{}\n\n</details>"
    items = [folded.format(b) if b.startswith("* ") else b for b in others]
    return "\n\n".join([first, *items])


def show_larger(name: str, about: dict[str, Any], tables: Callable[[xr.Dataset], None]) -> None:
    """Display results of larger profiles that come with the repository, as sections of a page.

    Parameters
    ----------
    name : str
    about : dict
        Provenance of the results at hand: their profile is not shown twice.
    tables : callable
        Displays the tables of a dataset.
    """
    from IPython.display import Markdown, display

    for profile, (dataset, of) in larger(name, about).items():
        display(Markdown(f"## {COMMITTED[profile]}"))
        show_committed(name, profile)
        tables(dataset)
        describe(of, brief=True)


def describe(about: dict[str, Any], brief: bool = False) -> None:
    """Display the paper's claim, the definitions taken, and the provenance of a dataset, folded.

    `brief` leaves out claim and definitions, for a page that shows a second dataset of a study.
    """
    from IPython.display import Markdown, display

    environment = about["environments"][-1]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    state = " with uncommitted changes" if environment["dirty"] else ""
    lines = [
        f"**Scale.** {about['scale']}; profile (size of the run) `{about['profile']}`"
        + (f", changed by {about['settings']}." if about["settings"] else "."),
        f"**Made** from {about['computed'][0]} to {about['computed'][1]} on "
        f"{' and '.join(about['hardware'])}, {about['cell_seconds']:g} s of one core; commit "
        f"`{environment['commit']}`{state}; {packages}.",
    ]
    fields = ", ".join(f"`{name}={value}`" for name, value in about.get("fields", {}).items())
    if fields:
        lines.append(f"**Fields that all cells share.** {fields}.")
    if not brief:
        items = "\n".join(f"* {item}" for item in about["definitions"])
        lines.insert(0, f"**What the paper says.** {about['claim']}")
        lines.insert(2, f"**Definitions taken.**\n\n{items}")
    if len(about["environments"]) > 1:
        lines.append(
            f"Runs come from {len(about['environments'])} commits or sets of versions; the last is named."
        )
    display(Markdown("\n\n".join(warnings(about))))
    folded = ["<details><summary>Scale, definitions, versions</summary>", *lines, "</details>"]
    display(Markdown("\n\n".join(folded)))


def warnings(about: dict[str, Any]) -> list[str]:
    """Return what a reader must know of a dataset that is old, not finished or has failed cells."""
    found = []
    if old := outdated(about):
        found.append(f"**It was {old}:** the same fields may give other numbers today.")
    count = about.get("count", {})
    if count and count["finished"] + count["failed"] < count["planned"]:
        found.append(
            f"**Not finished:** {count['finished']} of {count['planned']} cells have run. The others "
            "are left out."
        )
    if about["failures"]:
        found.append(
            "**Failed cells, left out.** "
            + "; ".join(f"{cell}: {error}" for cell, error in about["failures"].items())
        )
    return found


def table(frame) -> None:
    """Display a DataFrame with the name of its index in the corner; text stands left in columns."""
    import pandas as pd
    from IPython.display import HTML, display

    if frame.empty:
        return
    words = [
        f"text{place}"
        for place, (_, column) in enumerate(frame.items(), 2)  # the index is column 1
        if column.map(lambda value: re.match(r"[^\W\d_]{2}", str(value)) is not None).any()
    ]
    with pd.option_context("display.max_colwidth", None):
        content = frame.rename_axis(index=None, columns=frame.index.name).to_html(border=0)
    display(HTML(f'<div class="{" ".join(["table", *words])}">{content}</div>'))
