"""Every image is in one shard; the definitions, their statistics, and ByzFL's partitions."""

import inspect
import itertools

import numpy as np
import pytest
from refusals import assert_refused, check_refusals

from detox_sim import partitions
from detox_sim.partitions import joined

OPTIONS = {
    "similarity": [{}, {"similarity": 0.0}, {"similarity": 0.3}],
    "dirichlet": [
        *({"alpha": alpha} for alpha in (1e-300, 0.1, 10)),
        *({"alpha": alpha, "by": "class"} for alpha in (0.7, 50.0)),
    ],
    "labels": [{"labels": 2}, {"labels": 4}],
}
# The labels of the images; with every class in turn, in blocks, and of unequal frequencies.
LABELS = {
    "in turn": np.arange(600) % 4,
    "in blocks": np.repeat(np.arange(4), 150),
    "unequal": np.random.default_rng(0).choice(4, 601, p=[0.55, 0.25, 0.15, 0.05]),
}
EQUAL = np.arange(15_000) % 10  # for the published statistics: 15 shards, 10 classes
PARTITIONS = pytest.mark.parametrize("name", partitions.__all__)


def deal(name, labels, shards, seed=0, /, **options):
    rng = np.random.default_rng(seed)
    return getattr(partitions, name)(labels, shards, rng=rng, **options)


def cases(name):
    return itertools.product(OPTIONS[name], LABELS, (1, 3, 7))


def histograms(labels, shards, classes=None):
    """Return how many images of each class each shard has: (shards, classes)."""
    classes = classes or int(max(labels)) + 1
    return np.array([np.bincount(labels[shard], minlength=classes) for shard in shards])


def variation(labels, shards):
    """Return the mean total variation between the labels of a shard and those of all images."""
    counts = histograms(labels, shards)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return np.abs(shares - counts.sum(axis=0) / counts.sum()).sum(axis=1).mean() / 2


def assert_equal_means(ours, theirs, case=None):
    error = (np.var(ours, ddof=1) / len(ours) + np.var(theirs, ddof=1) / len(theirs)) ** 0.5
    assert abs(np.mean(ours) - np.mean(theirs)) <= 4.5 * error, (np.mean(ours), case)


# --- The contract ----------------------------------------------------------------------------


@PARTITIONS
def test_partition_puts_every_image_into_one_shard(name):
    for options, which, shards in cases(name):
        case, labels = (options, which, shards), LABELS[which].copy()
        labels.flags.writeable = False
        if name == "labels" and shards * options["labels"] < 4:
            continue
        dealt = deal(name, labels, shards, **options)
        assert len(dealt) == shards, case
        assert min(shard.size for shard in dealt) > 0, case
        assert np.sort(np.concatenate(dealt)).tolist() == list(range(labels.size)), case


@PARTITIONS
def test_partition_depends_on_its_stream_alone(name):
    for options in OPTIONS[name]:
        once, again, other = (
            np.concatenate(deal(name, LABELS["in turn"], 7, seed, **options)).tolist()
            for seed in (3, 3, 4)
        )
        assert once == again != other, options


@PARTITIONS
def test_names_of_labels_do_not_matter(name):
    labels = LABELS["unequal"]
    for options in OPTIONS[name]:
        renamed = np.array([-3, 5, 6, 900], dtype=np.int32)[labels]
        one, two = (deal(name, given, 7, **options) for given in (labels, renamed))
        assert [shard.tolist() for shard in one] == [shard.tolist() for shard in two], options


@PARTITIONS
def test_any_cut_of_a_shard_is_a_random_part_of_it(name):
    labels = np.arange(6000) % 4
    for options in OPTIONS[name]:
        for shard in deal(name, labels, 4, **options):
            half = shard.size // 2
            for label in range(4):
                share = (labels[shard] == label).mean()
                deviation = (share * (1 - share) / (4 * max(half, 1))) ** 0.5  # of a half's share
                found = (labels[shard[:half]] == label).mean() if half else share
                assert abs(found - share) <= 4.5 * deviation + 1 / max(half, 1), (options, label)


