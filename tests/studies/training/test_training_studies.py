"""The training studies: what they compare, what they keep, and what is read off their results."""

import json

import numpy as np
import pytest
import xarray as xr

import reports
import studies
from detox_sim import costs, data, models
from detox_sim.catalogue import bind
from detox_sim.sweeps import assemble, expand
from detox_sim.sweeps.store import Store
from detox_sim.training import train
from detox_sim.trials.trial import Trial
from studies.reproduce import main
from studies.style import draw
from studies.training import accuracy_alie, comparisons, draco, pipelines, sign_sgd, tune
from studies.training import cells as training_cells
from studies.training import scale as scales
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


def made(name, folder, **settings):
    """Run a study of few steps in this process, and assemble its dataset."""
    (plan,) = make_plans([name], "smoke", {"steps": 4, "evaluate_every": 2} | settings)
    store = Store(folder)
    for cell in plan.cells:
        store.write(cell, cell.run(cell.fields), dict(RECORD))
    about = {
        "study": name,
        "title": plan.study.title,
        "claim": plan.study.claim,
        "definitions": plan.study.definitions,
        "scale": plan.study.scale(plan.cells[0].fields),
        "profile": "smoke",
        "settings": plan.settings,
        "versions": plan.cells[0].versions,
    }
    return assemble(plan.cells, plan.axes, store, about, plan.study.derive)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    return {name: made(name, folder) for name in STUDIES}


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


@pytest.mark.parametrize("profile", TASKS)
@pytest.mark.parametrize("name", LABELS)
def test_axes(name, profile):
    _, axes = module(name).PROFILES[profile]
    attacks, methods = LABELS[name]
    assert list(axes) == ["task", "attack", "pipeline", "seed"]
    assert (list(axes["attack"]), list(axes["pipeline"])) == (attacks, methods)
    assert list(axes["task"]) == TASKS[profile]
    assert profile == "smoke" or len(axes["seed"]) >= 3


@pytest.mark.parametrize("profile", ["paper"])
@pytest.mark.parametrize("name", STUDIES)
def test_larger_profiles(name, profile, blank_data):
    study = module(name)
    base, axes = study.PROFILES[profile]
    for _, fields in expand(base, axes | {"seed": [0]}):
        prepared = study.prepare(fields)
        assert prepared == study.prepare(prepared) == json.loads(json.dumps(prepared))
        assert (prepared["workers"], prepared["batch"], prepared["momentum"]) == (45, 1440, 0.9)
        assert prepared["byzantine"] == (4 if name == "draco" else 5)
        seconds, memory = study.cost(prepared)
        assert seconds > 0
        assert 3e8 <= memory < 1.6e10


@pytest.mark.parametrize("profile", ["paper"])
def test_the_long_search_of_rates_wants_to_be_named(profile, blank_data, tmp_path, capsys):
    options = ["--profile", profile, "--plan", "--output", str(tmp_path)]
    assert main(options) == 0
    planned = capsys.readouterr().out
    assert [name for name in STUDIES if name in planned] == [n for n in STUDIES if n != "tune"]
    assert main(["tune", *options]) == 0
    assert "tune" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "task", "pipeline", "rate", "decay"),
    [
        ("accuracy_alie", 0, "D-Multi-Krum", 0.1, 0.98),
        ("accuracy_alie", 1, "Bulyan", 0.00390625, 0.965),
        ("accuracy_alie", 0, "Mean", 0.1, 0.98),
        ("accuracy_reverse", 0, "Multi-Krum", 0.03125, 1.0),
        ("accuracy_reverse", 1, "Median", 0.1, 0.995),
        ("draco", 0, "DRACO", 0.1, 0.99),
        ("sign_sgd", 1, "D-signSGD", 0.0001, 0.99),
    ],
)
def test_schedules_of_the_paper(name, task, pipeline, rate, decay, blank_data):
    base, axes = module(name).PROFILES["paper"]
    fields = dict(base) | axes["task"][TASKS["paper"][task]] | axes["pipeline"][pipeline]
    prepared = module(name).prepare(fields)
    assert (prepared["rate"], prepared["decay"], prepared["decay_every"]) == (rate, decay, 10)


