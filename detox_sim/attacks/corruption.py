"""Silent data corruption: workers whose processor changes bits of what it computed.

Each copy is corrupted on its own, so two corrupt copies of a file differ, and a vote that compares
bits elects neither.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from detox_sim.arrays import kind, namespace, to_host
from detox_sim.catalogue import check_integer, check_known, check_number
from detox_sim.messages import Messages
from detox_sim.primitives import take
from detox_sim.streams import stream

BITS = {
    "mantissa": range(23),
    "exponent": range(23, 31),
    "sign": range(31, 32),
    "any": range(32),
}


def bit_flip(
    rows,
    forged: np.ndarray,
    /,
    *,
    rng: np.random.Generator,
    holders: np.ndarray | None = None,
    sizes: Sequence[int] | None = None,
    rate: float = 1.0,
    per: str = "worker",
    bits: str | int | Sequence[int] = "mantissa",
    flips: int = 2,
    values: int | float = 16,
    stride: int | None = 8,
    layer: int | None = None,
) -> Messages:
    """Flip bits of some values of the gradient that the worker should send.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
        The copies of workers that can be hit.
    rng : numpy.random.Generator
    holders : int (files, copies), optional
        The worker of each copy. It is supplied; by default each copy has a worker of its own.
    sizes : sequence of int, optional
        The parameters of each tensor of the model. Supplied; needed with `layer`.
    rate : float
        The chance of a hit in a step, 0 to 1. `theory.corruption_chance` gives that of a report.
    per : {"worker", "message"}
        A hit corrupts all messages of a worker in the step, or each message is hit on its own. In
        both cases each corrupt message has values and bits of its own.
    bits : {"mantissa", "exponent", "sign", "any"}, int, or sequence of int
        Bits of a float32, 0 to 31, that may flip.
    flips : int
        How many distinct ones of `bits` flip in each corrupt value; all, if `bits` are fewer.
    values : int or float
        How many values of the message are corrupt: a count, or as a float a share above 0 and at
        most 1 (so 1 is one value and 1.0 is all). At least one; at most as many as there are.
    stride : int, optional
        The distance from one corrupt value to the next; the first is drawn. None draws each.
    layer : int, optional
        Corrupt values of this tensor of the model only, such as 0 for the weights of the first
        layer, or -1 for the last tensor. Default any.

    Returns
    -------
    Messages
        Each corrupt copy is a row of its own.

    Raises
    ------
    ValueError
        For unknown or impossible options.

    Examples
    --------
    >>> rows, forged = np.ones((1, 3), np.float32), np.array([[True, False, False]])
    >>> rng = np.random.default_rng(0)
    >>> for bit in (0, 22, 23, 30, 31):
    ...     print(bit, bit_flip(rows, forged, rng=rng, bits=bit, values=1).rows[-1])
    0 [1.0000001 1.        1.       ]
    22 [1.5 1.  1. ]
    23 [0.5 1.  1. ]
    30 [ 1.  1. inf]
    31 [-1.  1.  1.]

    Notes
    -----
    Bits are those of a float32; they change a value x as follows:

    =======  ==========================================================================
    0 to 22  the mantissa: bit j changes x by 2^(j - 23) of its power of two
    23 - 29  the exponent: bit j multiplies x by 2^(2^(j - 23)), or divides it by that
    30       the exponent: x * 2^128 for abs(x) < 1, Inf for 1, NaN for 1 < abs(x) < 2,
             below 2^-126 for 2 <= abs(x) < 4, x / 2^128 from 4 on
    31       the sign; 0.0 becomes -0.0, the same number in other bits
    =======  ==========================================================================

    A value of another dtype is rounded to float32, corrupted, and converted back.

    References
    ----------
    A model of what reports say of GPUs, from abstracts only: most bit-flip events have more than
    one flipped bit, and their addresses are periodic (arXiv 2605.04213), and most corruptions are
    small (arXiv 2502.12340). Hence the defaults; ``bits="exponent"`` is the severe case.
    """
    candidates = _bits(bits)
    check_integer("flips", flips, 1)
    flips = min(flips, candidates.size)
    _check_rate(rate)
    if per not in ("worker", "message"):
        raise ValueError(f"per must be 'worker' or 'message', got {per!r}")
    first, end = _region(rows.shape[1], sizes, layer)
    hit = forged & _hit(_workers(forged, holders), rate, per, rng)
    count = int(hit.sum())
    places = [first + _places(end - first, values, stride, rng) for _ in range(count)]
    masks = [_masks(candidates, flips, place.size, rng) for place in places]
    return _corrupted(rows, hit, places, keep=[~np.uint32(0)] * count, flip=masks)


def stuck(
    rows,
    forged: np.ndarray,
    /,
    *,
    rng: np.random.Generator,
    holders: np.ndarray | None = None,
    sizes: Sequence[int] | None = None,
    bits: str | int | Sequence[int] = "mantissa",
    level: int = 1,
    values: int | float = 16,
    stride: int | None = 8,
    layer: int | None = None,
    seed: int = 0,
) -> Messages:
    """Force a bit of some values to 0 or 1, for a worker always the same bit of the same values.

    Where the bit has that level already the value is right, so a message can be right too.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
        The copies of defective workers.
    rng : numpy.random.Generator
        Not used: the defect is drawn once for each worker, from `seed` and its number.
    holders, sizes
        As for `bit_flip`.
    bits : {"mantissa", "exponent", "sign", "any"}, int, or sequence of int
        The bits of a float32 of which a worker has one that is stuck.
    level : {0, 1}
    values, stride, layer
        As for `bit_flip`.
    seed : int
        Another seed, other defects.

    Returns
    -------
    Messages
        Each forged copy is a row of its own.

    Raises
    ------
    ValueError
        For unknown or impossible options.

    Examples
    --------
    >>> rows, forged = np.array([[1.0, 3.0, -8.0]], np.float32), np.array([[False, True, False]])
    >>> stuck(rows, forged, rng=None, bits=31, values=1.0, stride=1).rows[-1]
    array([-1., -3., -8.], dtype=float32)

    References
    ----------
    Stuck-at faults of a GPU are reported in arXiv 2605.04213 (from its abstract).
    """
    candidates = _bits(bits)
    if isinstance(level, bool) or level not in (0, 1):
        raise ValueError(f"level must be 0 or 1, got {level!r}")
    check_integer("seed", seed, 0)
    first, end = _region(rows.shape[1], sizes, layer)
    workers = _workers(forged, holders)[forged].tolist()
    places, masks = {}, {}
    for worker in set(workers):
        drawn = stream(seed, "stuck", index=worker)
        places[worker] = first + _places(end - first, values, stride, drawn)
        masks[worker] = np.uint32(1) << drawn.choice(candidates)
    return _corrupted(
        rows,
        forged,
        [places[worker] for worker in workers],
        keep=[~masks[worker] for worker in workers],
        flip=[masks[worker] * np.uint32(level) for worker in workers],
    )


def _bits(bits: str | int | Sequence[int]) -> np.ndarray:
    """Return the distinct bits (n,) of a float32 that an option names.

    Examples
    --------
    >>> _bits("exponent").tolist(), _bits(31).tolist()
    ([23, 24, 25, 26, 27, 28, 29, 30], [31])
    """
    chosen: list[Any] = list(bits) if isinstance(bits, list | tuple | range) else [bits]
    if isinstance(bits, str):
        check_known("bits", [bits], BITS)
        chosen = list(BITS[bits])
    for bit in chosen:
        check_integer("a bit", bit, 0)
        if bit > 31:
            raise ValueError(f"a bit must be one of a float32, 0 to 31, got {bit}")
    if not chosen:
        raise ValueError(f"bits must be one or more of 0 to 31, or one of {', '.join(BITS)}")
    return np.unique(np.array(chosen, dtype=np.uint32))


def _check_rate(rate: float) -> None:
    check_number("rate", rate)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be a chance a step, 0 to 1, got {rate!r}")


def _region(d: int, sizes: Sequence[int] | None, layer: int | None) -> tuple[int, int]:
    """Return the first coordinate of a layer and the one after its last; of all without a layer.

    Where there is one layer, any is that one: a Trial tries its parts on one coordinate.
    """
    if layer is None:
        return 0, d
    if sizes is None:
        raise ValueError(
            "layer needs sizes, the number of parameters of each; training supplies them"
        )
    if isinstance(layer, bool) or not isinstance(layer, int | np.integer):
        raise ValueError(f"layer must be an integer or None, got {layer!r}")
    if len(sizes) == 1:
        layer = 0
    if not -len(sizes) <= layer < len(sizes):
        raise ValueError(
            f"layer must be {-len(sizes)} to {len(sizes) - 1}, one of the {len(sizes)} tensors of "
            f"the model, got {layer}"
        )
    ends = np.cumsum(sizes)
    return int(ends[layer] - sizes[layer]), int(ends[layer])


def _workers(forged: np.ndarray, holders: np.ndarray | None) -> np.ndarray:
    """Return the worker (files, copies) of each copy."""
    if holders is None:
        return np.arange(forged.size).reshape(forged.shape)
    if holders.shape != forged.shape:
        raise ValueError(
            f"holders must have the shape of forged, {forged.shape}, got {holders.shape}"
        )
    return holders


def _hit(workers: np.ndarray, rate: float, per: str, rng: np.random.Generator) -> np.ndarray:
    """Draw which copies (files, copies) are hit in this step."""
    if per == "worker":
        return (rng.random(int(workers.max()) + 1) < rate)[workers]
    return rng.random(workers.shape) < rate


def _places(span: int, values: int | float, stride: int | None, rng) -> np.ndarray:
    """Draw which of `span` values are corrupt.

    Examples
    --------
    >>> _places(10, 3, 4, np.random.default_rng(0))
    array([1, 5, 9])
    """
    if isinstance(values, float | np.floating):
        if not 0 < values <= 1:
            raise ValueError(f"values must be a count, or a share above 0 up to 1.0, got {values}")
        count = max(1, int(values * span))
    else:
        check_integer("values", values, 1)
        count = min(int(values), span)
    if stride is None:
        return rng.choice(span, count, replace=False)
    check_integer("stride", stride, 1)
    count = min(count, -(-span // stride))
    return rng.integers(span - (count - 1) * stride) + stride * np.arange(count)


def _masks(bits: np.ndarray, flips: int, count: int, rng) -> np.ndarray:
    """Draw words (count,) in which `flips` of the bits are set, each set of them as likely.

    Examples
    --------
    >>> sorted({int(mask) for mask in _masks(np.arange(3), 2, 100, np.random.default_rng(0))})
    [3, 5, 6]

    References
    ----------
    Floyd's sample without replacement (Bentley, Floyd, 1987).
    """
    powers = np.uint32(1) << bits.astype(np.uint32)
    masks = np.zeros(count, np.uint32)
    for last in range(bits.size - flips, bits.size):
        drawn = powers[rng.integers(last + 1, size=count)]
        masks |= np.where(masks & drawn, powers[last], drawn)
    return masks


def _corrupted(rows, hit: np.ndarray, places: list, *, keep: list, flip: list) -> Messages:
    """Return messages in which each hit copy is a corrupt row: the bits ``word & keep ^ flip``.

    Parameters
    ----------
    rows : array (files, d)
    hit : bool (files, copies)
    places, keep, flip : list
        For each hit copy the coordinates (n,), and uint32, one or (n,).
    """
    files = rows.shape[0]
    row_of = np.repeat(np.arange(files)[:, None], hit.shape[1], axis=1)
    row_of[hit] = files + np.arange(len(places))
    if not places:
        return Messages(rows, row_of)
    xp = namespace(rows)
    changed = take(rows, np.nonzero(hit)[0])
    here = kind(changed) in ("numpy", "cupy")  # else no view of its bits
    array, words = (changed, xp) if here else (np.array(to_host(changed)), np)
    with np.errstate(over="ignore", invalid="ignore"):
        for row, place, kept, flipped in zip(array, places, keep, flip, strict=True):
            place = words.asarray(place)
            value = row[place].astype(np.float32)
            bits = value.view(np.uint32)
            bits &= words.asarray(kept)
            bits ^= words.asarray(flipped)
            row[place] = value
    return Messages(rows, row_of, more=array if here else xp.asarray(array))
