"""The list of cases of the attacks: a new attack adds one entry, and the laws run over it."""

import numpy as np

from detox_sim import aggregators, attacks, voting
from detox_sim.arrays import namespace
from detox_sim.catalogue import bind, supplied
from detox_sim.messages import Messages

FIVE = np.array([[1.0], [2.0], [3.0], [4.0], [10.0]])
FIRST = np.arange(5)[:, None] == 0  # the one copy of file 0 is forged

DEVIATION = 9.6875**0.5  # of 2, 3, 4 and 10, whose mean is 4.75
FARTHEST_SUM = 4.75 - (149 - 38.75) ** 0.5 / 2  # 64 + 49 + 36 from 10, and 38.75 from the mean

OUTSIDE = "attack_cases:multiple"
# name -> (options, what the forged copy of FIVE is, or None if that is no constant), ...
# The first options are those that the tests of other parts use.
CASES = {
    "none": [({}, 1.0)],
    "reverse": [({}, -100.0), ({"scale": 2.0}, -2.0)],
    "constant": [
        ({}, -100.0),
        ({"value": 7.0}, 7.0),
        ({"value": np.inf}, np.inf),
        ({"value": np.nan}, np.nan),
    ],
    "gaussian": [({}, None), ({"colluding": False}, None)],
    "not_finite": [
        ({}, np.nan),
        ({"kind": "inf"}, np.inf),
        ({"kind": "-inf"}, -np.inf),
        ({"kind": "mixed"}, None),
    ],
    "label_flip": [({}, 10.0)],  # `send` reverses the files to relabel them
    "alie": [
        ({}, 4.75 + DEVIATION),
        ({"z": "baruch", "sign": -1}, 4.75),
        ({"over": "all"}, 7.1622776602),
        ({"over": "all", "sign": -1}, 4 - 10**0.5),
        ({"over": "all", "spread": "sample"}, 4 + 12.5**0.5),
        ({"over": "all", "z": 0.0}, 4.0),
    ],
    "sign_flip": [({}, -4.75)],
    "inner_product": [({"factor": 10.0}, -47.5)],
    "mimic": [({}, 10.0), ({"target": 1}, 2.0)],
    "min_max": [  # 8 from 10
        ({}, 2.0),
        ({"direction": "unit"}, 2.0),
        ({"direction": "sign"}, 2.0),
    ],
    "min_sum": [
        ({}, FARTHEST_SUM),
        ({"direction": "unit"}, FARTHEST_SUM),
        ({"direction": "sign"}, FARTHEST_SUM),
    ],
    "searched": [
        ({}, None),
        ({"directions": ["sign", "mean"], "evaluations": 12}, None),
        ({"objective": "descent", "evaluations": 4}, None),
    ],
    "bit_flip": [
        ({}, None),
        ({"bits": 22}, 1.5),
        ({"bits": [30, 31]}, -np.inf),
        ({"bits": "sign", "values": 1, "stride": None, "per": "message"}, -1.0),
        ({"bits": "any", "flips": 3, "values": 0.5, "stride": 1, "rate": 1}, None),
    ],
    "stuck": [
        ({"stride": 1}, None),
        ({"bits": "sign", "stride": 3}, -1.0),
        ({"bits": 23, "level": 0, "values": 2, "stride": 1}, 0.5),
    ],
    OUTSIDE: [({}, 2.0), ({"factor": 3.0}, 3.0)],
}

# Those with a parameter `known`, and those that draw from `rng`.
ASKS_KNOWN = ["alie", "sign_flip", "inner_product", "mimic", "min_max", "min_sum", "searched"]
DRAWS = ["gaussian", "bit_flip"]  # and not_finite of the kind mixed
# Corrupt each copy on its own, so that copies of a file differ.
INDEPENDENT = ["bit_flip", "stuck"]

FORGED = {
    "nothing": np.zeros((6, 3), dtype=bool),
    "one copy of three": np.eye(6, 3, dtype=bool) & (np.arange(6) == 2)[:, None],
    "some copies": np.random.default_rng(1).random((6, 3)) < 0.4,
    "two whole files": np.repeat([[True], [False], [True], [False], [False], [False]], 3, axis=1),
    "everything": np.ones((6, 3), dtype=bool),
    "two of single copies": np.array([[True], [False], [True], [False], [False], [False]]),
}
SOME_FORGED = [which for which in FORGED if which not in ("nothing", "everything")]


def rows_of(dtype=np.float32, d=5, seed=0):
    return np.random.default_rng(seed).normal(size=(6, d)).astype(dtype)


def options_of(name):
    return [options for options, _ in CASES[name]]


def multiple(rows, forged, /, *, rng, factor=2.0):
    """Send a multiple of the own gradient: an attack that is not of the package."""
    files, copies = forged.shape
    own = np.repeat(np.arange(files)[:, None], copies, axis=1)
    with np.errstate(over="ignore"):
        both = namespace(rows).concat([rows, factor * rows])
    return Messages(both, np.where(forged, own + files, own))


def median_of_votes(messages):
    return aggregators.median(voting.majority(messages).rows, byzantine=0)


def send(name, options, rows, forged, rng=2, **facts):
    """Return what an attack sends, supplied with the facts it asks for; `rng` may be a seed."""
    facts = {"server": median_of_votes, "relabelled": rows[::-1, :]} | facts
    attack = supplied(bind(attacks, name, options), **facts)
    return attack(rows, forged, rng=np.random.default_rng(rng))


def sent(messages, forged):
    """Return the bits of all forged copies."""
    return messages.rows[messages.row_of[forged]].tobytes()
