"""What a run needs to go on where it was: named arrays in one file that is whole or not there."""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

Where = str | os.PathLike[str]


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
        When it belongs to something else.

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
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    if found != json.loads(json.dumps(about)):
        raise ValueError(
            f"the checkpoint {path} is of another run; name another file, or delete it"
        )
    return arrays
