"""Functions that a Trial in the tests names as "outside:function"."""

import dataclasses

import numpy as np
from reference import copied

from detox_sim import voting
from detox_sim.attacks.forgery import one_row
from detox_sim.data import Data
from detox_sim.messages import Messages
from detox_sim.voting.votes import outcome


def one_a_group(holders, byzantine, rng, step=0):
    """Place at most one Byzantine worker in each group, always the same."""
    assert byzantine <= len(holders)
    bad = np.zeros(holders.max() + 1, dtype=bool)
    bad[holders[:byzantine, 1]] = True
    return bad


def majority_of_real_copies(messages, /):
    return voting.majority(copied(messages))


def streaming_of_real_copies(messages, /):
    return voting.streaming(copied(messages))


def half_of_the_images(labels, shards, /, *, rng):
    return np.array_split(np.arange(len(labels) // 2), shards)


def idle_workers(workers, copies, *, rng=None):
    return np.arange(9).reshape(3, 3)


def twice_the_same(workers, copies, *, rng=None):
    return np.repeat(np.arange(workers)[:, None], 3, axis=1)


def unfit_reaction(messages, /, *, holders, excluded):
    votes = voting.majority(messages)
    reaction = voting.Reaction(np.zeros(3, bool), np.ones(holders.shape, bool), 0, 0)
    return dataclasses.replace(votes, reaction=reaction)


def empty_shard(labels, shards, /, *, rng):
    return [np.arange(0), *np.array_split(np.arange(len(labels)), shards - 1)]


def not_a_message(rows, /, *, weights, rng):
    return rows


def first_copy(messages, /):
    """Believe the first copy, whoever sent it."""
    first = np.zeros(len(messages.row_of), dtype=int)
    return outcome(messages, first, np.zeros(len(first), dtype=bool))


def clique_of_real_copies(messages, /, *, holders):
    return voting.clique(copied(messages), holders=holders)


def not_a_vector(rows, /, *, byzantine):
    return rows


def pictures(*, side=32, padding=4, mean=(0.0,), deviation=(1.0,)):
    """Make coloured noise whose mean tells the class; augmented unless `padding` is 0."""
    rng = np.random.default_rng(side)
    labels = np.arange(80) % 10
    noise = rng.integers(0, 100, size=(80, 3, side, side))
    images = (noise + 15 * labels[:, None, None, None]).astype(np.uint8)
    train, test = (images[:64], labels[:64]), (images[64:], labels[64:])
    scale = {"mean": tuple(mean), "deviation": tuple(deviation)}
    return Data(*train, *test, 10, "pictures", padding=padding, **scale)


def normed(shape, classes):
    """Build a small model with batch norm and dropout."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(shape[0], 4, 3, stride=4),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4 * 8 * 8, classes),
    )


def fails_in_a_process(shape, classes):
    """Build a model whose gradients cannot be computed in a Dask process."""
    from torch import nn

    from detox_sim.primitives.threads import in_dask_worker

    class Model(nn.Linear):
        def forward(self, images):
            if in_dask_worker():
                raise RuntimeError("out of luck")
            return super().forward(images.flatten(1))

    return Model(64, classes)


def train_as_if_on_a_gpu(trial, server):
    """Train on the cluster that runs this task, which holds the only GPU of its process."""
    from unittest import mock

    from detox_sim import train
    from detox_sim.cluster import here, processes

    with mock.patch.dict(processes.RESOURCES, numpy={"GPU": 1.0}), here() as client:
        return train(trial, client=client, server=server).load()


def aggregate_of_honest(rows, forged, /, *, rng, server=None):
    """Send what the server makes of honest messages, by the attackers' own draws."""
    files = len(rows)
    honest = Messages(rows, np.repeat(np.arange(files)[:, None], forged.shape[1], axis=1))
    return one_row(rows, np.zeros_like(forged), server(honest))


def known_to_attackers(rows, forged, /, *, rng, known=None):
    """Send the number of files that attackers know, -1 for all."""
    return one_row(rows, forged, np.full(rows.shape[1], -1 if known is None else known.sum()))


seventeen = 17
