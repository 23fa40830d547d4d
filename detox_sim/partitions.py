"""Which images each shard has: ``partition(labels, shards, /, *, rng, **options)``.

`labels` (images,) are the classes of the training images. A partition returns a list of int
arrays, the images of each shard: each image is in exactly one shard, and no shard is empty. The
images of a shard come in random order, so any cut of a shard is a random part of it. Randomness
comes only from `rng`.

==========  =====================================================================
similarity  a share of the images dealt at random, the rest sorted by label
dirichlet   the share of each label drawn; small alpha is skewed: alpha -> 0 is
            one label a shard
labels      exactly so many labels a shard
==========  =====================================================================

`joined` makes shards into slots.
"""

from collections.abc import Sequence
from math import lcm

import numpy as np

from detox_sim.catalogue import check_integer, check_number

__all__ = ["similarity", "dirichlet", "labels"]


def similarity(
    image_labels: np.ndarray,
    shards: int,
    /,
    *,
    rng: np.random.Generator,
    similarity: float = 1.0,
) -> list[np.ndarray]:
    """Deal a share of the images at random, and the rest sorted by label.

    Parameters
    ----------
    image_labels : int (images,)
    shards : int
    rng : numpy.random.Generator
    similarity : float
        0 to 1. The first ``int(similarity * images)`` images of a random order are dealt at random.
        The others are sorted by label and cut into runs, one a shard. 1 makes the shards alike
        (iid). 0 makes them as unlike as they can be: with at least as many shards as classes, and
        classes of equal size, a shard has at most two labels.

    Returns
    -------
    list of numpy.ndarray of int
        Their sizes differ by at most one.

    Raises
    ------
    ValueError
        For a similarity outside 0..1, or more shards than images.

    Examples
    --------
    >>> labels, rng = np.arange(12) % 3, np.random.default_rng(0)
    >>> [labels[shard].tolist() for shard in similarity(labels, 3, rng=rng, similarity=0.0)]
    [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]]

    References
    ----------
    The partition "gamma_similarity_niid" of ByzFL, with its "iid" at 1 and its "extreme_niid" at 0.
    ByzFL deals the first images of the data set at random, not of a random order; and where the
    numbers do not divide, its sizes differ by up to two.
    """
    image_labels = _checked(image_labels, shards)
    check_number("similarity", similarity)
    if not 0 <= similarity <= 1:
        raise ValueError(
            f"similarity must be 0 (sorted by label) to 1 (random), got {similarity!r}"
        )
    order = rng.permutation(image_labels.size)
    count = int(similarity * image_labels.size)
    rest = order[count:][np.argsort(image_labels[order[count:]], kind="stable")]
    dealt = np.array_split(order[:count], shards)
    runs = _sizes(image_labels.size, shards) - [part.size for part in dealt]
    pairs = zip(dealt, np.split(rest, np.cumsum(runs)[:-1]), strict=True)
    return [rng.permutation(np.concatenate(pair)) for pair in pairs]


def dirichlet(
    image_labels: np.ndarray,
    shards: int,
    /,
    *,
    rng: np.random.Generator,
    alpha: float,
    by: str = "slot",
) -> list[np.ndarray]:
    """Draw how much each shard has of each label from a Dirichlet distribution.

    Parameters
    ----------
    image_labels : int (images,)
    shards : int
    rng : numpy.random.Generator
    alpha : float
        Above 0. Small alpha is skewed: alpha -> 0 is one label a shard, or by class one shard a
        label. With a large alpha the shards are alike.
    by : {"slot", "class"}
        "slot": each shard draws its shares of the labels from Dir(alpha * classes * prior), where
        the prior is the share of each label among all images: Dir(alpha, ..., alpha) where labels
        are equally frequent. Shards have equal sizes. They are filled together, image by image in
        random order; once a label is exhausted, shards take its share of other labels, in
        proportion. So the last images of a shard may be of labels that it drew no share of.
        "class": each label draws its shares of the shards from Dir(alpha, ..., alpha), and its
        images are cut at ``floor(cumulative share * images of the label)``. Sizes differ, with a
        relative deviation of about sqrt((shards - 1) / ((shards * alpha + 1) * classes)).

    Returns
    -------
    list of numpy.ndarray of int
        By slot their sizes differ by at most one.

    Raises
    ------
    ValueError
        For alpha <= 0, more shards than images, or, by class, an empty shard.

    Examples
    --------
    >>> labels, rng = np.arange(3000) % 3, np.random.default_rng(0)
    >>> for alpha in (0.1, 100.0):
    ...     shards = dirichlet(labels, 10, rng=rng, alpha=alpha)
    ...     print([np.bincount(labels[shard], minlength=3).tolist() for shard in shards[:3]])
    [[24, 0, 276], [25, 14, 261], [231, 54, 15]]
    [[94, 93, 113], [104, 98, 98], [100, 106, 94]]

    Notes
    -----
    The mean total variation between the labels of a shard and those of all images, with 15 shards,
    10 equally frequent labels and 15,000 images (200 draws, standard error below 0.002):

    ========  =====  =====  =====  =====
    alpha     0.1    0.5    1      10
    ========  =====  =====  =====  =====
    by class  0.694  0.444  0.338  0.114
    by slot   0.603  0.416  0.325  0.118
    ========  =====  =====  =====  =====

    One label a shard would be 0.9. By slot it would be 0.710, 0.459, 0.348 and 0.119 if labels were
    never exhausted.

    References
    ----------
    By slot: Hsu, Qi, Brown, Measuring the effects of non-identical data distribution, 2019 (from
    memory), whose alpha is `classes` times this one; and the InnerDirichletPartitioner of Flower,
    the same for equally frequent labels. By class: "dirichlet_niid" of ByzFL and the
    DirichletPartitioner of Flower, which draws again where a shard is too small.
    """
    image_labels = _checked(image_labels, shards)
    check_number("alpha", alpha)
    if not 0 < alpha < np.inf:
        raise ValueError(
            f"alpha must be above 0 and finite, got {alpha!r}; a small alpha is skewed, such as "
            "0.1, and partition 'similarity' deals at random"
        )
    if by not in ("slot", "class"):
        raise ValueError(f"dirichlet needs by='slot' or by='class', got {by!r}")
    _, class_of, counts = np.unique(image_labels, return_inverse=True, return_counts=True)
    deal = _by_slot if by == "slot" else _by_class
    dealt = deal(class_of, counts, shards, float(alpha), rng)
    return [rng.permutation(shard) for shard in dealt]


