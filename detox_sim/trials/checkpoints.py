"""What a run needs to go on where it was: named arrays in one file that is whole or not there."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

Where = str | os.PathLike[str]

MARK = b"checkpoint of detox_sim\n"  # then the digest of what follows: arrays, as numpy saves them
DIGEST = hashlib.sha256().digest_size


def check(path: Where) -> None:
    """Raise unless a checkpoint can lie there.

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
    place = Path(path)
    if not place.parent.is_dir():
        raise ValueError(f"no folder {place.parent} for the checkpoint {place.name}; make it first")
    if not place.name or (place.exists() and not place.is_file()):
        raise ValueError(f"the checkpoint {str(path)!r} must be a file; name another")
    try:
        with _temporary(place).open("wb"):
            pass
        _temporary(place).unlink()
    except OSError as error:
        raise ValueError(
            f"the checkpoint {str(path)!r} cannot be written: {error.strerror}; name another"
        ) from error


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
    said: dict = {"about": np.array(json.dumps(about, sort_keys=True)), **arrays}
    body = io.BytesIO()
    np.savez(body, **said)
    temporary = _temporary(Path(path))
    try:
        with temporary.open("wb") as file:
            file.write(MARK + hashlib.sha256(body.getbuffer()).digest())
            file.write(body.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


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
