"""Files that appear whole or not at all, even if the process that writes them is killed."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name beside it, then rename it.

    Parameters
    ----------
    path : pathlib.Path
        Its folder is made where it is missing.
    write : callable
        Is given the temporary path; if it raises, `path` stays as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "note"), lambda path: path.write_text("done"))
    ...     [file.name for file in Path(folder).iterdir()]
    ['note']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with uninterrupted():
            write(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Return where `write_whole` of this process writes before it renames.

    Examples
    --------
    >>> temporary_name(Path("run")).name == f".run.{os.getpid()}"
    True
    """
    return path.with_name(f".{path.name}.{os.getpid()}")


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block; off the main thread do nothing.

    Inside xarray's file locks an interrupt would leave one of them held.

    Examples
    --------
    >>> def block():
    ...     with uninterrupted():
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("first the block")
    >>> main_thread = threading.current_thread() is threading.main_thread()
    >>> try:
    ...     block() if main_thread else print("first the block")
    ... except KeyboardInterrupt:
    ...     pass
    first the block
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    waiting: list[tuple] = []
    signal.signal(signal.SIGINT, lambda *call: waiting.append(call))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            before(*waiting[0])