def _by_class(class_of, counts, shards: int, alpha: float, rng) -> list[np.ndarray]:
    """Cut the images of each class at the cumulative shares that it draws."""
    shares = rng.dirichlet(np.full(shards, alpha), size=counts.size)
    cuts = (np.cumsum(shares, axis=1)[:, :-1] * counts[:, None]).astype(int)
    pools = [rng.permutation(np.flatnonzero(class_of == c)) for c in range(counts.size)]
    pieces = [np.split(pool, cut) for pool, cut in zip(pools, cuts, strict=True)]
    dealt = [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
    empty = sum(not shard.size for shard in dealt)
    if empty:
        raise ValueError(
            f"dirichlet by class leaves {empty} of {shards} shards empty with alpha={alpha:g}; use "
            "a larger alpha, fewer shards, or by='slot', whose shards have equal sizes"
        )
    return dealt


def _by_slot(class_of, counts, shards: int, alpha: float, rng) -> list[np.ndarray]:
    """Fill the places of all shards in random order, each with a class drawn by its shard's law."""
    weights = alpha * counts.size * counts / class_of.size
    laws = rng.dirichlet(weights, size=shards)
    shard_of = rng.permutation(np.repeat(np.arange(shards), _sizes(class_of.size, shards)))
    classes, left, open_ = np.empty_like(shard_of), counts.copy(), np.ones(counts.size, dtype=bool)
    first = 0
    while first < shard_of.size:
        drawn = _draw(laws, shard_of[first:], rng)
        beyond = _earlier_equal(drawn) >= left[drawn]
        accepted = int(beyond.argmax()) if beyond.any() else drawn.size
        classes[first : first + accepted] = drawn[:accepted]
        left -= np.bincount(drawn[:accepted], minlength=counts.size)
        first += accepted
        if accepted < drawn.size:
            open_[drawn[accepted]] = False
            laws[:, ~open_] = 0.0
            # The shares of a part of the classes have a Dirichlet law of their own, whatever their
            # sum, so shares that are too small for a float are drawn again.
            lost = laws.sum(axis=1) == 0
            laws[np.ix_(lost, open_)] = rng.dirichlet(weights[open_], size=int(lost.sum()))
    image_of = np.empty_like(shard_of)
    for c in range(counts.size):
        image_of[classes == c] = rng.permutation(np.flatnonzero(class_of == c))
    return [image_of[shard_of == shard] for shard in range(shards)]


def _draw(laws: np.ndarray, shard_of: np.ndarray, rng) -> np.ndarray:
    """Return a class (places,) for each place, by the law (shards, classes) of its shard."""
    cumulative = np.cumsum(laws, axis=1)
    cumulative /= cumulative[:, -1:]
    uniform, drawn = rng.random(shard_of.size), np.empty_like(shard_of)
    for shard, steps in enumerate(cumulative):
        mine = shard_of == shard
        drawn[mine] = np.searchsorted(steps, uniform[mine], side="right")
    return drawn


def _earlier_equal(values: np.ndarray) -> np.ndarray:
    """Return how many earlier values equal each one.

    Examples
    --------
    >>> _earlier_equal(np.array([4, 7, 4, 4])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(values, kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(values.size) - np.searchsorted(values[order], values[order])
    return ranks


def labels(
    image_labels: np.ndarray,
    shards: int,
    /,
    *,
    rng: np.random.Generator,
    labels: int = 1,
) -> list[np.ndarray]:
    """Give each shard images of exactly so many labels.

    Each shard takes the labels that fewest shards before it took, ties at random. The images of a
    label are dealt evenly to the shards that took it.

    Parameters
    ----------
    image_labels : int (images,)
    shards : int
    rng : numpy.random.Generator
    labels : int
        1 to the number of classes, and large enough that some shard has each class:
        shards * labels >= classes.

    Returns
    -------
    list of numpy.ndarray of int
        Sizes differ unless shards * labels is a multiple of the number of classes, and the classes
        are of equal size.

    Raises
    ------
    ValueError
        For impossible `labels`, a label with fewer images than shards that need one, or more shards
        than images.

    Examples
    --------
    >>> classes, rng = np.arange(40) % 4, np.random.default_rng(0)
    >>> [np.unique(classes[shard]).size for shard in labels(classes, 5, rng=rng, labels=2)]
    [2, 2, 2, 2, 2]

    References
    ----------
    McMahan et al., Communication-efficient learning of deep networks from decentralized data,
    AISTATS 2017, give each shard two runs of the images sorted by label: two labels or fewer.
    Exactly so many, as here, is the PathologicalPartitioner of Flower, whose labels are drawn or in
    order; here the numbers of shards that take each label differ by at most one.
    """
    image_labels = _checked(image_labels, shards)
    names, class_of, counts = np.unique(image_labels, return_inverse=True, return_counts=True)
    _check_labels(labels, shards, counts.size)
    takers, taken = np.zeros(counts.size, dtype=int), np.zeros((shards, counts.size), dtype=bool)
    for shard in taken:
        shard[np.lexsort((rng.random(counts.size), takers))[:labels]] = True
        takers += shard
    if (counts < takers).any():
        c = int((counts < takers).argmax())
        raise ValueError(
            f"label {names[c]} has {counts[c]} images for the {takers[c]} of {shards} shards that "
            f"take it with labels={labels}; use fewer shards, or fewer labels a shard"
        )
    dealt: list[list[np.ndarray]] = [[] for _ in range(shards)]
    for c in range(counts.size):
        pieces = np.array_split(rng.permutation(np.flatnonzero(class_of == c)), takers[c])
        for taker, piece in zip(np.flatnonzero(taken[:, c]), pieces, strict=True):
            dealt[taker].append(piece)
    return [rng.permutation(np.concatenate(pieces)) for pieces in dealt]


def _check_labels(labels: int, shards: int, classes: int) -> None:
    """Raise unless each shard can have so many labels, and each class a shard."""
    check_integer("labels", labels, 1)
    if labels > classes:
        raise ValueError(f"labels must be at most the {classes} classes, got {labels}")
    if shards * labels < classes:
        raise ValueError(
            f"{shards} shards of labels={labels} have no room for {classes} classes; use "
            f"labels >= {-(-classes // shards)}, or {-(-classes // labels)} shards or more"
        )


def joined(shards: Sequence[np.ndarray], slots: int) -> list[np.ndarray]:
    """Make shards into slots, each a union of pieces of shards in order.

    With L the least common multiple of both numbers, each shard is cut evenly into L / shards
    pieces, and each slot takes the next L / slots of them. So with as many slots as shards each
    slot is a shard, and with r times fewer slots, slot j is the union of shards r j to r j + r - 1.

    Parameters
    ----------
    shards : sequence of numpy.ndarray of int
        The images of each shard.
    slots : int

    Returns
    -------
    list of numpy.ndarray of int

    Raises
    ------
    ValueError
        When a slot would be empty.

    Examples
    --------
    >>> shards = [np.array([5, 3, 1]), np.array([0, 2, 4])]
    >>> [slot.tolist() for slot in joined(shards, 1)], [slot.tolist() for slot in joined(shards, 3)]
    ([[5, 3, 1, 0, 2, 4]], [[5, 3], [1, 0], [2, 4]])
    """
    check_integer("slots", slots, 1)
    pieces = lcm(len(shards), slots)
    cut = [part for shard in shards for part in np.array_split(shard, pieces // len(shards))]
    each = pieces // slots
    made = [np.concatenate(cut[i : i + each]) for i in range(0, pieces, each)]
    empty = sum(not slot.size for slot in made)
    if empty:
        raise ValueError(
            f"{empty} of {slots} slots are empty when {len(shards)} shards with as few as "
            f"{min(map(len, shards))} images are cut into {pieces // len(shards)} pieces each; use "
            f"more images, or slots={len(shards)}"
        )
    return made


def _checked(image_labels: np.ndarray, shards: int) -> np.ndarray:
    """Return the labels as an array if they are that of images enough for so many shards."""
    image_labels = np.asarray(image_labels)
    if image_labels.ndim != 1 or not np.issubdtype(image_labels.dtype, np.integer):
        raise ValueError(
            "labels must be integers of shape (images,), got "
            f"{image_labels.dtype} of shape {image_labels.shape}"
        )
    check_integer("shards", shards, 1)
    if shards > image_labels.size:
        raise ValueError(
            f"{shards} shards need as many images, got {image_labels.size}; use at most "
            f"{image_labels.size} shards"
        )
    return image_labels


def _sizes(images: int, shards: int) -> np.ndarray:
    """Return sizes (shards,) that differ by at most one, the larger ones first.

    Examples
    --------
    >>> _sizes(8, 3).tolist()
    [3, 3, 2]
    """
    return (images + np.arange(shards)[::-1]) // shards
