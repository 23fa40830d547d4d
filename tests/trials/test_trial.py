"""What a Trial refuses, each with the rule, the numbers, and the nearest thing that works."""

import dataclasses
import json
import sys

import numpy as np
import outside
import pytest

from detox_sim import (
    Trial,
    aggregators,
    assignments,
    attacks,
    data,
    encodings,
    mixers,
    models,
    partitions,
    placements,
    voting,
)
from detox_sim.trials import make_trial
from detox_sim.trials.trial import CATALOGUES

FIELDS = {
    "assignment": assignments,
    "placement": placements,
    "attack": attacks,
    "encoding": encodings,
    "vote": voting,
    "inner": aggregators,
    "outer": aggregators,
    "model": models,
    "data": data,
    "partition": partitions,
}

# Without a field: 45 workers, 5 of them Byzantine, 3 copies, 15 votes in 5 groups, 1438 images
PLAIN = {"copies": 1, "assignment": "none", "groups": None}
TOO_FEW = r"outer: {} needs n >= {} \* byzantine \+ {} = {} rows, got {} with byzantine={}; use "


IMPOSSIBLE = [
    ({"knowledge": "everything"}, "unknown knowledge 'everything'; .*known: own, all, groups"),
    (
        {"vote": "cyclic"},
        "vote: vote 'cyclic' decodes the cyclic code; use assignment='cyclic'",
    ),
    ({"vote_options": {"tolerance": -1}}, "vote: tolerance must be a number of 0 or more"),
    ({"attack": "searched", "attack_options": {"evaluations": 1}}, "attack: evaluations must"),
    ({"attack_options": {"known": 1}}, "unknown option of none 'known'"),
    ({"placement_options": {"step": 1}}, "unknown option of random 'step'"),
    ({"assignment": "mols"}, "assignment: mols needs workers = load .* copies"),
    ({"byzantine": 23}, "byzantine must be below workers / 2 = 22.5, got 23; use at most 22"),
    ({"copies": 4}, "copies must be odd.*got 4, use 3 or 5"),
    ({"copies": 2}, "copies must be odd.*got 2, use 1 or 3"),
    ({"copies": 7}, "copies must divide workers: 45 / 7 leaves 3"),
    ({"assignment": "none"}, "assignment 'none' makes 1 copy, got copies=3; use 'detox'"),
    # too few rows for a rule, in both of its places
    (
        {**PLAIN, "outer": "krum", "byzantine": 22},
        TOO_FEW.format("krum", 2, 3, 47, 45, 22) + "byzantine <= 21, or median",
    ),
    (
        {**PLAIN, "outer": "multi_krum", "byzantine": 22},
        TOO_FEW.format("multi_krum", 2, 3, 47, 45, 22) + "byzantine <= 21, or median",
    ),
    (
        {**PLAIN, "outer": "bulyan", "byzantine": 11},
        TOO_FEW.format("bulyan", 4, 3, 47, 45, 11) + "byzantine <= 10, or multi_krum",
    ),
    (
        {"groups": None, "outer": "bulyan", "byzantine": 8},
        TOO_FEW.format("bulyan", 4, 3, 19, 15, 4) + "byzantine <= 3, or multi_krum",
    ),
    (
        {"groups": 3, "outer": "median"},
        TOO_FEW.format("median", 2, 1, 5, 3, 2) + "byzantine <= 1",
    ),
    ({"groups": 3, "outer": "trimmed_mean"}, TOO_FEW.format("trimmed_mean", 2, 1, 5, 3, 2)),
    (
        {"groups": 3, "outer": "geometric_median"},
        TOO_FEW.format("geometric_median", 2, 1, 5, 3, 2),
    ),
    ({"groups": 3, "outer": "sign_majority"}, TOO_FEW.format("sign_majority", 2, 1, 5, 3, 2)),
    (
        {"groups": 5, "inner": "multi_krum", "outer": "mean"},
        r"inner: multi_krum needs n >= 2 \* byzantine \+ 3 = 7 rows, got 3 with byzantine=2",
    ),
    # options
    ({"attack": "inner_product"}, "attack: .*factor"),
    ({"attack": "alie", "attack_options": {"z": "max"}}, "attack: .*'baruch'"),
    ({"outer_options": {"byzantine": -1}}, "outer: median needs an integer byzantine >= 0"),
    ({"inner_options": {"byzantine": -1}}, "inner: mean needs an integer byzantine >= 0"),
    ({"inner_options": {"byzantine": "two"}}, "inner: .*'two'"),
    ({"outer_options": {"byzantine": None}}, "outer: .*None"),
    ({"attack": "reverse", "attack_options": {"rng": 1}}, "unknown option of reverse 'rng'"),
    ({"assignment_options": {"rng": 1}}, "unknown option of detox 'rng'"),
    ({"model_options": {"hidden": "wide"}}, "model: .*hidden|model: .*'wide'|model: .*str"),
    ({"outer": "outside:not_a_vector"}, "must return .* of shape"),
    ({"outer": "outside:seventeen"}, "outer: .*17|outer: .*callable"),
    ({"outer": "outside:missing"}, "cannot load aggregator 'outside:missing'"),
    ({"outer": "nowhere:rule"}, "cannot load aggregator 'nowhere:rule'"),
    # batches
    ({"batch": 181}, "batch must split into 15 equal files, got 181; use 180 or 195"),
    ({"batch": 7}, "batch must split into 15 equal files, got 7; use 15 or 30"),
    ({"batch": 1440}, "batch must be at most 1425 of the 1438 images, got 1440"),
    # vote groups
    ({"groups": 4}, "groups must divide the 15 votes.*got 4, use one of .1, 3, 5, 15."),
    ({"groups": 16, "inner": "median"}, "groups must be at most the 15 votes, got 16"),
    ({"groups": 0}, "groups must be None or an integer >= 1, got 0"),
    ({"groups": 2.0}, "groups must be None or an integer >= 1, got 2.0"),
    ({"groups": True}, "groups must be None or an integer >= 1, got True"),
    ({"inner": None}, "groups needs an inner rule; use inner='mean', or groups=None"),
    ({"groups": None, "inner": "medain"}, "did you mean 'median'"),
    # data and libraries
    (
        {"data": "fashion_mnist", "data_options": {"folder": "/nowhere"}},
        "fashion_mnist finds no train-images-idx3-ubyte.gz in /nowhere: put .*apt-get",
    ),
    ({"data": "fashion_mnist", "data_options": {"folder": ["/nowhere"]}}, "data: "),
    ({"backend": "cuda"}, "unknown backend 'cuda'; known: numpy, cupy"),
    # types and ranges
    ({"workers": 0}, "workers must be an integer of 1 or more, got 0"),
    ({"workers": 45.0}, "workers must be an integer of 1 or more, got 45.0"),
    ({"workers": "45"}, "workers must be an integer of 1 or more, got '45'"),
    ({"byzantine": -1}, "byzantine must be an integer of 0 or more, got -1"),
    ({"copies": True}, "copies must be an integer of 1 or more, got True"),
    ({"steps": 0}, "steps must be an integer of 1 or more, got 0"),
    ({"evaluate_every": 0}, "evaluate_every must be an integer of 1 or more, got 0"),
    ({"seed": -1}, "seed must be an integer of 0 or more, got -1"),
    ({"seed": None}, "seed must be an integer of 0 or more, got None"),
    ({"rate": -0.1}, "rate must be a number of 0 or more, below 1e6, got -0.1"),
    ({"rate": float("inf")}, "rate must be a number of 0 or more, below 1e6, got inf"),
    (
        {"validation": 0.999},
        "15 files need as many training images, there are 2 left by validation=0.999",
    ),
    ({"rate": float("nan")}, "rate must be a number of 0 or more, below 1e6, got nan"),
    ({"rate": "fast"}, "rate must be a number, got 'fast'"),
    (
        {"vote": "outside:unfit_reaction", "placement": "fixed"},
        r"must ask for excluded=... and return a voting.Reaction with exposed \(workers,\)",
    ),
    ({"partition": "outside:empty_shard"}, "must return a list of 45 integer arrays, none empty"),
    (
        {
            "vote": "detox_sim.voting:reactive",
            "placement": "windowed",
            "byzantine": 1,
            "steps": 121,
            "placement_options": {"window": 120},
        },
        "excludes workers for good, so the same must be Byzantine at all steps",
    ),
    (
        {"vote": "reactive", "vote_options": {"byzantine": 1}},
        "vote: a vote is given the byzantine of the trial",
    ),
    ({"attack_rate": 1.5}, "attack_rate must be a chance of 0..1, got 1.5"),
    ({"vote": "reactive"}, "vote 'reactive' excludes workers for good.*'random' draws others"),
    (
        {"vote": "reactive", "placement": "fixed"},
        "vote: vote 'reactive' needs 11 copies for 5 Byzantine workers, got 3; use copies=11",
    ),
    (
        {
            "vote": "reactive",
            "placement": "fixed",
            "byzantine": 1,
            "vote_options": {"chance": 2.0},
        },
        "vote: chance must be between 0 and 1, got 2.0",
    ),
    ({"partition": "dirichlets"}, "unknown partition 'dirichlets'; did you mean 'dirichlet'"),
    ({"partition": "dirichlet"}, "partition: dirichlet needs the option 'alpha'"),
    (
        {"partition": "dirichlet", "partition_options": {"alpha": 0.0}},
        "partition: alpha must be above 0 and finite, got 0.0",
    ),
    (
        {"partition": "dirichlet", "partition_options": {"alpha": 0.001, "by": "class"}},
        "partition: dirichlet by class leaves .* of 45 shards empty with alpha=0.001",
    ),
    ({"partition_options": {"alpha": 1.0}}, "partition: 'iid' takes no options"),
    (
        {"partition": "similarity", "partition_options": {"similarity": 2}},
        "partition: similarity must be 0",
    ),
    (
        {"partition": "outside:half_of_the_images"},
        "must return a list of 45 integer arrays",
    ),
    ({"worker_momentum": 1.0}, "worker_momentum must be below 1, got 1.0"),
    ({"momentum": 2}, "momentum must be below 1, got 2.0"),
    (
        {"worker_momentum": -0.1},
        "worker_momentum must be a number of 0 or more, below 1e6, got -0.1",
    ),
    (
        {"worker_momentum": 0.9, "assignment_options": {"reshuffle": True}},
        "worker_momentum needs the same workers for a file at every step",
    ),
    (
        {"outer": "centered_clipping", "outer_options": {"radius": 1.0, "previous": 0}},
        "unknown option of centered_clipping 'previous'",
    ),
    ({"momentum": float("inf")}, "momentum must be a number of 0 or more, below 1e6, got inf"),
    ({"outer": 3}, "aggregator must be a name, got 3"),
    ({"attack": None}, "attack must be a name, got None"),
    ({"attack_options": None}, "attack_options must be a dict, got None"),
    ({"outer_options": [1]}, "outer_options must be a dict"),
]

