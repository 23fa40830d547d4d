"""What a trial learns: rates, augmented images, and whose batch-norm statistics evaluate."""

import numpy as np
import pytest
from PIL import Image

from detox_sim import assignments
from detox_sim.models import one_thread
from detox_sim.streams import stream
from detox_sim.training import train
from detox_sim.trials.learning_task import LearningTask
from detox_sim.trials.trial import Trial

SMALL = {"workers": 15, "byzantine": 0, "batch": 30, "steps": 4, "evaluate_every": 4}
PICTURES = {"data": "outside:pictures", "model": "outside:normed"}


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def task_of(**fields):
    return LearningTask(Trial(**{**SMALL, **fields}), files=5)


def seen_by_the_model(task, step, files):
    """The images (n, images a file, channels, height, width) that `gradients` gives the model."""
    kept = []
    gradients = task.model.gradients

    def watched(params, images, *rest):
        kept.append(images.numpy().copy())
        return gradients(params, images, *rest)

    task.model.gradients = watched
    task.gradients(task.initial().params, step, files)
    task.model.gradients = gradients
    return kept[0]


# --- Rates ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decay", "every"), [(1.0, 10), (0.5, 1), (0.9, 3)])
def test_the_rate_decays_in_stairs(decay, every):
    task = task_of(rate=0.25, momentum=0.0, decay=decay, decay_every=every)
    state, one = task.initial(), np.ones(task.model.parameters, np.float32)
    for step in range(1, 9):
        after = task.update(state, one, np.zeros((0, 0)), step)
        moved = state.params.astype(float) - after.params
        assert moved == pytest.approx(0.25 * decay ** (step // every), abs=1e-6)


def test_a_decay_trains_otherwise():
    plain, same, other = (
        train(Trial(**SMALL, **fields)).test_loss[-1]
        for fields in ({}, {"decay": 1.0, "decay_every": 1}, {"decay": 0.5, "decay_every": 1})
    )
    assert plain == same != other


# --- Images -----------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [1, 4])
def test_augmented_images_are_flipped_crops_of_padded_ones(padding):
    task = task_of(**PICTURES, data_options={"padding": padding})
    trial = Trial(**SMALL, **PICTURES, data_options={"padding": padding})
    images = trial.dataset.train_images
    batch = stream(0, "batch", 3).choice(len(images), 30, False).reshape(5, 6)
    found = np.rint(seen_by_the_model(task, 3, [4, 1]) * 255).astype(np.uint8)
    edges = ((0, 0), (padding, padding), (padding, padding))
    flipped = 0
    for place, file in enumerate((4, 1)):
        for got, index in zip(found[place], batch[file], strict=True):
            padded = np.pad(images[index], edges, mode="reflect")
            crops = [
                padded[:, y : y + 32, x : x + 32]
                for y in range(2 * padding + 1)
                for x in range(2 * padding + 1)
            ]
            plain = any((got == crop).all() for crop in crops)
            mirrored = any((got == crop[:, :, ::-1]).all() for crop in crops)
            assert plain != mirrored
            flipped += mirrored
    assert 0 < flipped < 12


def test_every_copy_of_a_file_sees_the_same_images():
    task = task_of(**PICTURES)
    whole = seen_by_the_model(task, 2, range(5))
    for file in range(5):
        assert (seen_by_the_model(task, 2, [file])[0] == whole[file]).all()
    assert (seen_by_the_model(task, 3, [0]) != whole[:1]).any()
    params = task.initial().params
    rows = task.gradients(params, 2, range(5)).rows
    assert task.gradients(params, 2, [3]).rows[0].tobytes() == rows[3].tobytes()


def test_the_model_sees_scaled_pixels():
    task = task_of(**PICTURES, data_options={"padding": 0})
    plain = seen_by_the_model(task, 1, [0])
    data = Trial(**SMALL, **PICTURES).dataset
    chosen = stream(0, "batch", 1).choice(64, 30, False)[:6]
    np.testing.assert_allclose(plain[0], data.train_images[chosen] / 255, rtol=1e-6)
    task._data = data._replace(mean=(0.1, 0.2, 0.3), deviation=(1.0, 2.0, 4.0), padding=0)
    other = seen_by_the_model(task, 1, [0])
    for channel, (mean, deviation) in enumerate(((0.1, 1), (0.2, 2), (0.3, 4))):
        wanted = (plain[:, :, channel] - mean) / deviation
        np.testing.assert_allclose(other[:, :, channel], wanted, atol=1e-6)


def test_a_folder_of_images_trains(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 5)):
        for label in ("dark", "light"):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(100, size=(16, 16, 3)) + 150 * (label == "light")
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(tmp_path / part / label / f"{i}.png")
    history = train(
        Trial(**SMALL | {"steps": 20}, data=f"images:{tmp_path}", model="softmax", rate=0.01)
    )
    assert history.accuracy[-1] == 1
    assert history.attrs["data"] == tmp_path.name


# --- Batch-norm statistics --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "copies", "files_of_node_0"), [("detox", 3, 1), ("none", 1, 1), ("mols", 3, 5)]
)
def test_the_statistics_of_node_0_evaluate(assignment, copies, files_of_node_0):
    """Replayed by hand: the files it holds, in their order, step after step."""
    fields = SMALL | PICTURES | {"data_options": {"padding": 0}, "batch": 60}
    if assignment == "mols":
        fields["batch"] = 50
    trial = Trial(**fields, assignment=assignment, copies=copies, groups=None, outer="mean")
    history = train(trial)
    holders = getattr(assignments, assignment)(15, copies)
    mine = np.flatnonzero((holders == 0).any(axis=1))
    assert mine.size == files_of_node_0
    task = LearningTask(trial, len(holders))
    state = task.initial()
    for step in range(1, 5):
        computed = task.gradients(state.params, step, range(len(holders)))
        aggregate = computed.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        state = task.update(state, aggregate, computed.statistics[mine], step)
    by_hand = task.evaluate(state)
    assert history.test_loss.values[-1] == pytest.approx(by_hand.loss, rel=1e-4)
    others = task.evaluate(state._replace(statistics=task.model.initial_statistics()))
    assert others.loss != pytest.approx(by_hand.loss, rel=1e-3)


