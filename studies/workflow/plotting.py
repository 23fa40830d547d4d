"""Draw any variable of a stored dataset over any of its axes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from detox_sim.catalogue import check_known
from studies.evidence.verdicts import open_stored
from studies.style import FORMATS, curves, statement


def plot(
    files: Mapping[str, Path],
    name: str,
    variable: str,
    over: str,
    settings: Sequence[str],
    target: Path,
) -> None:
    """Draw means of a variable with 95 % Student t intervals over seeds, and save the figure.

    The axes that are left with several labels are colour, line style, columns and rows, in their
    order.

    Parameters
    ----------
    files : mapping
        Name -> dataset.
    name : str
        Of the dataset.
    variable : str
    over : str
        The horizontal axis.
    settings : sequence of str
        ``axis=label`` each.
    target : pathlib.Path
        Its ending says the format.

    Raises
    ------
    ValueError
        For a name that the dataset does not have, more axes than a figure can show, another format
        than SVG, PDF or PNG, or no folder to write to.
    """
    check_known("format of the figure", [target.suffix.removeprefix(".")], FORMATS)
    if not target.parent.is_dir():
        raise ValueError(f"{target.parent} is not a folder")
    check_known("dataset", [name], files)
    dataset, about = open_stored(files[name])
    check_known("variable", [variable], [str(v) for v in dataset.data_vars])
    values = dataset[variable]
    for setting in settings:
        axis, _, label = setting.partition("=")
        check_known(f"axis of {variable}", [axis], list(map(str, values.dims)))
        labels = {str(each): each for each in values[axis].values}
        check_known(axis, [label], labels)
        values = values.sel({axis: labels[label]}, drop=True)
        about.get("axes", {}).pop(axis, None)
    check_known(f"axis of {variable}", [over], list(map(str, values.dims)))
    figure = curves(values, over)
    if "scale" in about:
        shown = dataset.assign_attrs(provenance=json.dumps(about))
        figure.text(0.01, -0.02, statement(shown), fontsize=7, color="0.35", va="top")
    figure.savefig(target, bbox_inches="tight")