# Mixers.
MIXERS = [
        ({"mixers": ["nmm"]}, "mixers: unknown mixer 'nmm'; did you mean 'nnm'?"),
        ({"mixers": "nnm"}, "mixers must be names in a list, got 'nnm'"),
        ({"mixers": {"inside": ["nnm"]}}, "unknown stage of mixers 'inside'; did you mean"),
        ({"mixers": ["clipping"]}, "mixers: .*radius"),
        ({"mixers": ["nnm"], "mixers_options": {"arc": {}}}, "unknown mixer in mixers_options"),
        (
            {"mixers": ["bucketing"], "mixers_options": {"bucketing": {"size": 0}}},
            "mixers: size must be an integer of 1 or more, got 0",
        ),
        (
            {"mixers": ["bucketing"], "mixers_options": {"bucketing": {"sizes": 2}}},
            "mixers: unknown option of bucketing 'sizes'; did you mean 'size'?",
        ),
        (
            {"groups": None, "inner": None, "mixers": {"inner": ["nnm"]}},
            "mixers for the inner stage need an inner rule",
        ),
        (
            {"copies": 1, "assignment": "none", "groups": None, "outer": "krum", "byzantine": 5,
             "workers": 15, "batch": 150, "mixers": ["bucketing"]},
            "outer: krum needs n >= 2 .* byzantine . 3 = 13 rows, got 8",
        ),
    ]  # fmt: skip