def test_attacks_do_not_reach_the_statistics():
    """They are of images, not of messages: only parameters carry a lie to the evaluation."""
    lied = {"byzantine": 1, "attack": "constant", "rate": 0.0}
    told = [train(Trial(**SMALL | PICTURES | fields)).test_loss for fields in ({"rate": 0.0}, lied)]
    assert told[0].identical(told[1])


# --- What a Trial refuses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"precision": "tf32"}, "precision 'tf32' exists on GPUs only; use 'float32'"),
        ({"precision": "float16"}, "unknown precision 'float16'; did you mean 'bfloat16'?"),
        ({"channels_last": 1}, "channels_last must be True or False, got 1"),
        ({"decay": -0.5}, "decay must be a number of 0 or more, got -0.5"),
        ({"decay_every": 0}, "decay_every must be an integer of 1 or more, got 0"),
        ({"model": "lenet5"}, "model: lenet5 needs images of 12 x 12 or more, got 8 x 8; use cnn"),
        ({"model": "resnet18", "batch": 5}, "model: cannot train on 1 images of 1x8x8 at once"),
        ({"data": "images:/nowhere"}, "data: .*/nowhere"),
    ],
)
def test_impossible_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Trial(**{**SMALL, **fields})


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"channels_last": True}])
def test_options_are_part_of_the_trial(options):
    fields = SMALL | PICTURES
    history = train(Trial(**fields, **options))
    assert f'"{next(iter(options))}": ' in history.attrs["trial"]
    assert history.test_loss.values[-1] == pytest.approx(
        float(train(Trial(**fields)).test_loss[-1]), rel=0.1
    )
