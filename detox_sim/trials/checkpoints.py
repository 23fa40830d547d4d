"""Checkpoints: named arrays in one file that is whole or not there, and says what it is of."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from detox_sim.files import temporary_name, write_whole

Where = str | os.PathLike[str]

MARK = b"checkpoint of detox_sim\n"  # then the digest of what follows: arrays, as numpy saves them
DIGEST = hashlib.sha256().digest_size


def check(path: Where) -> None:
    """Raise unless a checkpoint can be written at a path.

    Raises
    ------
    ValueError
        When its folder is missing or cannot be written into, or something other than a file has
        its name.

    Examples
    --------
    >>> check("/nowhere/run")
    Traceback (most recent call last):
    ValueError: no folder /nowhere for the checkpoint run; make it first
    """
    file = Path(path)
    if not file.parent.is_dir():
        raise ValueError(f"no folder {file.parent} for the checkpoint {file.name}; make it first")
    if not file.name or (file.exists() and not file.is_file()):
        raise ValueError(f"the checkpoint {str(path)!r} must be a file; name another")
    try:
        temporary_name(file).touch()
        temporary_name(file).unlink()
    except OSError as error:
        raise ValueError(
            f"the checkpoint {str(path)!r} cannot be written: {error.strerror}; name another"
        ) from error


def save(path: Where, about: object, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays so that the file appears whole or not at all, even if the process is killed.

    Parameters
    ----------
    path : path
    about : object
        What the arrays belong to, as JSON.
    arrays : mapping of str to numpy.ndarray
    """
    content: dict = {"about": np.array(json.dumps(about, sort_keys=True)), **arrays}
    body = io.BytesIO()
    np.savez(body, **content)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(MARK + hashlib.sha256(body.getbuffer()).digest())
            file.write(body.getbuffer())
            file.flush()
            os.fsync(file.fileno())

    write_whole(Path(path), write)


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
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        return None
    if raw[: len(MARK)] != MARK[: len(raw)]:
        raise ValueError(f"{path} is no checkpoint; name another file")
    digest, body = raw[len(MARK) :][:DIGEST], raw[len(MARK) + DIGEST :]
    if hashlib.sha256(body).digest() != digest:
        return None
    with np.load(io.BytesIO(body), allow_pickle=False) as stored:
        arrays = dict(stored)
    found = json.loads(str(arrays.pop("about")))
    if found != json.loads(json.dumps(about)):
        raise ValueError(
            f"the checkpoint {path} is of another run; name another file, or delete it"
        )
    return arrays