@PARTITIONS
def test_partition_signature_is_the_contract(name):
    labels, shards, rng, *options = inspect.signature(getattr(partitions, name)).parameters.values()
    assert labels.kind is shards.kind is labels.POSITIONAL_ONLY
    assert (rng.name, rng.default) == ("rng", rng.empty)
    assert {parameter.kind for parameter in (rng, *options)} == {rng.KEYWORD_ONLY}


@PARTITIONS
def test_impossible_sizes_are_refused(name):
    labels, options = LABELS["in turn"], OPTIONS[name][-1]
    function, rng = getattr(partitions, name), np.random.default_rng(0)
    for given, shards, message in [
        (labels, 0, "shards must be an integer of 1 or more, got 0"),
        (labels, 2.0, "shards must be an integer"),
        (labels[:3], 4, "4 shards need as many images, got 3; use at most 3 shards"),
        (labels * 1.0, 4, r"labels must be integers of shape \(images,\), got float64"),
        (labels[None], 4, r"of shape \(1, 600\)"),
        ("labels", 4, "labels must be integers"),
    ]:
        assert_refused(message, function, given, shards, rng=rng, **options)


# --- Similarity ------------------------------------------------------------------------------


def test_similarity_equals_its_definition_in_loops():
    for which, shards, share in itertools.product(LABELS, (1, 4, 7), (0.0, 0.29, 0.5, 1.0)):
        labels, case = LABELS[which], (which, shards, share)
        order = np.random.default_rng(5).permutation(labels.size).tolist()
        count = int(share * labels.size)
        dealt, rest = order[:count], sorted(order[count:], key=lambda image: labels[image])
        wanted = []
        for shard in range(shards):
            size = len(range(shard, labels.size, shards))
            random = len(range(shard, count, shards))
            wanted.append(sorted(dealt[:random] + rest[: size - random]))
            dealt, rest = dealt[random:], rest[size - random :]
        got = deal("similarity", labels, shards, 5, similarity=share)
        assert [sorted(shard.tolist()) for shard in got] == wanted, case


def test_similarity_one_is_iid_and_zero_sorts_by_label():
    counts = histograms(EQUAL, deal("similarity", EQUAL, 15))
    expected = 1000 / 10
    chi2 = ((counts - expected) ** 2 / expected).sum() / (1 - 1 / 15) / (1 - 1 / 10)
    freedom = counts.size
    assert abs(chi2 - freedom) <= 4.5 * (2 * freedom) ** 0.5
    for shards in (10, 15, 45):
        counts = histograms(EQUAL, deal("similarity", EQUAL, shards, similarity=0.0))
        assert ((counts > 0).sum(axis=1) <= 2).all(), shards
    assert variation(EQUAL, deal("similarity", EQUAL, 10, similarity=0.0)) == pytest.approx(0.9)


def test_more_similarity_is_less_variation():
    found = [
        variation(EQUAL, deal("similarity", EQUAL, 10, similarity=share))
        for share in (0.0, 0.25, 0.5, 0.75)
    ]
    assert found == pytest.approx([0.9, 0.675, 0.45, 0.225], abs=0.02)


# --- Dirichlet -------------------------------------------------------------------------------


def by_slot_in_loops(labels, shards, alpha, rng):
    """Deal image by image: an unexhausted label by the shard's law, renormalised."""
    images = {c: list(np.flatnonzero(labels == c)) for c in np.unique(labels)}
    classes = list(images)
    prior = np.array([len(images[c]) for c in classes]) / labels.size
    laws = [rng.dirichlet(alpha * len(classes) * prior) for _ in range(shards)]
    places = [shard for shard in range(shards) for _ in range(shard, labels.size, shards)]
    dealt = [[] for _ in range(shards)]
    for place in rng.permutation(places):
        law = laws[place] * [len(images[c]) > 0 for c in classes]
        c = classes[rng.choice(len(classes), p=law / law.sum())]
        dealt[place].append(images[c].pop())
    return [np.array(shard) for shard in dealt]


