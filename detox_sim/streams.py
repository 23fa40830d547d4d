"""Random streams, each keyed by its purpose, so that no result depends on scheduling."""

import zlib

import numpy as np


def stream(seed: int, purpose: str, step: int = 0, index: int = 0) -> np.random.Generator:
    """Return the generator that belongs to (seed, purpose, step, index).

    Parameters
    ----------
    seed : int
        The seed of the run, 0 or more.
    purpose : str
        What the numbers are for ("batch", "attack", ...); another purpose, another stream.
    step, index : int
        Position inside the run.

    Examples
    --------
    >>> a, b = stream(0, "batch", 3), stream(0, "batch", 3)
    >>> bool(a.integers(100) == b.integers(100))
    True
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), step, index])
