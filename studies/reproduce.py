"""Run studies, write their datasets and figures, and render the report.

Exit codes: 0 done (or nothing to do), 1 some cells failed or the scheduler was lost (what is
missing is left out, and the next call tries it again), 2 bad usage (nothing was run), 130
interrupted (finished cells are kept; the command that resumes is printed).
"""

import argparse
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import studies
from detox_sim.arrays import BACKENDS, require
from detox_sim.catalogue import check_known, unknown
from detox_sim.cluster import connect, cores, versions
from detox_sim.sweeps import SchedulerLostError, execute, provenance
from detox_sim.sweeps.progress import Progress
from detox_sim.sweeps.store import Cell, Store
from studies.workflow.options import PACKAGES, add_tls, tls_files
from studies.workflow.outputs import committed_datasets, make_outputs
from studies.workflow.plans import Plan, make_plans, parse_settings, with_profile

PROFILES = ("smoke", "laptop", "digits", "cifar", "paper")  # the last three: studies that train
WORKER_MEMORY = 4e8  # bytes of a worker process with torch loaded
START_SECONDS, REPORT_SECONDS = 6, 15


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(arguments)
    resume = [argument for argument in arguments if argument != "--fresh"]
    command = shlex.join(["python", "-m", "studies.reproduce", *resume])
    pressed: list[bool] = []

    def interrupt(*_) -> None:
        # Once: a second Ctrl-C must not cut the closing short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        pressed.append(True)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        return _reproduce(options, _checked(options), pressed)
    except (UsageError, ConnectionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SchedulerLostError as error:
        print(
            f"error: {error}; finished cells are kept. "
            f"Once it and its workers run again, resume with:\n  {command}",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; finished cells are kept. Resume with:\n  {command}", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, before)


class UsageError(Exception):
    """Bad usage, found before anything runs."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m studies.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "study",
        nargs="*",
        metavar="STUDY",
        help=f"{', '.join(studies.names())}; default: all, but kernels only in smoke",
    )
    parser.add_argument("--profile", default="laptop", help=f"{', '.join(PROFILES)}: how large")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDR", help="run on a dask-scheduler (tls://...)")
    where.add_argument("--processes", type=int, metavar="N", help="processes; default one a core")
    add_tls(parser)
    parser.add_argument("--backend", choices=BACKENDS, help="array library of the aggregation")
    parser.add_argument("--output", metavar="DIR", help="default: results/PROFILE")
    parser.add_argument("--plan", action="store_true", help="say what would run, and run nothing")
    parser.add_argument("--fresh", action="store_true", help="forget the stored cells first")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="name=value",
        help="change a field or an axis of the studies, e.g. steps=50, seed=0,1, pipeline=Median",
    )
    return parser


def _checked(options: argparse.Namespace) -> list[Plan]:
    """Return what the options ask for, or raise UsageError."""
    try:
        if options.profile not in PROFILES:
            raise unknown("profile", options.profile, PROFILES)
        if options.processes is not None and options.processes < 1:
            raise ValueError(f"--processes must be 1 or more, got {options.processes}")
        tls_files(options)
        settings = parse_settings(options.set)
        if options.backend:
            require(options.backend)
            settings["backend"] = options.backend
        check_known("study", options.study, studies.names())
        names = list(dict.fromkeys(options.study)) or with_profile(options.profile)
        plans = make_plans(names, options.profile, settings)
        if options.study:
            return plans
        return [p for p in plans if options.profile not in p.study.by_name]
    except ValueError as error:
        raise UsageError(error) from error


def _reproduce(options: argparse.Namespace, plans: list[Plan], pressed: list[bool]) -> int:
    """Run what is missing, then make what is out of date; return the exit code.

    `pressed` is filled by Ctrl-C: Python drops an interrupt that falls into a destructor or a
    library's callback, so it is looked at after each cell too.
    """
    folder = Path(f"results/{options.profile}" if options.output is None else options.output)
    store = Store(folder / "cells", [] if options.fresh else committed_datasets())
    cells = [cell for plan in plans for cell in plan.cells]
    todo = cells if options.fresh else [cell for cell in cells if store.read(cell) is None]
    if options.plan:
        _print_plan(plans, todo, options, folder)
        return 0
    if todo:
        record = provenance(versions(PACKAGES))
        resources = {"GPU": 1.0} if options.backend == "cupy" else None
        timed = {cell for plan in plans if plan.study.exclusive for cell in plan.cells}
        with connect(
            options.scheduler,
            processes=_processes(plans, todo, options),
            packages=PACKAGES,
            gpu=resources is not None,
            tls=tls_files(options),
        ) as client:
            _check_writable(folder)
            for cell in cells if options.fresh else ():
                store.forget(cell)
            with Progress(todo) as progress:

                def done(cell: Cell, error: str | None) -> None:
                    progress.done(cell, error)
                    if pressed:
                        raise KeyboardInterrupt

                shared = [cell for cell in todo if cell not in timed]
                execute(client, shared, store, record, done, resources)
                for cell in todo:
                    if cell in timed:
                        execute(client, [cell], store, record, done, resources)
    _check_writable(folder)
    made = make_outputs(plans, store, folder)
    failed = [(cell, error) for cell in cells if (error := store.failure(cell))]
    for cell, error in failed:
        print(f"failed: {cell}: {error.strip().splitlines()[-1]}", file=sys.stderr)
    if not todo and not made:
        print(f"cached: all {len(cells)} cells, figures and the report are there already")
    print(f"report: {folder / 'report' / 'index.html'}")
    return 1 if failed else 0


def _processes(plans: list[Plan], todo: list[Cell], options: argparse.Namespace) -> int:
    """Return how many workers to start: as asked, or as studies that run alone say, or one a core.

    A study says WORKERS = 1 where one cell wants all the memory.
    """
    missing = set(todo)
    wanted = [
        plan.study.processes or cores() for plan in plans if not missing.isdisjoint(plan.cells)
    ]
    return options.processes or max(wanted, default=cores())


def _check_writable(folder: Path) -> None:
    """Make the folders of the output, or raise UsageError."""
    try:
        for place in (folder, *(folder / name for name in ("cells", "figures", "report"))):
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                pass
    except OSError as error:
        raise UsageError(
            f"cannot write to {place}: {error.strerror}; name another folder with --output"
        ) from error


def _seconds(cells: list[Cell], workers: int, plan: Plan) -> float:
    return sum(cell.seconds for cell in cells) / (1 if plan.study.exclusive else workers)


def _print_plan(plans: list[Plan], todo: list[Cell], options, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    workers = _processes(plans, todo, options)
    table = Table("study", "cells", "to run", "cached", "expected seconds", "GB a worker")
    missing = set(todo)
    for plan in plans:
        run = [cell for cell in plan.cells if cell in missing]
        memory = (WORKER_MEMORY + max((cell.memory for cell in run), default=0)) / 1e9
        table.add_row(
            plan.name,
            str(len(plan.cells)),
            str(len(run)),
            str(len(plan.cells) - len(run)),
            f"{_seconds(run, workers, plan):.0f}",
            f"{memory:.1f}" if run else "-",
        )
    Console().print(table)
    seconds = REPORT_SECONDS + sum(
        _seconds([cell for cell in plan.cells if cell in missing], workers, plan) for plan in plans
    )
    peak = workers * (WORKER_MEMORY + max((cell.memory for cell in todo), default=0)) / 1e9
    if todo:
        where = "workers of the scheduler" if options.scheduler else f"{workers} workers"
        print(
            f"expected: about {seconds + START_SECONDS:.0f} s in all with {workers} workers, "
            f"at most {peak:.1f} GB on {where}; output in {folder}"
        )
    else:
        print(f"cached: nothing to run; output in {folder}")


if __name__ == "__main__":
    sys.exit(main())
