"""Outputs made in a process of their own, beside the cells that run."""

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Collection, Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

import studies
from detox_sim.sweeps import Cell, Store
from studies.workflow.plans import Plan


class OutputError(Exception):
    """A figure or a page failed; with the traceback."""


class Background:
    """A process that makes outputs; a context that ends it.

    netCDF's library is not safe in threads, so this is a process.

    Parameters
    ----------
    plans : sequence of Plan
    store : Store
    folder : pathlib.Path
    pages : bool
        As of `Outputs`.
    """

    def __init__(self, plans: Sequence[Plan], store: Store, folder: Path, pages: bool = True):
        self._arguments = list(plans), store, folder, pages, os.environ.get(studies.OUTSIDE, "")
        self._process: Any = None
        self._pipe: Any = None
        self._busy = False
        self._made: list[str] = []
        self._error: str | None = None

    def __enter__(self) -> "Background":
        # Forked from the process that the embedded cluster's are, which has imported much.
        method = "forkserver" if sys.platform == "linux" else "spawn"
        context: Any = multiprocessing.get_context(method)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments))
        self._process.start()
        theirs.close()
        return self

    def __exit__(self, kind, *exception) -> None:
        if kind is not None:
            self._process.terminate()
        self._pipe.close()
        self._process.join()

    def start(self, plans: Sequence[Plan], missing: Collection[Cell]) -> bool:
        """Start `Outputs.make`; return False where the last one is not finished."""
        if self._busy and not self._pipe.poll():
            return False
        self._collect()  # what failed keeps no cell from running
        with _lost():
            self._pipe.send(([plan.name for plan in plans], {cell.digest for cell in missing}))
        self._busy = True
        return True

    def wait(self) -> list[str]:
        """Wait until what was started is made; return what was made so far.

        Raises
        ------
        OutputError
            When a figure or a page failed.
        """
        self._collect()
        if self._error is not None:
            raise OutputError(self._error)
        return self._made

    def _collect(self) -> None:
        if self._busy:
            self._busy = False
            with _lost():
                # Kernels that it forked may hold its end of the pipe open.
                if self._pipe not in connection.wait([self._pipe, self._process.sentinel]):
                    raise EOFError
                made, error = self._pipe.recv()
            self._made, self._error = self._made + made, self._error or error


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """Say that the process ended, where its pipe is closed."""
    try:
        yield
    except (EOFError, OSError):
        raise OutputError("the process that makes figures and pages ended") from None


def _serve(
    pipe: connection.Connection,
    plans: list[Plan],
    store: Store,
    folder: Path,
    pages: bool,
    outside: str,
) -> None:
    """Make outputs as asked, until the other side closes."""
    # Ctrl-C in a terminal is for the driver, which ends this process; its kernels end with it.
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    from studies.workflow.outputs import Outputs

    os.environ[studies.OUTSIDE] = outside
    cells = [cell for plan in plans for cell in plan.cells]
    with Outputs(plans, store, folder, pages) as outputs:
        with contextlib.suppress(OSError):  # of the folder; the driver says so
            outputs.prepare()
        while True:
            try:
                names, digests = pipe.recv()
            except EOFError:
                return
            missing = {cell for cell in cells if cell.digest in digests}
            try:
                made = outputs.make([plan for plan in plans if plan.name in names], missing)
                pipe.send((made, None))
            except Exception:
                pipe.send(([], traceback.format_exc()))
