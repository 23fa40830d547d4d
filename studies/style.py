"""Draw figures in one style, with a line on what they show, and save them."""

import io
import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from detox_sim.sweeps.intervals import student_t

VANILLA, DETOX, THEORY = sns.color_palette("colorblind", 3)
FORMATS = ("svg", "pdf", "png")
PIXELS_PER_INCH = 160
ROLES = ("hue", "style", "col", "row")  # of the axes that `curves` shows beside the horizontal one
MOST_AXES = len(ROLES)


def draw(figure: Callable[[Any], Figure], dataset: Any) -> Figure:
    """Draw a figure in the house style, with a line on seeds, profile and hardware.

    Parameters
    ----------
    figure : callable
        Of a study.
    dataset : xarray.Dataset or list of xarray.Dataset
        What it is drawn from.
    """
    several = dataset if isinstance(dataset, list) else [dataset]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.style.use(Path(__file__).with_name("detox.mplstyle"))
        result = figure(dataset)
        line = "\n".join(part for one in several for part in textwrap.wrap(statement(one), 170))
        result.text(0.005, -0.01, line, fontsize=7, color="0.35", va="top")
        _settle(result)
        return result


def _settle(figure: Figure) -> None:
    """Fix the layout, rounded: the solver's last bits differ from process to process."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    with mpl.rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)
    for ax in figure.axes:
        left, bottom, width, height = (round(v, 4) for v in ax.get_position().bounds)
        ax.set_position((left, bottom, width, height))


def curves(values: xr.DataArray, over: str) -> Figure:
    """Draw means over seeds along an axis, with 95 % Student t intervals.

    The other axes with several labels are colour, line style, columns and rows, in their order.

    Parameters
    ----------
    values : xarray.DataArray
    over : str
        The horizontal axis.

    Raises
    ------
    ValueError
        For more axes than a figure can show.
    """
    left = [str(d) for d in values.dims if d not in (over, "seed") and values.sizes[d] > 1]
    if len(left) > MOST_AXES:
        raise ValueError(
            f"{values.name} has {len(left)} axes besides {over} ({', '.join(left)}), and a figure "
            f"shows {MOST_AXES}; take one label of some"
        )
    name = str(values.name)
    frame = values.to_dataframe(name=name).reset_index()
    for axis in left:
        frame[axis] = frame[axis].astype(str)
    grid = sns.relplot(
        frame,
        x=over,
        y=name,
        kind="line",
        marker="o",
        errorbar=student_t,
        err_style="bars",
        err_kws={"capsize": 3},
        **dict(zip(ROLES, left, strict=False)),
    )
    unit = f" ({values.attrs['units']})" if "units" in values.attrs else ""
    label = values.attrs.get("long_name", name).replace("_", " ")
    grid.set_axis_labels(over.replace("_", " "), label + unit)
    plt.close(grid.figure)  # it is not one of those that pyplot shows
    return grid.figure


def statement(dataset: xr.Dataset) -> str:
    """Return the line below a figure: scale, seeds, profile, hardware, what is left out.

    Examples
    --------
    >>> about = {"profile": "smoke", "scale": "toy", "hardware": ["x86_64, 2 cores"],
    ...          "axes": {"seed": [0, 1]}, "failures": {}, "settings": {}}
    >>> statement(xr.Dataset(attrs={"provenance": json.dumps(about)}))
    'toy; 2 seeds, bands are 95 % Student t intervals; profile smoke; x86_64, 2 cores'
    """
    about = json.loads(dataset.attrs["provenance"])
    parts = [about["scale"]] if about["scale"] else []
    if "seed" in about["axes"]:
        count = len(about["axes"]["seed"])
        bands = ", bands are 95 % Student t intervals" if count > 1 else ""
        parts.append(f"{count} seed{'s' if count > 1 else ''}{bands}")
    changed = ", ".join(f"{name}={value}" for name, value in about["settings"].items())
    parts.append(f"profile {about['profile']}" + (f", changed: {changed}" if changed else ""))
    parts.append(" and ".join(about["hardware"]))
    count = about.get("count", {})
    if count and count["finished"] + count["failed"] < count["planned"]:
        parts.append(f"{count['finished']} of {count['planned']} cells, the others not run")
    if about["failures"]:
        parts.append(f"{len(about['failures'])} failed cells left out")
    return "; ".join(parts)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write the figure as SVG, PDF and PNG, the same bytes for the same figure."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = {kind: stem.with_suffix(f".{kind}") for kind in FORMATS}
    _write(figure, paths)
    return [*paths.values()]


def as_svg(figure: Figure) -> bytes:
    """Return the figure as SVG, the same bytes for the same figure."""
    content = io.BytesIO()
    _write(figure, {"svg": content})
    return content.getvalue()


def _write(figure: Figure, targets: Mapping[str, Any]) -> None:
    """Write the figure to a path or file for each format."""
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    # "tight" would draw once more a format; widths of text differ by up to 0.2 inches among them.
    around = figure.get_tightbbox().padded(0.25)
    with mpl.rc_context({"svg.hashsalt": "detox_sim"}):
        for kind, target in targets.items():
            figure.savefig(
                target,
                format=kind,
                metadata=metadata[kind],
                bbox_inches=around,
                dpi=PIXELS_PER_INCH,
            )
