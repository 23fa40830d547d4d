"""What a run needs to go on where it was: named arrays in one file that is whole or not there."""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

Where = str | os.PathLike[str]


def check(path: Where) -> None:
    """Raise unless a checkpoint can lie there.

    Raises
    ------
    ValueError
        When its folder is missing, or something other than a file has its name.

    Examples
    --------
    >>> check("/nowhere/run")
    Traceback (most recent call last):
    ValueError: no folder /nowhere for the checkpoint run; make it first
    """
    place = Path(path)
    if not place.parent.is_dir():
        raise ValueError(f"no folder {place.parent} for the checkpoint {place.name}; make it first")
    if not place.name or (place.exists() and not place.is_file()):
        raise ValueError(f"the checkpoint {str(path)!r} must be a file; name another")


def save(path: Where, about: object, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays so that the file appears whole or not at all, even if killed meanwhile.

    Parameters
    ----------
    path : path
        Its folder exists.
    about : object
        What the arrays belong to, as JSON.
    arrays : mapping of str to numpy.ndarray
    """
    temporary = Path(path).with_name(f".{Path(path).name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            said: dict = {"about": np.array(json.dumps(about, sort_keys=True)), **arrays}
            np.savez(file, **said)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Where, about: object) -> dict[str, np.ndarray] | None:
    """Return the arrays of a checkpoint, or None where there is none, or a damaged one.

    Raises
    ------
    ValueError
        When it belongs to something else, or is another kind of file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/run", {"seed": 0}, {"step": np.array(3)})
    ...     load(f"{folder}/run", {"seed": 0})
    ...     load(f"{folder}/run", {"seed": 1})
    Traceback (most recent call last):
    ValueError: the checkpoint .../run is of another run; name another file, or delete it
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        found = json.loads(str(arrays.pop("about")))
    except KeyError:
        raise ValueError(f"{path} is no checkpoint; name another file") from None
    except (FileNotFoundError, EOFError, TypeError, ValueError, zipfile.BadZipFile):
        if Path(path).is_file() and not _started(path):
            raise ValueError(f"{path} is no checkpoint; name another file") from None
        return None
    if found != json.loads(json.dumps(about)):
        raise ValueError(
            f"the checkpoint {path} is of another run; name another file, or delete it"
        )
    return arrays


def _started(path: Where) -> bool:
    """Say whether a file could be the start of a checkpoint: of an archive, or empty."""
    with open(path, "rb") as file:
        return file.read(2) in (b"", b"P", b"PK")