def test_dirichlet_by_slot_has_the_statistics_of_its_definition_in_loops():
    """Means over draws of the total variation, and of the pairs of images of one label."""
    for which, alpha, shards in (("in turn", 0.5, 7), ("unequal", 0.4, 6), ("unequal", 5.0, 6)):
        labels, case = LABELS[which], (which, alpha, shards)
        both = [
            (
                deal("dirichlet", labels, shards, seed, alpha=alpha),
                by_slot_in_loops(labels, shards, alpha, np.random.default_rng([1, seed])),
            )
            for seed in range(40)
        ]
        for statistic in (
            variation,
            lambda labels, dealt: (histograms(labels, dealt)[:, 0] ** 2).mean(),
            lambda labels, dealt: (histograms(labels, dealt)[:, 3] ** 2).mean(),
        ):
            ours, theirs = ([statistic(labels, pair[i]) for pair in both] for i in (0, 1))
            assert_equal_means(ours, theirs, case)


def test_dirichlet_by_slot_has_equal_sizes():
    for which, alpha, shards in itertools.product(LABELS, (1e-3, 0.3, 30.0), (4, 7)):
        sizes = [shard.size for shard in deal("dirichlet", LABELS[which], shards, alpha=alpha)]
        assert max(sizes) - min(sizes) <= 1, (which, alpha, shards)
        assert sizes == sorted(sizes, reverse=True), (which, alpha, shards)


def test_dirichlet_by_class_equals_its_definition_in_loops():
    for which, alpha, seed in itertools.product(LABELS, (0.8, 20.0), range(3)):
        labels, shards, case = LABELS[which], 5, (which, alpha, seed)
        rng, wanted = np.random.default_rng(seed), np.zeros((shards, 4), int)
        for c, shares in enumerate(rng.dirichlet([alpha] * shards, size=4)):
            count = int((labels == c).sum())
            ends = [int(sum(shares[: i + 1]) * count) for i in range(shards - 1)] + [count]
            wanted[:, c] = np.diff([0, *ends])
        got = histograms(labels, deal("dirichlet", labels, shards, seed, alpha=alpha, by="class"))
        assert got.tolist() == wanted.tolist(), case


def test_dirichlet_has_the_expected_statistics():
    """Variation as published to 0.005, and sizes by class as the formula says."""
    for by, alpha, published in [
        ("class", 0.1, 0.694),
        ("class", 0.5, 0.445),
        ("class", 1.0, 0.337),
        ("class", 10.0, 0.115),
        ("slot", 10.0, 0.119),
    ]:
        found, squares = [], []
        for seed in range(60):
            dealt = deal("dirichlet", EQUAL, 15, seed, alpha=alpha, by=by)
            sizes = np.array([shard.size for shard in dealt])
            found.append(variation(EQUAL, dealt))
            squares.append(sizes.var() / sizes.mean() ** 2)
        error = np.std(found) / 60**0.5
        assert abs(np.mean(found) - published) <= 4.5 * error + 0.0015, (by, alpha)
        if by == "class":
            formula = 14 / ((15 * alpha + 1) * 10)
            assert abs(np.mean(squares) - formula) <= 4.5 * np.std(squares) / 60**0.5, alpha


def test_dirichlet_by_slot_has_a_limit_for_alpha_zero():
    """Shares too small for a float are as skewed as those that a float still holds."""
    small, zero = (
        [variation(EQUAL, deal("dirichlet", EQUAL, 15, seed, alpha=a)) for seed in range(20)]
        for a in (1e-3, 1e-300)
    )
    assert_equal_means(small, zero)


