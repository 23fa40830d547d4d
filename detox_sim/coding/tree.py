"""CodedReduce: gradient coding at every parent of a tree, so that nobody receives many messages."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.catalogue import check_integer
from detox_sim.coding.gradient import decode_weights, gradient_code
from detox_sim.primitives import combine


@dataclass(frozen=True, eq=False)
class Tree:
    """Which files the workers of a tree compute, and the code by which parents decode.

    The root is the server. Workers are numbered layer by layer, the children of a parent one after
    the other.

    Attributes
    ----------
    parent : numpy.ndarray of int (workers,)
        -1 is the server.
    files : int
        Files whose gradients are summed.
    weights : numpy.ndarray (workers, files)
        The combination of gradients that each worker computes itself; zeros for the others.
    load : int
        Files that each worker computes: the same for all.
    children, layers, stragglers : int
        Every parent, the server too, receives one message from each of its n children, and decodes
        without any s of them.
    code : numpy.ndarray (children, children)
        The gradient code of every parent.
    """

    parent: np.ndarray
    files: int
    weights: np.ndarray
    load: int
    children: int
    layers: int
    stragglers: int
    code: np.ndarray


def coded_reduce(children: int, layers: int, stragglers: int, *, kind: str = "cyclic") -> Tree:
    """Return a tree in which every parent decodes without any s of its children.

    Parameters
    ----------
    children, layers : int
        n children of the server and of every worker above the last layer: n + ... + n^L workers.
    stragglers : int
        s < n.
    kind : {"cyclic", "repetition"}
        Of the gradient code, which is drawn once and for all.

    Returns
    -------
    Tree
        With the least number of files that splits evenly.

    Raises
    ------
    ValueError
        For impossible (n, s) or L.

    Examples
    --------
    >>> tree = coded_reduce(3, 2, 1)
    >>> len(tree.parent), tree.files, tree.load
    (12, 15, 4)

    Notes
    -----
    A sub-tree sums a list of weighted files. Its root computes `load` of them and splits the others
    into n parts, of which the gradient code assigns s + 1 to each child, with its coefficients as
    further weights. Each worker computes the fraction 1 / sum_{l=1..L} (n / (s + 1))^l of all
    files.

    References
    ----------
    Reisizadeh, Prakash, Pedarsani, Avestimehr, CodedReduce, arXiv 1902.01981.
    """
    check_integer("children", children, 1)
    check_integer("layers", layers, 1)
    code = gradient_code(children, stragglers, kind=kind)
    growth = Fraction(children, stragglers + 1)
    sizes = [Fraction(1)]  # of sub-trees in loads, from the leaves up
    for _ in range(1, layers):
        sizes.append(1 + growth * sizes[-1])
    load = math.lcm(*((size / (stragglers + 1)).denominator for size in sizes))
    files = int(load * sizes[-1] * growth)
    weights = []
    tasks = _delegate(code, np.arange(files), np.ones(files))
    for layer in range(1, layers + 1):
        weights += [_spread(ids[:load], factors[:load], files) for ids, factors in tasks]
        if layer < layers:
            rests = [(ids[load:], factors[load:]) for ids, factors in tasks]
            tasks = [task for rest in rests for task in _delegate(code, *rest)]
    parent = np.arange(len(weights)) // children - 1
    return Tree(parent, files, np.array(weights), load, children, layers, stragglers, code)


def _delegate(
    code: np.ndarray, ids: np.ndarray, factors: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the files that the sub-tree of each child sums, and their weights."""
    parts = np.split(np.arange(len(ids)), len(code))
    tasks = []
    for row in code:
        chosen = np.flatnonzero(row)
        positions = np.concatenate([parts[j] for j in chosen])
        tasks.append((ids[positions], factors[positions] * np.repeat(row[chosen], len(parts[0]))))
    return tasks


def _spread(ids: np.ndarray, factors: np.ndarray, files: int) -> np.ndarray:
    """Return the factors as a row (files,) with zeros for other files."""
    row = np.zeros(files)
    row[ids] = factors
    return row


def reduce(tree: Tree, gradients, late: np.ndarray):
    """Return the sum of the gradients, from the leaves up to the server, without late workers.

    Parameters
    ----------
    tree : Tree
    gradients : array (files, d)
    late : numpy.ndarray of bool (workers,)
        Without a late worker its whole sub-tree is missing.

    Returns
    -------
    array (d,)
        The sum over all files, up to rounding: messages have the dtype of `gradients`.

    Raises
    ------
    ValueError
        When too many children of some parent are late.

    Examples
    --------
    >>> tree, late = coded_reduce(3, 2, 1), np.zeros(12, dtype=bool)
    >>> late[[0, 4, 7, 9]] = True
    >>> reduce(tree, np.ones((15, 1)), late).round(9)
    array([15.])
    """
    late = np.asarray(late, dtype=bool)
    if late.shape != tree.parent.shape or gradients.shape[0] != tree.files:
        raise ValueError(
            f"reduce needs {tree.files} gradients and late of shape {tree.parent.shape}, "
            f"got {gradients.shape[0]} and {late.shape}"
        )
    missing = late.copy()
    for worker, parent in enumerate(tree.parent):
        missing[worker] |= parent >= 0 and missing[parent]
    sizes = tree.children ** np.arange(1, tree.layers)
    below, messages = np.arange(0), gradients[:0, :]
    for layer in reversed(np.split(np.arange(len(missing)), np.cumsum(sizes))):
        own = np.where(missing[layer, None], 0.0, tree.weights[layer])
        weights = np.concatenate([own, _decoding(tree, layer, below, missing)], axis=1)
        messages = combine(weights, namespace(gradients).concat([gradients, messages]))
        below = layer
    return combine(_decoding(tree, np.array([-1]), below, missing), messages)[0, :]


def _decoding(
    tree: Tree, parents: np.ndarray, below: np.ndarray, missing: np.ndarray
) -> np.ndarray:
    """Return the weights (parents, below) by which parents decode; zeros for missing parents."""
    decoding = np.zeros((len(parents), len(below)))
    for row, parent in zip(decoding, parents, strict=True):
        own = tree.parent[below] == parent
        if own.any() and (parent < 0 or not missing[parent]):
            try:
                row[own] = decode_weights(tree.code, missing[below[own]])
            except ValueError as error:
                name = f"worker {parent}" if parent >= 0 else "the server"
                raise ValueError(f"children of {name}: {error}") from error
    return decoding
