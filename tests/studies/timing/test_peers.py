"""Our rules beside those of ByzFL and Flower, where these are installed; prints what differs.

For every rule of a peer: on how many random draws our default gives another number, why, and
whether the options that mean the peer's definition give the peer's number on every draw.
"""

import importlib
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest

from detox_sim import aggregators, mixers

SIZES = [(7, 1), (10, 1), (11, 2), (14, 2), (15, 3)]  # n >= 4 f + 3, so that every rule applies
DRAWS = 12
TOLERANCE = 1e-9  # absolute and relative: the same definition in another order of sums


class Peer(NamedTuple):
    """A peer's rule, ours, and at (n, byzantine) the options that ask for the peer's definition.

    ``meaning`` is None where no option does; then ``why`` says what stands in the way.
    """

    name: str
    theirs: Callable
    ours: Callable
    meaning: Callable | None
    why: str = ""
    fixed: Mapping = MappingProxyType({})
    coordinates: int = 5


def rule(name):
    def call(rows, byzantine, seed, **options):
        return getattr(aggregators, name)(rows, byzantine=byzantine, **options)

    return call


class PeersOrder(np.random.Generator):
    """Shuffles as a peer does after ``np.random.seed(seed)``."""

    def __init__(self, seed):
        super().__init__(np.random.MT19937(seed))
        self.old = np.random.RandomState(seed)

    def permutation(self, n):
        return self.old.permutation(n)


def mixer(name):
    def call(rows, byzantine, seed, **options):
        rng = PeersOrder(seed)
        return getattr(mixers, name)(rows, byzantine=byzantine, rng=rng, **options)

    return call


def same(n, f):
    return {}


def of_byzfl(byzfl):
    """ByzFL's rules; those that write to their input get copies, as all do."""
    import torch

    torch.set_num_threads(1)

    def twice(rows, f):
        clip = byzfl.CenteredClipping(tau=1.0)
        clip(rows)
        return clip(rows)

    def after_first(rows, byzantine, seed, start=None):
        first = aggregators.centered_clipping(rows, byzantine=byzantine, radius=1.0)
        start = "zero" if start is None else first
        return aggregators.centered_clipping(rows, byzantine=byzantine, radius=1.0, start=start)

    return [
        Peer("Average", lambda x, f: byzfl.Average()(x), rule("mean"), same),
        Peer("Median", lambda x, f: byzfl.Median()(x), rule("median"), same),
        Peer(
            "Median of torch tensors",
            lambda x, f: byzfl.Median()(torch.from_numpy(x)).numpy(),
            rule("median"),
            same,
        ),
        Peer("TrMean", lambda x, f: byzfl.TrMean(f)(x), rule("trimmed_mean"), same),
        Peer(
            "GeometricMedian",
            lambda x, f: byzfl.GeometricMedian()(x),
            rule("geometric_median"),
            lambda n, f: {"start": "zero", "max_iterations": 3, "smoothing": 0.1},
            "three steps from zero, no distance below 0.1",
        ),
        Peer(
            "Krum",
            lambda x, f: byzfl.Krum(f)(x),
            rule("krum"),
            lambda n, f: {"neighbours": n - f - 1},
            "n-f-1 neighbours",
        ),
        Peer(
            "MultiKrum",
            lambda x, f: byzfl.MultiKrum(f)(x),
            rule("multi_krum"),
            lambda n, f: {"keep": n - f, "neighbours": n - f - 1},
            "n-f-1 neighbours, n-f rows kept",
        ),
        Peer(
            "CenteredClipping",
            lambda x, f: byzfl.CenteredClipping()(x),
            rule("centered_clipping"),
            same,
            fixed={"radius": 100.0},
        ),
        Peer(
            "CenteredClipping, 3 steps",
            lambda x, f: byzfl.CenteredClipping(L=3, tau=1.0)(x),
            rule("centered_clipping"),
            lambda n, f: {"steps": 3},
            "the caller says how many steps",
            {"radius": 1.0},
        ),
        Peer(
            "CenteredClipping, called again",
            twice,
            after_first,
            lambda n, f: {"start": "the last result"},
            "the object keeps its last result as the next start",
        ),
        Peer("MDA", lambda x, f: byzfl.MDA(f)(x), rule("mda"), same),
        Peer("MoNNA", lambda x, f: byzfl.MoNNA(f)(x), rule("monna"), same),
        Peer("Meamed", lambda x, f: byzfl.Meamed(f)(x), rule("meamed"), same),
        Peer(
            "CAF",
            lambda x, f: byzfl.CAF(f)(x),
            rule("caf"),
            None,
            "a random power step; the largest projection is over removed rows too",
        ),
        Peer("SMEA", lambda x, f: byzfl.SMEA(f)(x), rule("smea"), None, "a random power step"),
        Peer("SMEA on a line", lambda x, f: byzfl.SMEA(f)(x), rule("smea"), same, coordinates=1),
        Peer("NNM", lambda x, f: byzfl.NNM(f)(x), mixer("nnm"), same),
        Peer(
            "Bucketing",
            lambda x, f: byzfl.Bucketing()(x),
            mixer("bucketing"),
            lambda n, f: {"size": 1},
            "buckets of one",
        ),
        Peer("Bucketing by two", lambda x, f: byzfl.Bucketing(2)(x), mixer("bucketing"), same),
        Peer(
            "Clipping",
            lambda x, f: byzfl.Clipping(2.0)(x),
            mixer("clipping"),
            same,
            fixed={"radius": 2.0},
        ),
        Peer("ARC", lambda x, f: byzfl.ARC(f)(x), mixer("arc"), same),
    ]