def test_small_alpha_is_skewed():
    for by, alphas in (("slot", (0.1, 1.0, 100.0)), ("class", (0.2, 1.0, 100.0))):
        found = [variation(EQUAL, deal("dirichlet", EQUAL, 15, alpha=a, by=by)) for a in alphas]
        assert found[0] > found[1] + 0.1 > found[2] + 0.2, by
    counts = histograms(EQUAL, deal("dirichlet", EQUAL, 2, 1, alpha=1e-3, by="class"))
    assert np.sort(counts, axis=0).tolist() == [[0] * 10, [1500] * 10]  # one shard a label


# --- Labels ----------------------------------------------------------------------------------


def test_labels_gives_each_shard_exactly_so_many():
    for which, shards, count in itertools.product(LABELS, (2, 5, 12), (1, 2, 3, 4)):
        if shards * count < 4:
            continue
        for seed in range(3):
            case = which, shards, count, seed
            counts = histograms(
                LABELS[which], deal("labels", LABELS[which], shards, seed, labels=count)
            )
            assert ((counts > 0).sum(axis=1) == count).all(), case
            takers = (counts > 0).sum(axis=0)
            assert takers.max() - takers.min() <= 1, case
            for label in range(4):
                dealt = counts[counts[:, label] > 0, label]
                assert dealt.max() - dealt.min() <= 1, (*case, label)


def test_labels_takes_every_set_of_labels():
    def sets(seed):
        dealt = deal("labels", LABELS["in turn"], 6, seed, labels=2)
        return {tuple(row) for row in histograms(LABELS["in turn"], dealt) > 0}

    assert len(set.union(*map(sets, range(20)))) == 6  # pairs of 4 labels


def test_impossible_options_are_refused():
    labels, few = LABELS["in turn"], np.array([0, 0, 0, 0, 1])
    for name, given, shards, options, message in [
        ("similarity", labels, 3, {"similarity": 1.1}, "must be 0 .* to 1 .*, got 1.1"),
        ("similarity", labels, 3, {"similarity": -0.1}, "must be 0 .* to 1 .*, got -0.1"),
        ("similarity", labels, 3, {"similarity": np.nan}, "must be 0 .* to 1 .*, got nan"),
        ("similarity", labels, 3, {"similarity": "all"}, "similarity must be a number, got 'all'"),
        ("dirichlet", labels, 3, {"alpha": 0}, "alpha must be above 0 and finite, got 0"),
        ("dirichlet", labels, 3, {"alpha": -1.0}, "alpha must be above 0"),
        ("dirichlet", labels, 3, {"alpha": np.inf}, "got inf.*'similarity' deals at random"),
        ("dirichlet", labels, 3, {"alpha": np.nan}, "alpha must be above 0"),
        ("dirichlet", labels, 3, {"alpha": None}, "alpha must be a number, got None"),
        ("dirichlet", labels, 3, {"alpha": 1, "by": "shard"}, "by='slot' or by='class', got 'sha"),
        (
            *("dirichlet", labels, 40, {"alpha": 0.01, "by": "class"}),
            r"leaves \d+ of 40 shards empty with alpha=0.01; use a larger alpha.*by='slot'",
        ),
        ("labels", labels, 3, {"labels": 0}, "labels must be an integer of 1 or more, got 0"),
        ("labels", labels, 3, {"labels": 1.5}, "labels must be an integer of 1 or more, got 1.5"),
        ("labels", labels, 3, {"labels": 5}, "labels must be at most the 4 classes, got 5"),
        (
            *("labels", labels, 3, {"labels": 1}),
            "3 shards of labels=1 have no room for 4 classes; use labels >= 2, or 4 shards",
        ),
        (
            *("labels", few, 4, {"labels": 1}),
            "label 1 has 1 images for the 2 of 4 shards that take it with labels=1",
        ),
    ]:
        assert_refused(message, deal, name, given, shards, **options)


# --- Shards and slots ------------------------------------------------------------------------