def test_a_model_without_a_schedule_is_refused():
    base, axes = accuracy_alie.PROFILES["paper"]
    fields = base | axes["pipeline"]["Median"] | {"model": "mlp", "data": "digits"}
    with pytest.raises(
        ValueError, match=r"rate of resnet18 and vgg13_bn, not of 'mlp'.*--set rate"
    ):
        accuracy_alie.prepare(fields)
    with pytest.raises(ValueError, match="batch must be"):  # the next thing that does not fit
        accuracy_alie.prepare(fields | {"rate": 0.1, "decay": 1.0})


def test_draco_loses_no_vote():
    base, axes = draco.PROFILES["smoke"]
    fields = base | axes["pipeline"]["DRACO"]
    prepared = draco.prepare(fields)
    assert prepared["copies"] == 2 * prepared["byzantine"] + 1 == 9
    with pytest.raises(ValueError, match="copies >= 2 \\* byzantine \\+ 1 = 11, got 9"):
        draco.prepare(fields | {"byzantine": 5})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "the paper's scale: CIFAR-10 (50,000 + 10,000 images), resnet18, 45 nodes"),
        ({"steps": 1000}, "the paper's scale: CIFAR-10 (50,000 + 10,000 images), resnet18"),
        (
            {"data": "cifar100", "model": "vgg13_bn"},
            "the paper's scale: CIFAR-100 (50,000 + 10,000 images), vgg13_bn, 45 nodes",
        ),
        ({"model": "resnet8"}, "small scale: CIFAR-10 (50,000 + 10,000 images), resnet8"),
        ({"model": "vgg13_bn"}, "small scale: CIFAR-10 (50,000 + 10,000 images), vgg13_bn"),
        ({"batch": 720}, "small scale: CIFAR-10 (50,000 + 10,000 images), resnet18, 45 nodes, ba"),
        ({"steps": 999}, "small scale: CIFAR-10"),
        ({"byzantine": 4}, "small scale: CIFAR-10"),
        ({"momentum": 0.0}, "small scale: CIFAR-10"),
        ({"data": "images"}, "small scale: CIFAR-10 (JPEG) (50,000 + 10,000 images), resnet18"),
        (
            {"data": "fashion_mnist", "model": "lenet5"},
            "small scale: Fashion-MNIST (60,000 + 10,000 images), lenet5, 45 nodes, batch 1440, "
            "3000 steps",
        ),
        ({"data": "digits", "batch": 720}, "toy scale: digits (1,438 + 359 images), resnet18, 45"),
    ],
)
def test_only_the_papers_task_is_at_the_papers_scale(changes, said, blank_data):
    large = pipelines.LARGE | pipelines.PAPER["ResNet-18 on CIFAR-10"]
    fields = pipelines.prepare(large | pipelines.DETOX["D-Median"] | {"batch": 1440} | changes)
    assert scales.scale(fields).startswith(said)


def test_a_part_of_the_data_is_not_the_papers_scale(blank_data, monkeypatch):
    fields = pipelines.prepare(
        pipelines.LARGE | pipelines.PAPER["ResNet-18 on CIFAR-10"] | pipelines.DETOX["D-Median"]
    )
    whole = data.cifar10()
    part = whole._replace(train_images=whole.train_images[1:], train_labels=whole.train_labels[1:])
    monkeypatch.setattr(data, "cifar10", lambda: part)
    assert scales.scale(fields).startswith("small scale: CIFAR-10 (49,999 + 10,000 images)")


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ({}, ["ResNet-18 on CIFAR-10", "VGG13-BN on CIFAR-100"]),
        ({"data_options": {"folder": "here"}}, ["ResNet-18 on CIFAR-10", "VGG13-BN on CIFAR-100"]),
        ({"model": "resnet18"}, ["resnet18 on CIFAR-10", "resnet18 on CIFAR-100"]),
        ({"model": "resnet18", "data": "images"}, ["resnet18 on CIFAR-10 (JPEG)"]),
        ({"task": "ResNet-18 on CIFAR-10", "data": "cifar100"}, ["resnet18 on CIFAR-100"]),
    ],
)
def test_the_label_of_a_task_is_of_what_runs(settings, labels, blank_data):
    (plan,) = make_plans(["accuracy_alie"], "paper", settings)
    assert list(plan.axes["task"]) == labels
    assert list(dict.fromkeys(cell.labels[0] for cell in plan.cells)) == labels
    for cell in plan.cells:
        assert cell.fields["model"] == settings.get("model", cell.fields["model"])
        assert cell.fields["data"] == settings.get("data", cell.fields["data"])


