"""Print how many cells of a sweep are finished."""

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from detox_sim.sweeps.store import Cell

LINE_SECONDS = 5.0


class Progress:
    """Count finished cells: a bar on a terminal, a line now and then elsewhere.

    The time left is extrapolated from the expected seconds of the finished cells.

    Examples
    --------
    >>> cell = Cell("study", ("a",), {}, 1, dict, seconds=2.0, memory=0.0)
    >>> with Progress([cell]) as progress:
    ...     progress.done(cell, None)
    running 1 cells
    1 of 1 cells, 0 failed, 0 s, about 0 s left
    """

    def __init__(self, cells: Sequence[Cell]):
        self.count, self.total = len(cells), sum(cell.seconds for cell in cells)
        self.finished, self.failed, self.spent = 0, 0, 0.0
        self.start = self.printed = time.monotonic()
        self.terminal = sys.stdout.isatty()
        self.bar = Bar(
            TextColumn("{task.fields[finished]} of {task.fields[count]} cells"),
            BarColumn(),
            TextColumn("{task.percentage:.0f}%, left"),
            TimeRemainingColumn(),
            console=Console(quiet=not self.terminal),
            disable=not self.terminal,
        )

    def __enter__(self) -> "Progress":
        if not self.terminal:
            print(f"running {self.count} cells", flush=True)
        self.bar.start()
        self.task = self.bar.add_task("", total=self.total, finished=0, count=self.count)
        return self

    def done(self, cell: Cell, error: str | None) -> None:
        """Count one cell, finished or failed."""
        self.finished, self.spent = self.finished + 1, self.spent + cell.seconds
        self.failed += error is not None
        self.bar.update(self.task, completed=self.spent, finished=self.finished)
        now = time.monotonic()
        due = now - self.printed > LINE_SECONDS or self.finished == self.count
        if due and not self.terminal:
            self.printed, taken = now, now - self.start
            left = max(0.0, self.total - self.spent) * taken / self.spent
            print(
                f"{self.finished} of {self.count} cells, {self.failed} failed, {taken:.0f} s, "
                f"about {left:.0f} s left",
                flush=True,
            )

    def __exit__(self, *exception) -> None:
        self.bar.stop()
