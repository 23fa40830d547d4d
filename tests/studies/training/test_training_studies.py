"""The training studies: what they compare, what they keep, and what is read off their results."""

import json

import numpy as np
import pytest
import xarray as xr

import reports
import studies
from detox_sim import costs, data
from detox_sim.sweeps import expand
from detox_sim.training import train
from detox_sim.trials.trial import Trial
from studies.reproduce import main
from studies.style import draw
from studies.training import accuracy_alie, comparisons, draco, pipelines, sign_sgd, tasks, tune
from studies.training import cells as training_cells
from studies.training.scale import scale
from studies.workflow.plans import make_plans

EIGHT = ["Mean", "Median", "Multi-Krum", "Bulyan", "D-Mean", "D-Median", "D-Multi-Krum", "D-Bulyan"]
LABELS = {
    "accuracy_alie": (["alie", "nobody"], EIGHT),
    "accuracy_reverse": (["reverse", "nobody"], EIGHT),
    "sign_sgd": (["constant", "nobody"], ["signSGD", "D-signSGD"]),
    "draco": (["reverse", "nobody"], ["DRACO", "D-Median", "D-Multi-Krum", "D-Bulyan"]),
}
TASKS = {
    "smoke": ["MLP on digits"],
    "laptop": ["MLP on digits"],
    "paper": ["ResNet-18 on CIFAR-10", "VGG13-BN on CIFAR-100"],
}
STUDIES = [*LABELS, "tune"]
RECORD = {"packages": {"numpy": "2"}, "commit": None, "dirty": None} | {
    "seconds": 1.0,
    "hardware": "a machine",
    "time": "2026-01-01T00:00:00+00:00",
}


def module(name):
    return studies.module(name)


@pytest.fixture
def datasets(smoke):
    """Return the datasets of the smoke profile by study."""
    return {name: xr.load_dataset(smoke[0] / f"{name}.nc", engine="netcdf4") for name in STUDIES}


@pytest.fixture
def blank_data(monkeypatch):
    """Stand-ins of the right shape for the data sets that have to be fetched."""

    def of(title, shape, classes, size=50_000):
        images = np.zeros((size, *shape), np.uint8)
        labels = np.arange(size) % classes
        blank = data.base.fixed(
            images, labels, images[:10_000], labels[:10_000], classes=classes, title=title
        )
        return lambda *, folder=None: blank

    monkeypatch.setattr(data, "fashion_mnist", of("Fashion-MNIST", (1, 28, 28), 10, 60_000))
    monkeypatch.setattr(data, "cifar10", of("CIFAR-10", (3, 32, 32), 10))
    monkeypatch.setattr(data, "cifar100", of("CIFAR-100", (3, 32, 32), 100))
    monkeypatch.setattr(data, "images", of("CIFAR-10 (JPEG)", (3, 32, 32), 10))


def test_axes_of_the_profiles():
    for name, (attacks, methods) in LABELS.items():
        for profile, task in TASKS.items():
            if (name, profile) == ("accuracy_alie", "laptop"):
                continue
            (_, axes), *others = module(name).STUDY.grids(profile)
            assert not others
            assert list(axes) == ["task", "attack", "pipeline", "seed"], (name, profile)
            assert (list(axes["attack"]), list(axes["pipeline"])) == (attacks, methods)
            assert list(axes["task"]) == task
            assert profile == "smoke" or len(axes["seed"]) >= 3


def test_grids_on_digits_have_every_rule_alone_at_equal_compute():
    for name, profile, seeds in (
        ("accuracy_alie", "laptop", 3),
        ("accuracy_alie", "digits", 5),
        ("accuracy_reverse", "digits", 5),
        ("sign_sgd", "digits", 5),
    ):
        (base, batch), (_, compute), *doses = module(name).STUDY.grids(profile)
        assert bool(doses) == (name == "accuracy_alie" and profile == "digits")
        images = {label: fields["batch"] for axes in (batch, compute) for label, fields in
                  axes["variant"].items()}  # fmt: skip
        assert images == {"equal batch": 180, "equal compute": 540}
        alone = [rule for rule in batch["pipeline"] if not rule.startswith("D-")]
        assert list(compute["pipeline"]) == alone
        assert {*batch["pipeline"]} == {*alone, *(pipelines.PAIRS[rule] for rule in alone)}
        assert "nobody" in batch["attack"]
        assert len(batch["seed"]) == len(compute["seed"]) == seeds
        assert batch["task"] == tasks.RESNET
        assert base["steps"] == 80