def of_flower(flwr):
    """Flower's functions over lists of layers; every client reports one example."""
    older = importlib.import_module("flwr.server.strategy.aggregate")
    newer = importlib.import_module("flwr.serverapp.strategy.multikrum")
    bulyan = importlib.import_module("flwr.serverapp.strategy.bulyan")
    app = importlib.import_module("flwr.app")

    def results(rows):
        return [([row], 1) for row in rows]

    def chosen(rows, f, count):
        records = [
            app.RecordDict({"arrays": app.ArrayRecord([row]), "place": app.MetricRecord({"i": i})})
            for i, row in enumerate(rows)
        ]
        picked = newer.select_multikrum(records, f, count)
        return rows[[record["place"]["i"] for record in picked]]

    def old_krum(rows, f, keep=0):
        return older.aggregate_krum(results(rows), f, keep)[0]

    def old_bulyan(rows, f):
        return older.aggregate_bulyan(results(rows), f, older.aggregate_krum, to_keep=0)[0]

    def new_bulyan(rows, f):
        some = chosen(rows, f, len(rows) - 2 * f)
        layers, middle = [[row] for row in some], [np.median(some, axis=0)]
        return bulyan.aggregate_n_closest_weights(middle, layers, len(rows) - 4 * f)[0]

    return [
        Peer("aggregate", lambda x, f: older.aggregate(results(x))[0], rule("mean"), same),
        Peer("median", lambda x, f: older.aggregate_median(results(x))[0], rule("median"), same),
        Peer(
            "trimmed mean",
            lambda x, f: older.aggregate_trimmed_avg(results(x), 0.2)[0],
            rule("trimmed_mean"),
            lambda n, f: {"trim": int(0.2 * n)},
            "floor(0.2 n) values each side",
        ),
        Peer("Krum, older", old_krum, rule("krum"), same),
        Peer("Krum, newer", lambda x, f: chosen(x, f, 1)[0], rule("krum"), same),
        Peer(
            "MultiKrum, older, of 3",
            lambda x, f: old_krum(x, f, 3),
            rule("multi_krum"),
            lambda n, f: {"keep": 3},
            "the caller says how many rows are kept",
        ),
        Peer(
            "MultiKrum, newer",
            lambda x, f: chosen(x, f, 1).mean(axis=0),
            rule("multi_krum"),
            lambda n, f: {"keep": 1},
            "one row kept",
        ),
        Peer("Bulyan, older", old_bulyan, rule("bulyan"), same),
        Peer(
            "Bulyan, newer",
            new_bulyan,
            rule("bulyan"),
            lambda n, f: {"selection": "one-shot-median"},
            "n-2f rows selected at once",
        ),
    ]


PEERS = {"byzfl": of_byzfl, "flwr": of_flower}


def draws(peer):
    for n, byzantine in SIZES:
        for seed in range(DRAWS):
            rng = np.random.default_rng([n, byzantine, seed])
            yield rng.normal(size=(n, peer.coordinates)), byzantine, seed


def shares_of_agreement(peer):
    """Return the shares of draws on which our default, and our options, give the peer's number."""
    default, meant = [], []
    for rows, byzantine, seed in draws(peer):
        np.random.seed(seed)
        wanted = np.asarray(peer.theirs(rows.copy(), byzantine))
        options = [{}] + ([peer.meaning(len(rows), byzantine)] if peer.meaning else [])
        tolerance = 1e-6 if wanted.dtype == np.float32 else TOLERANCE
        for answers, more in zip([default, meant], options, strict=False):
            got = peer.ours(rows, byzantine, seed, **peer.fixed, **more)
            same_shape = np.shape(got) == wanted.shape
            answers.append(same_shape and np.allclose(got, wanted, rtol=tolerance, atol=tolerance))
    return np.mean(default), np.mean(meant) if meant else None


def line(peer, default, meant):
    if default == 1:
        return f"  {peer.name:32} agrees by default"
    ending = "no option of ours" if meant is None else f"with options {meant:.0%} agree"
    return f"  {peer.name:32} differs in {1 - default:4.0%} of draws: {peer.why}; {ending}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", PEERS)
def test_options_give_the_numbers_of_peers(library, capsys):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peers = PEERS[library](importlib.import_module(library))
    except ImportError as error:
        pytest.skip(f"{library} cannot be imported: {error}")
    found = [(peer, *shares_of_agreement(peer)) for peer in peers]
    lines = [line(*each) for each in found]
    with capsys.disabled():
        print(f"\n{library}, {len(SIZES) * DRAWS} draws a rule", *lines, sep="\n")
    assert [peer.name for peer, _, meant in found if meant not in (None, 1)] == []