@pytest.mark.parametrize(("model", "classes"), [("resnet18", 10), ("vgg13_bn", 100)])
def test_the_papers_sizes_are_those_of_the_models(model, classes):
    size = pipelines.SIZES[model]
    factory = bind(models, model, {})
    flops = models.sample_flops(factory, (3, 32, 32), classes)
    assert flops == pytest.approx(size["sample_flops"], rel=2e-3)
    parameters = sum(each.numel() for each in factory((3, 32, 32), classes).parameters())
    assert parameters == size["parameters"]


def test_a_smaller_model_has_a_shorter_round():
    fields = pipelines.prepare(pipelines.VANILLA["Multi-Krum"])
    seconds = [
        training_cells.paper_round_seconds(fields | {"model": m}) for m in ("mlp", "vgg13_bn")
    ]
    assert seconds[0] > seconds[1] > 0


def test_a_cell_keeps_what_training_gave():
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


def test_more_votes_than_nodes_have_no_weights():
    fields = pipelines.prepare(
        {"workers": 15, "copies": 3, "byzantine": 2, "assignment": "mols", "groups": None}
        | {"outer": "mean", "batch": 75, "steps": 2}
    )
    cell = training_cells.run(fields)
    assert int(cell.votes) == 25
    assert cell.sizes["vote"] == 15  # as in all cells of the sweep
    assert cell.weight.isnull().all()
    assert cell.effective_votes[1:].notnull().all()


def test_modelled_rounds_are_of_the_whole_pipeline():
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


def test_a_run_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    given = []

    def spy(trial, **options):
        given.append(options)
        return train(trial, **options)

    monkeypatch.setattr(training_cells, "train", spy)
    fields = pipelines.prepare({"steps": 1})
    training_cells.run(fields, checkpoint=tmp_path / "state")
    training_cells.run(fields)
    assert given == [{"checkpoint": tmp_path / "state"}, {}]


def test_a_rate_at_which_a_seed_falls_never_wins():
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
    drawn = draw(tune.figure, found.assign_attrs(provenance=_provenance(["seed"])))
    assert drawn.axes


def _provenance(axes):
    about = {"scale": "toy", "profile": "smoke", "settings": {}, "hardware": ["one"]}
    return json.dumps(about | {"failures": {}, "axes": {name: [0] for name in axes}})


def test_the_search_is_for_ten_classes(blank_data):
    base, axes = tune.PROFILES["paper"]
    fields = base | axes["pipeline"]["Mean"] | {"rate": 0.1}
    assert tune.prepare(fields)["rate"] == 0.1
    with pytest.raises(ValueError, match="tune needs data of 10 classes, got 100"):
        tune.prepare(fields | {"data": "cifar100"})


def test_the_common_rate_is_one_at_which_nobody_falls():
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


@pytest.mark.parametrize("study", ["accuracy_reverse", "draco"])
def test_means_agree_when_nobody_attacks(datasets, study):
    loss = datasets["accuracy_reverse"].loss.sel(task="MLP on digits")
    mean = loss.sel(attack="nobody", pipeline="Mean")
    if study == "draco":
        loss = datasets["draco"].loss.sel(task="MLP on digits")
        others = [loss.sel(attack=attack, pipeline="DRACO") for attack in ("nobody", "reverse")]
    else:
        others = [loss.sel(attack="nobody", pipeline="D-Mean")]
    for other in others:
        np.testing.assert_allclose(other, mean, 1e-4)


def accuracies(values, **coordinates):
    """Return a dataset with the given final accuracies over attack, pipeline, seed."""
    values = np.stack([np.full(np.shape(values), 0.1), values], axis=-1)
    dims = ("attack", "pipeline", "seed", "eval_step")
    return xr.Dataset({"accuracy": (dims, values)}, {**coordinates, "eval_step": [0, 10]})


def test_prices_are_paired_by_seed():
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


def test_speed_ups_are_paired_by_seed():
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


