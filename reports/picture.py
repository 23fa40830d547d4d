"""The picture of a training step with DETOX on the first page of the report."""

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

HONEST, FORGED, SERVER = "#0173b2", "#d55e00", "#029e73"
COLUMNS = {  # stage -> horizontal place
    "files of\nthe batch": 0.5,
    "groups of r = 3 workers\ncompute the same gradient": 2.6,
    "majority vote\nover the copies": 5.2,
    "mean in\nvote groups": 7.2,
    "robust rule,\nhere the median": 9.1,
}
FORGING = {(0, 1), (2, 0), (2, 2)}  # (file, copy) of the Byzantine workers


def detox() -> Figure:
    """Draw files, groups of workers, votes, vote groups and the rule; forged messages stand out.

    In the third group two of three workers are Byzantine, so its vote is distorted, and the rule
    after the vote must withstand that.

    Examples
    --------
    >>> len(detox().axes)
    1
    """
    figure = Figure(figsize=(9.6, 3.6))
    ax = figure.subplots()
    ax.set(xlim=(0, 10), ylim=(-0.6, 7.2))
    ax.axis("off")
    files, copies, votes, means, rule = COLUMNS.values()
    for title, x in COLUMNS.items():
        ax.text(x, 6.9, title, ha="center", va="top", fontsize=9)
    for file in range(6):
        y = 5 - file
        lost = sum((file, copy) in FORGING for copy in range(3)) > 1
        _box(ax, files, y, f"file {file + 1}", "0.4")
        for copy in range(3):
            x = copies - 0.7 + 0.7 * copy
            forged = (file, copy) in FORGING
            _box(ax, x, y, "forged" if forged else "", FORGED if forged else HONEST, width=0.6)
        _arrow(ax, files + 0.45, copies - 1.1, y, y)
        _arrow(ax, copies + 1.1, votes - 0.5, y, y)
        _box(ax, votes, y, "distorted" if lost else "", FORGED if lost else SERVER)
        _arrow(ax, votes + 0.45, means - 0.5, y, 4.5 - 2 * (file // 2))
    for group in range(3):
        centre = 4.5 - 2 * group
        _box(ax, means, centre, "", FORGED if group == 1 else SERVER)
        _arrow(ax, means + 0.45, rule - 0.5, centre, 2.5)
    _box(ax, rule, 2.5, "update", SERVER)
    return figure


def _box(ax, x: float, y: float, text: str, colour: str, width: float = 0.9) -> None:
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 0.3),
            width,
            0.6,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=colour,
            edgecolor="none",
            alpha=0.85,
        )
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=7, color="white")


def _arrow(ax, start: float, end: float, y: float, to: float) -> None:
    ax.annotate("", (end, to), (start, y), arrowprops={"arrowstyle": "->", "color": "0.5"})
