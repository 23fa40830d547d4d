"""Run the cells that are missing, and make what is out of date."""

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import studies
from detox_sim.arrays import require
from detox_sim.catalogue import check_known, unknown
from detox_sim.cluster import PACKAGES, connect, cores, versions
from detox_sim.commands.options import tls_files
from detox_sim.sweeps import Cell, SchedulerLostError, Store, execute, provenance
from detox_sim.sweeps.progress import Progress
from detox_sim.sweeps.store import summary
from studies.workflow.background import Background, OutputError
from studies.workflow.outputs import Outputs, committed_datasets
from studies.workflow.plans import Plan, make_plans, parse_settings, with_profile
from studies.workflow.printing import print_findings, print_plan

MODULES = ("studies",)  # what cells run; not part of the installed package


class UsageError(Exception):
    """Bad usage, found before anything runs."""


def run(options: argparse.Namespace, command: str, pressed: list[bool]) -> int:
    """Do what the options of `studies.reproduce` ask for; return the exit code.

    Parameters
    ----------
    options : argparse.Namespace
    command : str
        What resumes the run, for messages.
    pressed : list of bool
        Filled by Ctrl-C: Python drops an interrupt that falls into a destructor or a library's
        callback, so it is looked at after each cell too.
    """
    try:
        return _reproduce(options, checked(options), pressed)
    except BrokenPipeError:  # whoever read the output is gone
        raise
    except (UsageError, ConnectionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OutputError as error:
        print(f"error: a figure or page failed: {summary(str(error))}", file=sys.stderr)
        print("finished cells are kept; the same command makes it again", file=sys.stderr)
        return 1
    except SchedulerLostError as error:
        print(
            f"error: {error}; finished cells are kept. "
            f"Once it and its workers run again, resume with:\n  {command}",
            file=sys.stderr,
        )
        return 1


def checked(options: argparse.Namespace) -> list[Plan]:
    """Return what the options ask for, or raise UsageError."""
    try:
        if options.profile not in studies.PROFILES:
            raise unknown("profile", options.profile, studies.PROFILES)
        if options.processes is not None and options.processes < 1:
            raise ValueError(f"--processes must be 1 or more, got {options.processes}")
        tls_files(options)
        settings = parse_settings(options.set)
        if options.backend:
            require(options.backend)
            settings["backend"] = options.backend
        own = [name for name in dict.fromkeys(options.study) if "." in name]
        names = [*studies.outside(own), *(n for n in options.study if n not in own)]
        check_known("study", names, studies.names())
        names = list(dict.fromkeys(names)) or with_profile(options.profile)
        plans = make_plans(names, options.profile, settings, _store(options))
        if options.study:
            return plans
        return [p for p in plans if options.profile not in p.study.by_name]
    except ValueError as error:
        raise UsageError(error) from error


def _folder(options: argparse.Namespace) -> Path:
    return Path(f"results/{options.profile}" if options.output is None else options.output)


def _store(options: argparse.Namespace) -> Store:
    return Store(
        _folder(options) / "cells", [] if options.fresh else committed_datasets(options.profile)
    )


def _reproduce(options: argparse.Namespace, plans: list[Plan], pressed: list[bool]) -> int:
    """Run what is missing, then make what is out of date; return the exit code."""
    folder, store = _folder(options), _store(options)
    cells = [cell for plan in plans for cell in plan.cells]
    todo = cells if options.fresh else [cell for cell in cells if store.read(cell) is None]
    if options.plan:
        processes = _processes(plans, todo, options)
        if options.scheduler:
            tls = tls_files(options)
            with connect(options.scheduler, packages=PACKAGES, modules=MODULES, tls=tls) as client:
                processes = len(client.nthreads())
        print_plan(plans, todo, options, folder, processes)
        return 0
    if options.finished and len(todo) == len(cells):
        raise UsageError(f"no cell is finished in {folder}; leave out --finished to run them")
    if not todo or options.finished:
        _check_writable(folder)
        with Outputs(plans, store, folder, options.report) as outputs:
            tried = {cell for cell in todo if store.failure(cell) is not None}
            made = outputs.make(plans, missing={*todo} - tried)
    else:
        made = _run(options, plans, todo, store, pressed)
    failed = [(cell, error) for cell in cells if (error := store.failure(cell))]
    for cell, error in failed:
        print(f"failed: {cell}: {summary(error)}", file=sys.stderr)
    if options.finished and todo:
        print(f"finished: {len(cells) - len(todo)} of {len(cells)} cells")
    elif not made:
        also = " and the report" * options.report
        print(f"cached: all {len(cells)} cells, figures{also} are there already")
    if made:
        print_findings(plans, folder)
    print(f"report: {folder / 'report' / 'index.html'}" if options.report else f"results: {folder}")
    return 1 if failed else 0


def _run(
    options: argparse.Namespace,
    plans: list[Plan],
    todo: list[Cell],
    store: Store,
    pressed: list[bool],
) -> list[str]:
    """Run cells, and make the outputs of each study after its last one; return what was made."""
    folder = _folder(options)
    record = provenance(versions(PACKAGES))
    resources = {"GPU": 1.0} if options.backend == "cupy" else None
    same = defaultdict(list)  # studies of one kind share cells
    for cell in todo:
        same[store.path(cell)].append(cell)
    unique = [alike[0] for alike in same.values()]
    timed = {cell for plan in plans if plan.study.exclusive for cell in plan.cells}
    # The profile smoke checks that everything runs: what its times measure does not matter.
    alone = timed if options.profile != "smoke" else set()
    with Background(plans, store, folder, options.report) as outputs:
        with connect(
            options.scheduler,
            processes=_processes(plans, todo, options),
            packages=PACKAGES,
            modules=MODULES,
            gpu=resources is not None,
            tls=tls_files(options),
        ) as client:
            _check_writable(folder)
            for cell in todo if options.fresh else ():
                store.forget(cell)
            with Progress(unique, len(client.nthreads()), alone) as progress:
                missing, made = set(todo), 0

                def done(cell: Cell, error: str | None, seconds: float) -> None:
                    nonlocal made
                    progress.done(cell, error, seconds)
                    missing.difference_update(same[store.path(cell)])
                    finished = [plan for plan in plans if missing.isdisjoint(plan.cells)]
                    quiet = cell in alone or not missing or len(finished) == made
                    if not quiet and outputs.start(finished, missing):
                        made = len(finished)
                    if pressed:
                        raise KeyboardInterrupt

                shared = [cell for cell in unique if cell not in timed]
                execute(client, shared, store, record, done, resources)
                if alone:
                    outputs.wait()
                for cell in unique:
                    if cell in timed:
                        execute(client, [cell], store, record, done, resources)
            outputs.wait()
            outputs.start(plans, ())  # while the cluster ends
        return outputs.wait()


def _processes(plans: list[Plan], todo: list[Cell], options: argparse.Namespace) -> int:
    """Return how many Dask processes to start: as the options say, or the studies, or one a core.

    A study has ``processes=1`` where one cell needs all the memory.
    """
    missing = set(todo)
    wanted = [
        plan.study.processes or cores() for plan in plans if not missing.isdisjoint(plan.cells)
    ]
    return options.processes or max(wanted, default=cores())


def _check_writable(folder: Path) -> None:
    """Make the folders of the output, or raise UsageError."""
    try:
        for path in (folder, *(folder / name for name in ("cells", "figures", "report"))):
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
    except OSError as error:
        raise UsageError(
            f"cannot write to {path}: {error.strerror}; name another folder with --output"
        ) from error