def test_joined_slots_are_unions_of_shards_in_order():
    shards = [np.arange(100 * i, 100 * i + 4 + i) for i in range(15)]
    assert [slot.tolist() for slot in joined(shards, 15)] == [s.tolist() for s in shards]
    for copies in (3, 5, 15):
        wanted = [np.concatenate(shards[i : i + copies]) for i in range(0, 15, copies)]
        got = joined(shards, 15 // copies)
        assert [slot.tolist() for slot in got] == [slot.tolist() for slot in wanted], copies


def test_joined_cuts_equal_shards_into_equal_slots():
    for workers, slots in ((15, 25), (4, 6), (6, 4), (5, 1), (1, 5), (7, 3)):
        images = workers * slots * 2
        shards = np.split(np.random.default_rng(0).permutation(images), workers)
        wanted = np.concatenate(shards).reshape(slots, -1)
        got = joined(shards, slots)
        assert [slot.tolist() for slot in got] == wanted.tolist(), (workers, slots)


def test_joined_keeps_every_image_of_unequal_shards():
    for workers, slots in itertools.product(range(1, 9), range(1, 9)):
        shards = np.split(np.arange(8 * 30), np.cumsum(np.arange(workers)[1:] + 20))
        got = joined(shards, slots)
        assert len(got) == slots, (workers, slots)
        assert np.concatenate(got).tolist() == list(range(240)), (workers, slots)


def test_empty_slots_are_refused():
    message = "2 of 3 slots are empty when 1 shards with as few as 1 images.* or slots=1"
    check_refusals(
        joined,
        [
            (([np.array([4])], 3), message),
            (([np.array([4])], 0), "slots must be an integer of 1 or more, got 0"),
            (([np.array([4])], 1.0), "slots must be an integer of 1 or more, got 1.0"),
        ],
    )


# --- Peers -----------------------------------------------------------------------------------


class OfByzFL:
    """The partitions of ByzFL, for images that are their own indices."""

    def __init__(self):
        byzfl = pytest.importorskip("byzfl", reason="ByzFL is not installed")
        import torch

        self._byzfl, self._torch = byzfl, torch

    def __call__(self, name, parameter, labels, shards, seed):
        import random

        class Images(self._torch.utils.data.Dataset):
            targets = self._torch.from_numpy(labels)

            def __len__(self):
                return len(labels)

            def __getitem__(self, image):
                return image

        random.seed(seed)
        np.random.seed(seed)
        loader = self._torch.utils.data.DataLoader(Images(), batch_size=1)
        options = {"data_distribution_name": name, "distribution_parameter": parameter}
        options |= {"nb_honest": shards, "data_loader": loader, "batch_size": 1}
        split = self._byzfl.DataDistributor(options).split_data()
        return [np.array(loader.dataset.indices) for loader in split]


@pytest.mark.filterwarnings("ignore")
def test_partitions_are_those_of_byzfl():
    """Exact where nothing is drawn, or the draws are the same; else the mean variation."""
    byzfl = OfByzFL()
    labels = np.random.default_rng(0).integers(4, size=600)  # ByzFL takes images in this order
    for shards in (3, 5, 8):
        theirs = byzfl("extreme_niid", 0.0, labels, shards, 0)
        ours = deal("similarity", labels, shards, similarity=0.0)
        assert (histograms(labels, ours) == histograms(labels, theirs)).all(), shards
        for seed, alpha in itertools.product(range(3), (0.8, 5.0)):
            theirs = byzfl("dirichlet_niid", alpha, labels, shards, seed)
            rng = np.random.RandomState(seed)  # the kind of generator that ByzFL draws with
            ours = partitions.dirichlet(labels, shards, rng=rng, alpha=alpha, by="class")
            assert (histograms(labels, ours) == histograms(labels, theirs)).all(), (shards, seed)
    for name, share in (("iid", 1.0), *(("gamma_similarity_niid", g) for g in (0.0, 0.3, 0.9))):
        ours, theirs = [], []
        for seed in range(40):
            given = np.random.default_rng(seed).permutation(labels)
            ours.append(variation(given, deal("similarity", given, 6, seed, similarity=share)))
            theirs.append(variation(given, byzfl(name, share, given, 6, seed)))
        assert_equal_means(ours, theirs, (name, share))
