"""What the command prints of its cells before a run, and of what was found after it."""

import shlex
import shutil
from pathlib import Path

from detox_sim.sweeps import Cell
from studies.workflow.plans import Plan
from studies.workflow.results import described

PROCESS_MEMORY = 4e8  # bytes of a Dask process with torch loaded
START_SECONDS, REPORT_SECONDS = 6, 15


def print_findings(plans: list[Plan], folder: Path) -> None:
    """Print the first paragraph of what each study found."""
    width = min(shutil.get_terminal_size().columns, 100)
    for plan in plans:
        path = folder / f"{plan.name}.nc"
        if path.exists():
            print(described(plan.name, path, width, brief=True))
    print(f"more: python -m studies.results {shlex.quote(str(folder))}")


def _time(seconds: float) -> str:
    """Return seconds as text, from two hours on as hours.

    Examples
    --------
    >>> _time(95.2), _time(47_490)
    ('95 s', '13.2 hours')
    """
    return f"{seconds:.0f} s" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _seconds(cells: list[Cell], processes: int, plan: Plan) -> float:
    return sum(cell.seconds for cell in cells) / (1 if plan.study.exclusive else processes)


def print_plan(plans: list[Plan], todo: list[Cell], options, folder: Path, processes: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("study", "cells", "to run", "cached", "expected seconds", "GB a process")
    missing = set(todo)
    for plan in plans:
        run = [cell for cell in plan.cells if cell in missing]
        memory = (PROCESS_MEMORY + max((cell.memory for cell in run), default=0)) / 1e9
        table.add_row(
            plan.name,
            str(len(plan.cells)),
            str(len(run)),
            str(len(plan.cells) - len(run)),
            f"{_seconds(run, processes, plan):.0f}",
            f"{memory:.1f}" if run else "-",
        )
    Console().print(table)
    seconds = REPORT_SECONDS * options.report + sum(
        _seconds([cell for cell in plan.cells if cell in missing], processes, plan)
        for plan in plans
    )
    peak = processes * (PROCESS_MEMORY + max((cell.memory for cell in todo), default=0)) / 1e9
    if todo:
        where = f"{processes} processes{' of the scheduler' if options.scheduler else ''}"
        print(
            f"expected: about {_time(seconds + START_SECONDS)} in all with {processes} processes, "
            f"at most {peak:.1f} GB on {where}; output in {folder}"
        )
    else:
        print(f"cached: nothing to run; output in {folder}")
