"""Run studies, write their datasets and figures, and render the report.

Exit codes: 0 done (or nothing to do), 1 some cells failed or the scheduler was lost (the next call
runs them again), 2 bad usage (nothing was run), 130 interrupted (finished cells are kept; the
command that resumes is printed).
"""

import sys

from detox_sim.commands import terminal

if __name__ == "__main__":  # before what takes seconds to import
    terminal.run_module("studies.reproduce")

import argparse
import shlex
import signal
from collections.abc import Sequence

import studies
from detox_sim.arrays import BACKENDS
from detox_sim.cluster import prepare
from detox_sim.commands.options import add_tls


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(arguments)
    resume = [argument for argument in arguments if argument != "--fresh"]
    command = shlex.join(["python", "-m", "studies.reproduce", *resume])
    pressed: list[bool] = []

    def interrupt(*_) -> None:
        # Once: a second Ctrl-C must not interrupt the shutdown.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        pressed.append(True)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        if not (options.scheduler or options.plan or options.finished):
            prepare("seaborn")  # in a process of its own, while this one imports and checks
        from studies.workflow import running

        return running.run(options, command, pressed)
    except KeyboardInterrupt:
        print(f"\ninterrupted; finished cells are kept. Resume with:\n  {command}", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, before)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    made = terminal.Parser(
        prog=terminal.program("reproduce"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "study",
        nargs="*",
        metavar="STUDY",
        help=f"{', '.join(studies.names())}; a file GRID.toml or a module package.module of yours; "
        "default: all but kernels and throughput, which no claim needs; smoke has them too",
    )
    profiles = ", ".join(studies.PROFILES)
    made.add_argument("--profile", default="laptop", help=f"{profiles}: how large")
    where = made.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDR", help="run on a dask-scheduler (tls://...)")
    where.add_argument("--processes", type=int, metavar="N", help="processes; default one a core")
    add_tls(made)
    made.add_argument("--backend", choices=BACKENDS, help="array library of the aggregation")
    made.add_argument("--output", metavar="DIR", help="default: results/PROFILE")
    made.add_argument("--plan", action="store_true", help="print what would run, and run nothing")
    made.add_argument(
        "--no-report", dest="report", action="store_false", help="make no pages of the report"
    )
    what = made.add_mutually_exclusive_group()
    what.add_argument("--fresh", action="store_true", help="delete the stored cells first")
    what.add_argument(
        "--finished",
        action="store_true",
        help="run nothing: make datasets, figures and the report of the finished cells",
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="name=value",
        help="change a field or an axis of the studies, e.g. steps=50, seed=0,1, pipeline=Median",
    )
    return made