def test_profile_cifar_is_in_the_order_fixed_beforehand(blank_data):
    """Block 1 decides the finding; rules alone also run at equal compute."""
    (plan,) = make_plans(["accuracy_alie"], "cifar", {})
    first = [cell for cell in plan.cells if cell.rank[-2] < 10]  # (study, grid, seed)
    assert all(cell.rank[-2] // 2 == cell.labels[-1] for cell in first)  # whole seeds
    labels = {(cell.labels[2], cell.labels[3]) for cell in first}
    rules = ["Median", "Multi-Krum"]
    assert labels == {
        *((name, "equal batch") for rule in rules for name in (rule, f"D-{rule}")),
        *((rule, "equal compute") for rule in rules),
    }
    assert len(first) == len(labels) * 2 * 5
    for cell in plan.cells:
        fields = cell.fields
        assert (fields["workers"], fields["byzantine"], fields["steps"]) == (45, 5, 400)
        assert (fields["validation"] > 0) == ("validation" in cell.labels[3]), cell
        batch = {"equal batch": 360, "equal compute": 1080}.get(cell.labels[3], fields["batch"])
        assert fields["batch"] == batch, cell
    assert len({cell.digest for cell in plan.cells}) == len(plan.cells)


def test_profile_paper_has_the_papers_sizes_and_schedules(blank_data):
    for name in STUDIES:
        study = module(name).STUDY
        ((base, axes),) = study.grids("paper")
        for _, fields in expand(base, axes | {"seed": [0]}):
            prepared = study.prepare(fields)
            assert prepared == study.prepare(prepared) == json.loads(json.dumps(prepared))
            sizes = [prepared[field] for field in ("workers", "batch", "momentum")]
            assert sizes == [55 if prepared["copies"] == 11 else 45, 1440, 0.9], name
            assert prepared["byzantine"] == 5
            seconds, memory = study.cost(prepared)
            assert seconds > 0
            assert 3e8 <= memory < 1.6e10
    for name, task, pipeline, rate, decay in [
        ("accuracy_alie", 0, "D-Multi-Krum", 0.1, 0.98),
        ("accuracy_alie", 1, "Bulyan", 0.00390625, 0.965),
        ("accuracy_alie", 0, "Mean", 0.1, 0.98),
        ("accuracy_reverse", 0, "Multi-Krum", 0.03125, 1.0),
        ("accuracy_reverse", 1, "Median", 0.1, 0.995),
        ("draco", 0, "DRACO", 0.1, 0.99),
        ("sign_sgd", 1, "D-signSGD", 0.0001, 0.99),
    ]:
        study = module(name).STUDY
        ((base, axes),) = study.grids("paper")
        fields = dict(base) | axes["task"][TASKS["paper"][task]] | axes["pipeline"][pipeline]
        prepared = study.prepare(fields)
        found = prepared["rate"], prepared["decay"], prepared["decay_every"]
        assert found == (rate, decay, 10), (name, pipeline)


def test_search_of_rates_runs_only_by_name_at_the_papers_scale(blank_data, tmp_path, capsys):
    options = ["--profile", "paper", "--plan", "--output", str(tmp_path)]
    assert main(options) == 0
    planned = capsys.readouterr().out
    assert [name for name in STUDIES if name in planned] == [n for n in STUDIES if n != "tune"]
    assert main(["tune", *options]) == 0
    assert "tune" in capsys.readouterr().out


def test_profile_paper_refuses_a_model_without_schedule():
    base, axes = accuracy_alie.STUDY.profiles["paper"]
    fields = base | axes["pipeline"]["Median"] | {"model": "mlp", "data": "digits"}
    with pytest.raises(
        ValueError, match=r"rate of resnet18 and vgg13_bn, not of 'mlp'.*--set rate"
    ):
        pipelines.prepare(fields)
    with pytest.raises(ValueError, match="batch must be"):  # the next thing that does not fit
        pipelines.prepare(fields | {"rate": 0.1, "decay": 1.0})


def test_draco_has_copies_enough_for_an_honest_majority():
    base, axes = draco.STUDY.profiles["smoke"]
    fields = base | axes["pipeline"]["DRACO"]
    prepared = draco.prepare(fields)
    assert prepared["copies"] == 2 * prepared["byzantine"] + 1 == 11
    with pytest.raises(ValueError, match="copies >= 2 \\* byzantine \\+ 1 = 13, got 11"):
        draco.prepare(fields | {"byzantine": 6})


SCALES = [
    ({}, "the paper's scale: CIFAR-10 (50,000 + 10,000 images), resnet18, 45 workers"),
    ({"steps": 1000}, "the paper's scale: CIFAR-10 (50,000 + 10,000 images), resnet18"),
    (
        {"data": "cifar100", "model": "vgg13_bn"},
        "the paper's scale: CIFAR-100 (50,000 + 10,000 images), vgg13_bn, 45 workers",
    ),
    ({"model": "resnet8"}, "small scale: CIFAR-10 (50,000 + 10,000 images), resnet8"),
    ({"model": "vgg13_bn"}, "small scale: CIFAR-10 (50,000 + 10,000 images), vgg13_bn"),
    ({"batch": 720}, "small scale: CIFAR-10 (50,000 + 10,000 images), resnet18, 45 workers, ba"),
    ({"steps": 999}, "small scale: CIFAR-10"),
    ({"byzantine": 4}, "small scale: CIFAR-10"),
    ({"momentum": 0.0}, "small scale: CIFAR-10"),
    ({"data": "images"}, "small scale: CIFAR-10 (JPEG) (50,000 + 10,000 images), resnet18"),
    (
        {"data": "fashion_mnist", "model": "lenet5"},
        "small scale: Fashion-MNIST (60,000 + 10,000 images), lenet5, 45 workers, batch 1440, "
        "3000 steps",
    ),
    ({"data": "digits", "batch": 720}, "toy scale: digits (1,438 + 359 images), resnet18, 45"),
]


def test_only_the_papers_task_is_at_the_papers_scale(blank_data):
    large = tasks.LARGE | tasks.PAPER["ResNet-18 on CIFAR-10"] | pipelines.DETOX["D-Median"]
    for changes, said in SCALES:
        fields = pipelines.prepare(large | changes)
        assert scale(fields).startswith(said), changes


def test_part_of_the_data_is_not_the_papers_scale(blank_data, monkeypatch):
    fields = pipelines.prepare(
        tasks.LARGE | tasks.PAPER["ResNet-18 on CIFAR-10"] | pipelines.DETOX["D-Median"]
    )
    whole = data.cifar10()
    part = whole._replace(train_images=whole.train_images[1:], train_labels=whole.train_labels[1:])
    monkeypatch.setattr(data, "cifar10", lambda: part)
    assert scale(fields).startswith("small scale: CIFAR-10 (49,999 + 10,000 images)")


RELABELLED = [
    ({}, ["ResNet-18 on CIFAR-10", "VGG13-BN on CIFAR-100"]),
    ({"data_options": {"folder": "here"}}, ["ResNet-18 on CIFAR-10", "VGG13-BN on CIFAR-100"]),
    ({"model": "resnet18"}, ["resnet18 on CIFAR-10", "resnet18 on CIFAR-100"]),
    ({"model": "resnet18", "data": "images"}, ["resnet18 on CIFAR-10 (JPEG)"]),
    ({"task": "ResNet-18 on CIFAR-10", "data": "cifar100"}, ["resnet18 on CIFAR-100"]),
]


def test_task_label_names_what_runs(blank_data):
    for settings, labels in RELABELLED:
        (plan,) = make_plans(["accuracy_alie"], "paper", settings)
        assert list(plan.axes["task"]) == labels, settings
        assert list(dict.fromkeys(cell.labels[0] for cell in plan.cells)) == labels
        for cell in plan.cells:
            assert cell.fields["model"] == settings.get("model", cell.fields["model"])
            assert cell.fields["data"] == settings.get("data", cell.fields["data"])


def test_smaller_model_has_shorter_modelled_round():
    fields = pipelines.prepare(pipelines.VANILLA["Multi-Krum"])
    seconds = [
        training_cells.paper_round_seconds(fields | {"model": m}) for m in ("mlp", "vgg13_bn")
    ]
    assert seconds[0] > seconds[1] > 0


def test_cell_keeps_the_history_of_training():
    changes = {"steps": 4, "evaluate_every": 2, "batch": 90, "attack": "alie"}
    fields = pipelines.prepare(pipelines.DETOX["D-Median"] | changes)
    cell, history = training_cells.run(fields), train(Trial(**fields))
    for name in training_cells.BY_STEP:
        small = history[name].values.astype(np.float32).reshape(2, 2)
        assert cell[name].isnull()[0]
        expected = small.mean(axis=1, dtype=np.float64).astype(np.float32)
        np.testing.assert_array_equal(cell[name][1:], expected, err_msg=name)
    assert float(cell.final_loss) == np.float32(history.loss[-1])
    np.testing.assert_array_equal(cell.accuracy, history.accuracy)
    assert cell.weight.dims == ("eval_step", "vote")
    assert cell.weight.shape == (3, 45)
    assert cell.weight[0].isnull().all()
    assert cell.weight[:, 15:].isnull().all()
    expected = history.weight.sel(step=[2, 4]).astype(np.float32)
    np.testing.assert_array_equal(cell.weight[1:, :15], expected)
    assert int(cell.votes) == 15
    assert not {"seconds", "modelled_seconds", "undecided_files"} & set(cell.variables)
    derived = training_cells.derive(fields, cell)
    assert derived.threshold.values.tolist() == [0.8, 0.9, 0.95]
    assert "modelled_round_seconds" not in cell


def test_weights_are_nan_where_votes_outnumber_workers():
    fields = pipelines.prepare(
        {"workers": 15, "copies": 3, "byzantine": 2, "assignment": "mols", "groups": None}
        | {"outer": "mean", "batch": 75, "steps": 2}
    )
    cell = training_cells.run(fields)
    assert int(cell.votes) == 25
    assert cell.sizes["vote"] == 15  # as in all cells of the sweep
    assert cell.weight.isnull().all()
    assert cell.effective_votes[1:].notnull().all()


def test_modelled_round_counts_the_whole_pipeline():
    base = {"workers": 15, "copies": 3, "byzantine": 2, "groups": None, "batch": 75}
    shapes = {
        "detox": {},
        "mols": {"assignment": "mols"},
        "mixed": {"mixers": ["nnm"]},
        "cyclic": {"assignment": "cyclic", "vote": "cyclic"} | {"copies": 5, "outer": "mean"},
    }
    seconds = {}
    for name, changes in shapes.items():
        fields = pipelines.prepare(base | changes)
        seconds[name] = training_cells.paper_round_seconds(fields)
        phases = costs.round_seconds(
            workers=15,
            files={"mols": 25, "cyclic": 15}.get(name, 5),
            **{k: fields[k] for k in ("copies", "vote", "groups", "inner", "outer", "mixers")},
            **pipelines.PAPER_SIZE,
        )
        assert seconds[name] == pytest.approx(sum(phases.values()))
    assert len(set(seconds.values())) == len(seconds)


def test_cell_passes_its_checkpoint_to_training(tmp_path, monkeypatch):
    given = []

    def spy(trial, **options):
        given.append(options)
        return train(trial, **options)

    monkeypatch.setattr(training_cells, "train", spy)
    fields = pipelines.prepare({"steps": 1})
    training_cells.run(fields, checkpoint=tmp_path / "state")
    training_cells.run(fields)
    assert given == [{"checkpoint": tmp_path / "state"}, {}]


def test_rate_at_which_a_seed_diverges_is_never_chosen():
    guessing = float(np.log(10))
    loss = [
        [[0.5, 0.5], [0.4, 0.6], [0.1, guessing], [np.inf, 0.1]],
        [[2.08, 0.1], [0.9, 0.9], [0.1, np.nan], [np.inf, 0.1]],
        [[guessing, 2.2], [guessing, 0.1], [np.nan, np.nan], [np.inf, np.inf]],
    ]
    found = xr.Dataset(
        {"final_loss": (("attack", "pipeline", "rate", "seed"), np.array(loss)[None])},
        {
            "attack": ["alie"],
            "pipeline": ["Mean", "Median", "Bulyan"],
            "rate": [0.1, 0.2, 0.3, 0.4],
        },
    )
    found.final_loss[0, 0, 1, 0] = 0.3
    assert tune.chosen_rates(found) == {"alie": {"Mean": 0.2, "Median": 0.2}}
    found.final_loss[0, 1, 0, 0] = 2.07
    assert tune.chosen_rates(found) == {"alie": {"Mean": 0.2, "Median": 0.2}}
    found.final_loss[0, 1, 0] = [0.2, 0.3]
    assert tune.chosen_rates(found)["alie"]["Median"] == 0.1
    drawn = draw(tune.STUDY.figure, found.assign_attrs(provenance=_provenance(["seed"])))
    assert drawn.axes


def _provenance(axes):
    about = {"scale": "toy", "profile": "smoke", "settings": {}, "hardware": ["one"]}
    return json.dumps(about | {"failures": {}, "axes": {name: [0] for name in axes}})


def test_search_of_rates_refuses_other_than_ten_classes(blank_data):
    base, axes = tune.STUDY.profiles["paper"]
    fields = base | axes["pipeline"]["Mean"] | {"rate": 0.1}
    assert tune.prepare(fields)["rate"] == 0.1
    with pytest.raises(ValueError, match="tune needs data of 10 classes, got 100"):
        tune.prepare(fields | {"data": "cifar100"})


def test_common_rate_is_one_at_which_no_seed_diverges():
    loss = np.full((2, 2, 3, 2), 1.0)
    loss[:, :, 1], loss[:, :, 2] = 0.5, 0.1
    dims = ("attack", "pipeline", "rate", "seed")
    found = xr.Dataset({"final_loss": (dims, loss)}, {"rate": [0.1, 0.2, 0.4]})
    assert tune.common_rate(found) == 0.4
    found.final_loss[0, 1, 2, 1] = np.log(10)
    assert tune.common_rate(found) == 0.2
    found.final_loss[1, 0] = np.nan  # falls at every rate: does not count
    assert tune.common_rate(found) == 0.2
    found.final_loss[0, 0, :2, 0] = np.inf
    assert tune.common_rate(found) is None
    assert tune.common_rate(found * np.nan) is None


def test_mean_and_detox_with_mean_agree_when_nobody_attacks(datasets):
    loss = datasets["accuracy_reverse"].loss.isel(task=0)
    mean = loss.sel(attack="nobody", pipeline="Mean")
    draco_loss = datasets["draco"].loss.isel(task=0).sel(pipeline="DRACO")
    others = {
        "D-Mean": loss.sel(attack="nobody", pipeline="D-Mean"),
        "DRACO, nobody": draco_loss.sel(attack="nobody"),
        "DRACO, reverse": draco_loss.sel(attack="reverse"),
    }
    for name, other in others.items():
        np.testing.assert_allclose(other, mean, 1e-4, err_msg=name)


def accuracies(values, **coordinates):
    """Return a dataset with the given final accuracies over attack, pipeline, seed."""
    values = np.stack([np.full(np.shape(values), 0.1), values], axis=-1)
    dims = ("attack", "pipeline", "seed", "eval_step")
    return xr.Dataset({"accuracy": (dims, values)}, {**coordinates, "eval_step": [0, 10]})


def test_price_is_paired_by_seed():
    values = [[[0.5, 0.6], [0.55, 0.65]], [[0.8, 0.9], [0.79, 0.89]]]
    names = {"attack": ["alie", "nobody"], "pipeline": ["Mean", "Median"], "seed": [0, 1]}
    dataset = accuracies(values, **names)
    np.testing.assert_allclose(comparisons.price(dataset), [[0, 0], [-0.01, -0.01]])
    row = comparisons.price_table(dataset).loc["Median"]
    assert row["less Mean, nobody attacks"] == "-0.010 ± 0.000"
    assert row["alie less nobody"] == "-0.240 ± 0.000"
    assert comparisons.price_table(dataset).loc["Mean", "less Mean, nobody attacks"] == "-"
    assert comparisons.price(dataset.sel(attack=["alie"])) is None
    alone = dataset.sel(pipeline=["Median"])
    assert comparisons.price(alone) is None
    assert list(comparisons.price_table(alone).columns) == [
        "nobody attacks",
        "under alie",
        "alie less nobody",
    ]


def test_speed_up_is_paired_by_seed():
    seconds = [[[60.0, np.nan], [90.0, 99.0]], [[20.0, 50.0], [45.0, 33.0]]]
    dataset = xr.Dataset(
        {
            "modelled_seconds_to": (("pipeline", "seed", "threshold"), seconds),
            "modelled_round_seconds": (("pipeline", "seed"), [[3.0, 4.5], [1.0, 2.25]]),
        },
        {"pipeline": ["Median", "D-Median"], "seed": [0, 1], "threshold": [0.8, 0.9]}
        | {"eval_step": [0, 10, 20]},
    )
    least, most = comparisons.speed_up_ends(dataset, "Median", "D-Median").sel(threshold=0.8)
    np.testing.assert_array_equal(least, [1.5, 1])
    np.testing.assert_array_equal(most, [6, 4])
    ratio = comparisons.speed_up(dataset, "Median", "D-Median")
    np.testing.assert_array_equal(ratio.sel(threshold=0.8), [3, 2])
    np.testing.assert_array_equal(ratio.sel(threshold=0.9), [np.nan, 3])
    row = comparisons.speed_up_table(dataset, [("Median", "D-Median"), ("Mean", "D-Mean")])
    assert row.loc["D-Median over Median", "90%"] == "3.00, 1 of 2"
    assert len(row) == 1


def test_accuracy_reached_exactly_counts():
    history = xr.Dataset({"accuracy": ("eval_step", [0.1, 0.9])}, {"eval_step": [0, 5]})
    assert training_cells.steps_to(history, [0.1, 0.9, 0.91]).tolist()[:2] == [0, 5]


@pytest.mark.parametrize("name", LABELS)
def test_attribution_table_of_real_cells(name, datasets):
    dataset = datasets[name].isel(task=0)
    attack = comparisons.attack_in(dataset)
    assert attack == LABELS[name][0][0]
    table = comparisons.attribution_table(dataset.sel(attack=attack))
    assert sorted(table.index) == sorted(LABELS[name][1])
    quiet = comparisons.attribution_table(dataset.sel(attack="nobody"))
    assert set(quiet["distorted files a step"]) == {"0.000 ± 0.000"}
    assert set(quiet["their weight in the aggregate"]) == {"0.000 ± 0.000"}
    if name == "accuracy_alie":
        assert table.loc["Mean", "distorted files a step"] == "5.000 ± 0.000"
        assert table.loc["Mean", "their weight in the aggregate"] == "0.111 ± 0.000"
        assert table.loc["Mean", "votes used, effectively"] == "45.000 ± 0.000"
        assert table.loc["D-Mean", "votes"] == "15"
        assert quiet.loc["Mean", "error / norm of the honest mean"] == "0.000 ± 0.000"
    if name == "draco":
        assert table.loc["DRACO", "distorted files a step"] == "0.000 ± 0.000"
        assert table.loc["DRACO", "cosine with the honest mean"].startswith("1.000")


def variants(dataset):
    """Return datasets as --set and failed cells make them."""
    narrowed = {
        f"{which} of {name}": dataset.isel({name: [place]})
        for name in ("attack", "pipeline", "seed")
        if name in dataset.dims
        for which, place in (("first", 0), ("last", -1))
    }
    blank = dataset.astype(float)
    holes = {
        f"no {name}": blank.where(dataset[name] != dataset[name][0])
        for name in ("attack", "pipeline", "seed")
    }
    return narrowed | holes | {"nothing": blank.where(False)}


@pytest.mark.parametrize("name", STUDIES)
def test_figure_draws_narrowed_and_incomplete_datasets(name, datasets):
    for said, dataset in variants(datasets[name]).items():
        figure = module(name).STUDY.figure(dataset.assign_attrs(datasets[name].attrs))
        assert len(figure.axes) >= 2, said
    assert draw(module(name).STUDY.figure, dataset.assign_attrs(datasets[name].attrs)).axes


def test_figure_has_rows_for_each_task_with_its_own_reported_values(datasets):
    one = datasets["accuracy_alie"]
    two = xr.concat([one.assign_coords(task=[task]) for task in TASKS["paper"]], "task")
    figure = draw(accuracy_alie.STUDY.figure, two.assign_attrs(one.attrs))
    assert len(figure.axes) == 2 * len(draw(accuracy_alie.STUDY.figure, one).axes)
    stars = {
        round(100 * float(line.get_ydata()[0]), 2)
        for ax in figure.axes
        for line in ax.lines
        if line.get_marker() == "*"
    }
    expected = {value for table in accuracy_alie.REPORTED.values() for value in table.values()}
    assert stars == expected
    assert sum(ax.get_ylabel().startswith("VGG13-BN on CIFAR-100") for ax in figure.axes) == 2


def test_reported_values_are_not_drawn_where_nobody_attacks(datasets):
    dataset = datasets["sign_sgd"].sel(attack=["nobody"])
    figure = draw(sign_sgd.STUDY.figure, dataset.assign_attrs(datasets["sign_sgd"].attrs))
    assert not any(line.get_marker() == "*" for ax in figure.axes for line in ax.lines)


def test_page_says_that_its_dataset_is_of_an_older_version(datasets, monkeypatch):
    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    about = json.loads(datasets["draco"].attrs["provenance"])
    for versions, told in ((about["versions"], False), ({"round": 0}, True)):
        reports.describe(about | {"versions": versions})
        folded, warning = shown.pop().data, shown.pop().data
        assert folded.startswith("<details>")
        assert ("**It was made by version 0 of round" in warning) == told


def test_page_shows_committed_results_of_larger_profiles(smoke, datasets, monkeypatch, tmp_path):
    monkeypatch.setattr(reports, "DATA", tmp_path)
    name = "accuracy_alie"
    seen: list = []
    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    here = {"profile": "laptop", "settings": {}}
    reports.show_larger(name, here, seen.append)
    assert not shown
    assert not seen

    (tmp_path / "paper").mkdir()
    datasets[name].to_netcdf(tmp_path / "paper" / f"{name}.nc", engine="netcdf4")
    reports.show_larger(name, here | {"settings": {"steps": 3}}, seen.append)
    assert not shown, "a run with other fields"
    reports.show_larger(name, here, seen.append)
    heading, picture, warning, facts = (each.data for each in shown)
    assert heading == "## At the paper's scale"
    assert "toy scale: digits" in facts
    assert "What the paper says" not in facts
    assert warning == ""
    assert "data:image/svg+xml;base64," in picture
    assert seen[0].equals(datasets[name])
    shown.clear()
    monkeypatch.setattr(reports, "results_folder", lambda: smoke[0])
    reports.show_findings(name)
    larger, said, run, also = (each.data for each in shown)
    assert larger == "### At the paper's scale (these runs come with the repository)"
    assert run == "### This run (profile `smoke`)"
    first, _, details = module(name).STUDY.finding(datasets[name]).partition("\n\n")
    assert said == also
    assert said.startswith(first + "\n\n<details>")
    assert details in said
    shown.clear()
    reports.show_larger(name, here | {"profile": "paper"}, seen.append)
    assert not shown
