"""Rules of other libraries, where they are installed, called as their users would call them.

Each entry says which of our rules and options mean the same. The extra `peers` installs them;
nothing else needs it.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

KINDS = ("NumPy", "ByzFL (NumPy)", "ByzFL (torch)", "Flower")


class Peer(NamedTuple):
    """One rule of another library.

    Attributes
    ----------
    kernel : str
        Our name for it.
    kind : str
        One of `KINDS`.
    call : callable
        (rows (n, d), byzantine) -> array.
    passes : float
        Roughly, how often a call reads n rows of d values; too slow ones are not run.
    """

    kernel: str
    kind: str
    call: Callable[[np.ndarray, int], Any]
    passes: Callable[[int, int], float]


def same_definition(kernel: str, n: int, byzantine: int) -> dict:
    """Return the options of our rule under which peers compute the same.

    Examples
    --------
    >>> same_definition("multi_krum", 15, 3)
    {'keep': 12, 'neighbours': 11}
    """
    options: dict[str, dict] = {
        "krum": {"neighbours": n - byzantine - 1},
        "multi_krum": {"keep": n - byzantine, "neighbours": n - byzantine - 1},
        "geometric_median": {"start": "zero", "max_iterations": 3, "smoothing": 0.1},
        "centered_clipping": {"radius": 100.0},
    }
    return options.get(kernel, {})


def installed() -> dict[str, list[Peer]]:
    """Return the peers that can be imported, by our name of the rule."""
    found: dict[str, list[Peer]] = {}
    for peer in (*_numpy(), *_byzfl(), *_flower()):
        found.setdefault(peer.kernel, []).append(peer)
    return found


def _few(n: int, byzantine: int) -> float:
    return 30


def _pairs(n: int, byzantine: int) -> float:
    return n


def _numpy() -> Iterator[Peer]:
    """What one writes without any library."""

    def trimmed(rows, f):
        return np.sort(rows, axis=0)[f : len(rows) - f].mean(axis=0)

    def vote(rows, f):
        """One pass over the three copies of each file, as the DETOX code votes."""
        winners = np.empty((len(rows) // 3, rows.shape[1]), rows.dtype)
        for place in range(len(winners)):
            candidate, count = rows[3 * place], 1
            for copy in rows[3 * place + 1 : 3 * place + 3]:
                if count == 0:
                    candidate, count = copy, 1
                else:
                    count += 1 if np.array_equal(candidate, copy) else -1
            winners[place] = candidate
        return winners

    yield Peer("mean", "NumPy", lambda rows, f: rows.mean(axis=0), _few)
    yield Peer("median", "NumPy", lambda rows, f: np.median(rows, axis=0), _few)
    yield Peer("trimmed_mean", "NumPy", trimmed, _few)
    yield Peer("sign_majority", "NumPy", lambda rows, f: np.sign(np.sign(rows).sum(axis=0)), _few)
    yield Peer("vote", "NumPy", vote, _few)


def _byzfl() -> Iterator[Peer]:
    try:
        from byzfl.aggregators import aggregators as theirs
        from byzfl.aggregators import preaggregators
    except ImportError:
        return
    import torch

    rules = {
        "mean": (lambda f: theirs.Average(), _few),
        "median": (lambda f: theirs.Median(), _few),
        "trimmed_mean": (theirs.TrMean, _few),
        "geometric_median": (lambda f: theirs.GeometricMedian(nu=0.1, T=3), _few),
        "krum": (theirs.Krum, _pairs),
        "multi_krum": (theirs.MultiKrum, _pairs),
        "centered_clipping": (lambda f: theirs.CenteredClipping(tau=100.0), _few),
        "monna": (theirs.MoNNA, _few),
        "meamed": (theirs.Meamed, _few),
        "caf": (theirs.CAF, _few),
        "nnm": (preaggregators.NNM, lambda n, f: 90 * n),  # n - f copies of the rows in memory
    }

    def in_numpy(make, rows, f):
        return make(f)(rows)

    def in_torch(make, rows, f):
        return make(f)(torch.from_numpy(rows)).numpy()

    for kernel, (make, passes) in rules.items():
        yield Peer(kernel, "ByzFL (NumPy)", functools.partial(in_numpy, make), passes)
        yield Peer(kernel, "ByzFL (torch)", functools.partial(in_torch, make), passes)


def _flower() -> Iterator[Peer]:
    try:
        from flwr.server.strategy import aggregate as theirs
    except ImportError:
        return

    def results(rows):
        return [([row], 1) for row in rows]

    def trimmed(rows, f):
        return theirs.aggregate_trimmed_avg(results(rows), f / len(rows) + 1e-9)[0]

    def bulyan(rows, f):
        return theirs.aggregate_bulyan(results(rows), f, theirs.aggregate_krum, to_keep=0)[0]

    yield Peer("median", "Flower", lambda r, f: theirs.aggregate_median(results(r))[0], _few)
    yield Peer("trimmed_mean", "Flower", trimmed, _few)
    yield Peer("bulyan", "Flower", bulyan, lambda n, f: float(n) ** 2)