# Models, precisions and rates; validation.
SMALL = {"workers": 15, "byzantine": 0, "batch": 30}
LEARNING = [
    ({"precision": "tf32"}, "precision 'tf32' exists on GPUs only; use 'float32'"),
    ({"precision": "float16"}, "unknown precision 'float16'; did you mean 'bfloat16'?"),
    ({"channels_last": 1}, "channels_last must be True or False, got 1"),
    ({"decay": -0.5}, "decay must be a number of 0 or more, below 1e6, got -0.5"),
    ({"decay_every": 0}, "decay_every must be an integer of 1 or more, got 0"),
    ({"model": "lenet5"}, "model: lenet5 needs images of 12 x 12 or more, got 8 x 8; use cnn"),
    ({"model": "resnet18", "batch": 5}, "model: cannot train on 1 images of 1x8x8 at once"),
    ({"data": "images:/nowhere"}, "data: .*/nowhere"),
    ({"validation": -0.1}, "validation must be a number of 0 or more, below 1e6, got -0.1"),
    ({"validation": 1.0}, "validation must be a share below 1, got 1.0"),
    ({"validation": "half"}, "validation must be a number, got 'half'"),
    ({"validation": 0.99}, "batch must be at most 15 of the 15 images, got 30"),
    (
        {"validation": 0.999},
        "5 files need as many training images, there are 2 left by valid.*0.999",
    ),
]


