"""Print how many cells of a sweep are finished, and how long the rest will take."""

import sys
import time
from collections import defaultdict
from collections.abc import Collection, Sequence

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from detox_sim.sweeps.store import Cell

LINE_SECONDS = 5.0


class Progress:
    """Count finished cells: a bar on a terminal, a line now and then elsewhere.

    The time left is that of the cells that are not finished, shared by the processes. A cell is
    expected to take what the finished cells of its study took, in proportion to the seconds that
    the study expects; while there is none of its study, those of all studies.

    Parameters
    ----------
    cells : sequence of Cell
    processes : int
        How many cells run at once.
    alone : collection of Cell
        Cells beside which no other runs.

    Examples
    --------
    >>> cell = Cell("study", ("a",), {}, 1, dict, seconds=2.0, memory=0.0)
    >>> with Progress([cell]) as progress:
    ...     progress.done(cell, None, 3.0)
    running 1 cells
    1 of 1 cells, 0 failed, 0 s, about 0 s left
    """

    def __init__(self, cells: Sequence[Cell], processes: int = 1, alone: Collection[Cell] = ()):
        self.count, self.processes, self.alone = len(cells), processes, set(alone)
        self.finished, self.failed, self.spent = 0, 0, 0.0
        # By study: expected seconds of the rest, and expected and measured ones of finished cells.
        self.waiting: dict[str, float] = defaultdict(float)
        self.expected: dict[str, float] = defaultdict(float)
        self.measured: dict[str, float] = defaultdict(float)
        for cell in cells:
            self.waiting[cell.study] += self._width(cell) * cell.seconds
        self.start = self.printed = time.monotonic()
        self.terminal = sys.stdout.isatty()
        self.bar = Bar(
            TextColumn("{task.completed} of {task.total} cells"),
            BarColumn(),
            TextColumn("about {task.fields[left]} left"),
            console=Console(quiet=not self.terminal),
            disable=not self.terminal,
        )
        self.task = self.bar.add_task("", total=self.count, left="? s")

    def __enter__(self) -> "Progress":
        if not self.terminal:
            print(f"running {self.count} cells", flush=True)
        self.bar.start()
        return self

    def done(self, cell: Cell, error: str | None, seconds: float) -> None:
        """Count one cell, finished after so many seconds or failed."""
        self.finished += 1
        self.failed += error is not None
        self.waiting[cell.study] -= self._width(cell) * cell.seconds
        if error is None:
            self.spent += self._width(cell) * seconds
            self.expected[cell.study] += cell.seconds
            self.measured[cell.study] += seconds
        now = time.monotonic()
        taken, left = now - self.start, f"{self.left(now - self.start):.0f} s"
        self.bar.update(self.task, completed=self.finished, left=left)
        due = now - self.printed > LINE_SECONDS or self.finished == self.count
        if due and not self.terminal:
            self.printed = now
            print(
                f"{self.finished} of {self.count} cells, {self.failed} failed, {taken:.0f} s, "
                f"about {left} left",
                flush=True,
            )

    def left(self, taken: float) -> float:
        """Return the seconds that the rest will take, so many seconds after the start.

        What the processes did beyond the finished cells is part of the cells that run now.
        """
        if self.finished == self.count:
            return 0.0
        overall = _ratio(sum(self.measured.values()), sum(self.expected.values()))
        rest = sum(
            seconds * _ratio(self.measured[study], self.expected[study], overall)
            for study, seconds in self.waiting.items()
        )
        begun = max(0.0, self.processes * taken - self.spent)
        return max(0.0, rest - begun) / self.processes

    def _width(self, cell: Cell) -> int:
        """Return how many processes the cell keeps from others."""
        return self.processes if cell in self.alone else 1

    def __exit__(self, *exception) -> None:
        self.bar.stop()


def _ratio(measured: float, expected: float, otherwise: float = 1.0) -> float:
    return measured / expected if expected else otherwise