def test_an_accuracy_reached_exactly_counts():
    history = xr.Dataset({"accuracy": ("eval_step", [0.1, 0.9])}, {"eval_step": [0, 5]})
    assert training_cells.steps_to(history, [0.1, 0.9, 0.91]).tolist()[:2] == [0, 5]


@pytest.mark.parametrize("name", LABELS)
def test_tables_of_real_cells(name, datasets):
    dataset = datasets[name].isel(task=0)
    attack = comparisons.attack_in(dataset)
    assert attack == LABELS[name][0][0]
    table = comparisons.attribution_table(dataset.sel(attack=attack))
    assert sorted(table.index) == sorted(LABELS[name][1])
    quiet = comparisons.attribution_table(dataset.sel(attack="nobody"))
    assert set(quiet["lost votes a step"]) == {"0.000 ± 0.000"}
    assert set(quiet["their weight in the aggregate"]) == {"0.000 ± 0.000"}
    if name == "accuracy_alie":
        assert table.loc["Mean", "lost votes a step"] == "5.000 ± 0.000"
        assert table.loc["Mean", "their weight in the aggregate"] == "0.111 ± 0.000"
        assert table.loc["Mean", "votes used, effectively"] == "45.000 ± 0.000"
        assert table.loc["D-Mean", "votes"] == "15"
        assert quiet.loc["Mean", "error / norm of the honest mean"] == "0.000 ± 0.000"
    if name == "draco":
        assert table.loc["DRACO", "lost votes a step"] == "0.000 ± 0.000"
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
def test_a_figure_draws_what_there_is(name, datasets):
    for said, dataset in variants(datasets[name]).items():
        figure = draw(module(name).figure, dataset.assign_attrs(datasets[name].attrs))
        assert len(figure.axes) >= 2, said


def test_a_figure_has_rows_for_each_task_with_its_own_reported_values(datasets):
    one = datasets["accuracy_alie"]
    two = xr.concat([one.assign_coords(task=[task]) for task in TASKS["paper"]], "task")
    figure = draw(accuracy_alie.figure, two.assign_attrs(one.attrs))
    assert len(figure.axes) == 2 * len(draw(accuracy_alie.figure, one).axes)
    stars = {
        round(100 * float(line.get_ydata()[0]), 2)
        for ax in figure.axes
        for line in ax.lines
        if line.get_marker() == "*"
    }
    expected = {value for table in accuracy_alie.REPORTED.values() for value in table.values()}
    assert stars == expected
    assert sum(ax.get_ylabel().startswith("VGG13-BN on CIFAR-100") for ax in figure.axes) == 2


def test_no_star_where_nobody_attacks(datasets):
    dataset = datasets["sign_sgd"].sel(attack=["nobody"])
    figure = draw(sign_sgd.figure, dataset.assign_attrs(datasets["sign_sgd"].attrs))
    assert not any(line.get_marker() == "*" for ax in figure.axes for line in ax.lines)


def test_a_page_says_that_its_dataset_is_of_an_older_version(datasets, monkeypatch):
    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    about = json.loads(datasets["draco"].attrs["provenance"])
    for versions, told in ((about["versions"], False), ({"round": 0}, True)):
        reports.describe(about | {"versions": versions})
        assert ("**It was made by version 0 of round" in shown.pop().data) == told


@pytest.mark.parametrize("name", STUDIES)
def test_larger_results_are_shown_beside_those_at_hand(name, datasets, monkeypatch, tmp_path):
    monkeypatch.setattr(reports, "DATA", tmp_path)
    found = {"paper": "what we found"}
    seen: list = []
    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    reports.show_larger(name, {"profile": "laptop"}, seen.append, found)
    assert not shown
    assert not seen

    (tmp_path / "paper").mkdir()
    datasets[name].to_netcdf(tmp_path / "paper" / f"{name}.nc", engine="netcdf4")
    reports.show_larger(name, {"profile": "laptop"}, seen.append, found)
    heading, facts, picture, said = (each.data for each in shown)
    assert said == "what we found"
    assert heading == "## At the paper's scale"
    assert "toy scale: digits" in facts
    assert "What the paper says" not in facts
    assert "made by version" not in facts
    assert "data:image/svg+xml;base64," in picture
    assert seen[0].equals(datasets[name])
    shown.clear()
    reports.show_larger(name, {"profile": "paper"}, seen.append, found)
    assert not shown