def test_impossible_trial_is_refused():
    cases = [*IMPOSSIBLE, *MIXERS, *((SMALL | fields, message) for fields, message in LEARNING)]
    for fields, message in cases:
        with pytest.raises(ValueError, match=message):
            Trial(**fields)


def test_unknown_name_suggests_nearest():
    for field, catalogue in FIELDS.items():
        name, known = catalogue.__all__[-1], ", ".join(catalogue.__all__)
        with pytest.raises(ValueError, match=f"did you mean '{name}'.* known: {known}"):
            Trial(**{field: name + "x"})


def test_unknown_option_lists_known():
    for field in FIELDS:
        if field in ("partition", "encoding"):
            continue  # the default is no function
        with pytest.raises(ValueError, match=r"unknown option of \w+ 'colour';? ?.*known: "):
            Trial(**{f"{field}_options": {"colour": 1}})


def test_misspelt_field_suggests_nearest():
    for field in (f.name for f in dataclasses.fields(Trial)):
        with pytest.raises(ValueError, match=f"unknown field of Trial '{field}x'; did you mean"):
            make_trial({field + "x": 1})


def test_missing_cupy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ValueError, match=r"needs CuPy: pip install .*cuda12.*backend 'numpy'"):
        Trial(backend="cupy")


def test_trial_is_frozen_and_its_defaults_are_possible():
    trial = Trial()
    assert make_trial(dataclasses.asdict(trial)) == trial
    with pytest.raises(dataclasses.FrozenInstanceError):
        trial.seed = 1


def test_files_are_those_of_the_assignment():
    for fields, files in (({}, 15), (PLAIN, 45), ({"copies": 5, "groups": 3}, 9)):
        assert Trial(**fields).files == files


def test_published_pipelines_are_possible():
    for fields in (
        {"groups": 5, "inner": "mean", "outer": "median"},
        {"groups": 2, "inner": "multi_krum", "outer": "mean"},
        {"groups": None, "outer": "bulyan", "outer_options": {"selection": "one-shot"}},
        {"groups": None, "outer": "bulyan", "byzantine": 7},
        {**PLAIN, "outer": "bulyan", "byzantine": 10},
        {"groups": 3, "outer": "median", "outer_options": {"byzantine": 1}},
    ):
        assert Trial(**fields).byzantine == fields.get("byzantine", 5)


def test_options_are_plain_values():
    options = {"radius": np.float32(0.5), "start": "zero"}
    trial = Trial(outer="centered_clipping", outer_options=options)
    assert json.dumps(dataclasses.asdict(trial))
    assert trial.outer_options == {"radius": 0.5, "start": "zero"}
    assert type(trial.outer_options["radius"]) is float
    assert Trial(outer="detox_sim.aggregators:median").outer == "median"


def test_functions_stand_for_their_names():
    assert set(CATALOGUES) - {"mixers"} == set(FIELDS)
    by_function = Trial(outer=aggregators.trimmed_mean, attack=attacks.reverse, mixers=[mixers.nnm])
    assert by_function == Trial(outer="trimmed_mean", attack="reverse", mixers=["nnm"])
    staged = {"outer": [mixers.nnm]}
    assert Trial(mixers=staged) == Trial(mixers={"outer": ["nnm"]})
    assert Trial(model=outside.normed, data=outside.pictures, batch=60).model == "outside:normed"
    with pytest.raises(ValueError, match=r"top level of a module, got .*<lambda>"):
        Trial(outer=lambda rows, /, *, byzantine: rows[0])
