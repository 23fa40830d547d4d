"""Run the main function of a command, so that a terminal never shows a traceback of its own."""

import argparse
import atexit
import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

INTERRUPTED, CLOSED = 130, 141  # exit codes of a shell for SIGINT and SIGPIPE


class Parser(argparse.ArgumentParser):
    """A parser of options that reports wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and end with code 2."""
        self.exit(2, f"{self.prog}: {message}; --help lists the options\n")


def program(name: str) -> str:
    """Return how a command of the studies was called: by its module, or as ``detox-sim NAME``."""
    return f"python -m studies.{name}" if Path(sys.argv[0]).stem == name else f"detox-sim {name}"


def run(main: Callable[[], int]) -> int:
    """Return the exit code of a main function; say in one line what keeps it from printing.

    Characters that the terminal cannot show are printed as "?". A reader that ends early, such as
    ``head``, ends the command with code 141, Ctrl-C with 130. A full disk or a file that cannot be
    opened is one line and code 1.

    Parameters
    ----------
    main : callable
        () -> exit code.

    Examples
    --------
    >>> run(lambda: 0)
    0
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = main()
        sys.stdout.flush()
        return code
    except (KeyboardInterrupt, SystemError) as error:  # the latter from compiled code
        if not _interrupted(error):
            raise
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return CLOSED
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        _discard_output()
        return 1


def run_module(name: str) -> NoReturn:
    """Import a module, run its main function, and end this process with the exit code.

    For a script whose imports take seconds: Ctrl-C in them is one line too.

    Parameters
    ----------
    name : str
        Of the module.
    """
    end(run(lambda: importlib.import_module(name).main()))


def end(code: int) -> NoReturn:
    """End this process with an exit code once the functions of `atexit` have run.

    Python's own end also takes every imported module apart: a second after torch and xarray.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused an exception."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _discard_output() -> None:
    """Keep Python from writing the rest of the output at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
