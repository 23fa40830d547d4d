"""What a trial learns: files, rates, augmented images, and the statistics that evaluate."""

import numpy as np
import pytest
from PIL import Image

from detox_sim import Trial, assignments, data, train
from detox_sim.models import one_thread
from detox_sim.streams import stream
from detox_sim.trials import LearningTask, learning_task

SMALL = {"workers": 15, "byzantine": 0, "batch": 30, "steps": 4, "evaluate_every": 4}
PICTURES = {"data": "outside:pictures", "model": "outside:normed"}
PLAIN = PICTURES | {"data_options": {"padding": 0}}


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def task_of(**fields):
    return LearningTask(Trial(**{**SMALL, **fields}))


def seen_by_the_model(task, step, files, images=None, **options):
    """The images (n, images a file, channels, height, width) and labels given to the model."""
    kept = []
    gradients = task.model.gradients

    def watched(params, images, labels, *rest):
        kept.append((images.numpy().copy(), labels))
        return gradients(params, images, labels, *rest)

    task.model.gradients = watched
    images = task.draw(step)[list(files)] if images is None else images
    task.gradients(task.initial().params, step, files, images, **options)
    task.model.gradients = gradients
    return kept[0]


# --- Files ------------------------------------------------------------------------------------


def test_batch_is_drawn_from_training_images_and_split_evenly():
    whole, less = task_of(), task_of(validation=0.5)
    for task, images in ((whole, 1438), (less, 719)):
        drawn = [task.draw(step) for step in range(1, 30)]
        assert all(batch.shape == (5, 6) for batch in drawn)
        assert all(np.unique(batch).size == 30 for batch in drawn)
        assert images * 0.9 < np.max(drawn) < images
    assert (whole.draw(1) == whole.draw(1)).all()
    assert (whole.draw(1) != whole.draw(2)).any()
    assert (whole.draw(1) != task_of(seed=1).draw(1)).any()


SKEWED = {"partition": "dirichlet", "partition_options": {"alpha": 0.3}}


def test_file_is_drawn_from_the_slot_that_its_workers_own():
    """With and without redundancy the same workers own the same images."""
    alone = task_of(**SKEWED, copies=1, assignment="none", groups=None)
    redundant, third = task_of(**SKEWED), 1438 // 15
    owners: list = []
    for task, files, size in ((alone, 15, 2), (redundant, 5, 6)):
        seen = [set() for _ in range(files)]
        for step in range(1, 120):
            batch = task.draw(step)
            assert batch.shape == (files, size)
            assert all(np.unique(file).size == size for file in batch)
            for slot, file in zip(seen, batch.tolist(), strict=True):
                slot.update(file)
        assert sum(map(len, seen)) == len(set().union(*seen))  # slots are disjoint
        assert min(map(len, seen)) > 0.7 * third
        for file, workers in zip(seen, assignments.detox(15, 3), strict=bool(owners)):
            owned = set().union(*(owners[worker] for worker in workers)) if owners else file
            assert len(file - owned) < 0.3 * len(file)  # images that the others never drew
        owners = seen
    assert (redundant.draw(3) == redundant.draw(3)).all()
    assert (redundant.draw(3) != task_of(**SKEWED, seed=1).draw(3)).any()


def test_small_slot_gives_images_more_than_once():
    by_class = {"partition": "dirichlet", "partition_options": {"alpha": 0.5, "by": "class"}}
    task = task_of(**by_class, copies=1, assignment="none", groups=None, batch=1425)
    batch = task.draw(1)  # of 95 images a file, from slots of about 96
    counts = [np.unique(file, return_counts=True)[1] for file in batch]
    assert any(count.max() > 1 for count in counts)
    assert all(count.max() - count.min() <= 1 for count in counts)


def test_spread_of_slots_is_that_of_their_gradients():
    """It shrinks by the root of the union's share where shards are independent; iid it is small."""
    spreads = {}
    for name, options in (("similarity", {"similarity": 1.0}), ("labels", {"labels": 1})):
        for copies in (1, 3):
            shape = {"copies": copies, "assignment": "none" if copies == 1 else "detox"}
            shape |= {"partition": name, "partition_options": options, "groups": None}
            task = task_of(**shape, model="softmax")
            state = task.initial()
            spreads[name, copies] = task.evaluate(state)["slot_spread"]
            slots = learning_task.slots(Trial(**SMALL | shape), task._data.train_labels)
            rows = np.concatenate([
                task.gradients(state.params, 1, [0], slot[None, :256]).rows for slot in slots
            ])  # fmt: skip
            wanted = np.sqrt(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean())
            assert spreads[name, copies] == pytest.approx(wanted, rel=1e-4), (name, copies)
    assert spreads["similarity", 1] < spreads["labels", 1] / 4
    assert spreads["labels", 3] < spreads["labels", 1]
    assert "slot_spread" not in task_of().evaluate(task_of().initial())


def test_relabelled_gradients_are_of_reversed_classes():
    task = task_of()
    labels = Trial(**SMALL).dataset.train_labels[task.draw(1)]
    assert (seen_by_the_model(task, 1, range(5))[1] == labels).all()
    assert (seen_by_the_model(task, 1, range(5), relabelled=True)[1] == 9 - labels).all()


# --- Rates ------------------------------------------------------------------------------------


def test_rate_decays_in_stairs():
    for decay, every in ((1.0, 10), (0.5, 1), (0.9, 3)):
        task = task_of(rate=0.25, momentum=0.0, decay=decay, decay_every=every)
        state, one = task.initial(), np.ones(task.model.parameters, np.float32)
        for step in range(1, 9):
            after = task.update(state, one, np.zeros((0, 0)), None, step)
            moved = state.params.astype(float) - after.params
            expected = 0.25 * decay ** (step // every)
            assert moved == pytest.approx(expected, abs=1e-6), (decay, every, step)


# --- Images -----------------------------------------------------------------------------------


def test_augmented_images_are_flipped_crops_of_padded_ones():
    for padding in (1, 4):
        fields = PICTURES | {"data_options": {"padding": padding}}
        task, images = task_of(**fields), Trial(**SMALL, **fields).dataset.train_images
        found = np.rint(seen_by_the_model(task, 3, [4, 1])[0] * 255).astype(np.uint8)
        edges = ((0, 0), (padding, padding), (padding, padding))
        flipped = 0
        for i, file in enumerate((4, 1)):
            for got, index in zip(found[i], task.draw(3)[file], strict=True):
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


def test_augmentation_is_drawn_for_every_file_and_step():
    task = task_of(**PICTURES)
    same = np.zeros((3, 6), int)  # three files of one image, six times
    first = seen_by_the_model(task, 1, [0, 1, 2], same)[0]
    assert (first[0] != first[1]).any()
    assert (first[1] != first[2]).any()
    assert (first != seen_by_the_model(task, 2, [0, 1, 2], same)[0]).any()


def test_every_copy_of_a_file_has_the_same_images_and_gradient():
    task = task_of(**PICTURES)
    whole, params, batch = seen_by_the_model(task, 2, range(5))[0], task.initial().params, 0
    batch = task.draw(2)
    rows = task.gradients(params, 2, range(5), batch).rows
    for file in range(5):
        assert (seen_by_the_model(task, 2, [file])[0] == whole[file]).all()
        alone = task.gradients(params, 2, [file], batch[[file]]).rows[0]
        assert alone.tobytes() == rows[file].tobytes()


def test_dropout_is_drawn_for_every_file_and_step():
    """Of one image without augmentation nothing else differs."""
    task = task_of(**PLAIN)
    same, params = np.zeros((2, 6), int), task.initial().params
    first, again, other = (task.gradients(params, step, [0, 1], same).rows for step in (1, 1, 2))
    assert (first == again).all()
    assert (first[0] != first[1]).any()
    assert (first[0] != other[0]).any()


def test_model_sees_scaled_pixels():
    task, trial = task_of(**PLAIN), Trial(**SMALL, **PLAIN)
    plain = seen_by_the_model(task, 1, [0])[0]
    images = trial.dataset.train_images[task.draw(1)[0]]
    np.testing.assert_allclose(plain[0], images / 255, rtol=1e-6)
    options = {"data_options": {"padding": 0, "mean": [0.1, 0.2, 0.3], "deviation": [1, 2, 4]}}
    other = seen_by_the_model(task_of(**PLAIN | options), 1, [0])[0]
    for channel, (mean, deviation) in enumerate(((0.1, 1), (0.2, 2), (0.3, 4))):
        wanted = (plain[:, :, channel] - mean) / deviation
        np.testing.assert_allclose(other[:, :, channel], wanted, atol=1e-6)


def test_folder_of_images_trains(tmp_path):
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


def test_statistics_move_towards_one_file_after_the_other():
    task = task_of(**PLAIN)
    state, rng = task.initial(), np.random.default_rng(0)
    seen = rng.random((3, state.statistics.size), np.float32)
    momentum, expected = task.model.statistics_momentum, state.statistics.astype(float)
    for each in seen:
        expected = (1 - momentum) * expected + momentum * each
    after = task.update(state, np.zeros_like(state.params), seen, None, 1)
    assert after.statistics == pytest.approx(expected, rel=1e-5)


def test_statistics_of_worker_0_evaluate():
    """Replayed by hand: the files it computes, in their order, step after step."""
    for assignment, copies, batch, files in (("detox", 3, 60, 1), ("mols", 3, 50, 5)):
        fields = SMALL | PLAIN | {"batch": batch, "groups": None, "outer": "mean"}
        trial = Trial(**fields, assignment=assignment, copies=copies)
        history = train(trial)
        holders = getattr(assignments, assignment)(15, copies)
        mine = np.flatnonzero((holders == 0).any(axis=1))
        assert mine.size == files
        task = LearningTask(trial)
        state = task.initial()
        for step in range(1, 5):
            computed = task.gradients(state.params, step, range(len(holders)), task.draw(step))
            aggregate = computed.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
            state = task.update(state, aggregate, computed.statistics[mine], None, step)
        loss = task.evaluate(state)["test_loss"]
        assert history.test_loss.values[-1] == pytest.approx(loss, rel=1e-4)
        unseen = task.evaluate(state._replace(statistics=task.model.initial_statistics()))
        assert unseen["test_loss"] != pytest.approx(loss, rel=1e-3)


def test_attacks_do_not_reach_the_statistics():
    """They are of images, not of messages: only parameters carry an attack to the evaluation."""
    attacked = {"byzantine": 1, "attack": "constant", "rate": 0.0}
    losses = [
        train(Trial(**SMALL | PICTURES | each)).test_loss for each in ({"rate": 0.0}, attacked)
    ]
    assert losses[0].identical(losses[1])


# --- Evaluation -------------------------------------------------------------------------------


def test_recalibrated_statistics_are_of_training_images(monkeypatch):
    """Of some of them, without augmentation, whatever the running statistics are."""
    monkeypatch.setattr(learning_task, "RECALIBRATION_IMAGES", 16)
    task, plain = task_of(**PICTURES), task_of(**PLAIN)
    state = task.initial()
    found = task.evaluate(state)
    other = task.evaluate(state._replace(statistics=state.statistics + 1))
    recalibrated = [name for name in found if name.startswith("recalibrated")]
    assert recalibrated == ["recalibrated_test_loss", "recalibrated_accuracy"]
    assert [found[name] for name in recalibrated] == [other[name] for name in recalibrated]
    assert found["test_loss"] != other["test_loss"]
    assert plain.evaluate(state) == found
    trial = Trial(**SMALL, **PICTURES)
    some = trial.dataset.train_images[stream(0, "recalibration").permutation(64)[:16]]
    statistics = task.model.batch_statistics(state.params, some.astype(np.float32) / 255)
    by_hand = task.evaluate(state._replace(statistics=statistics))
    assert by_hand["test_loss"] == pytest.approx(found["recalibrated_test_loss"], rel=1e-6)


def test_validation_images_are_held_out_and_evaluated():
    trial = Trial(**SMALL, validation=0.25, model="softmax")
    history = train(trial)
    names = {"accuracy", "test_loss", "validation_accuracy", "validation_loss"}
    assert names == {name for name in history if history[name].dims == ("eval_step",)}
    kept, held_out = data.hold_out(trial.dataset, 0.25)
    assert len(held_out.test_labels) == 359
    task = LearningTask(trial)
    found = task.evaluate(task.initial())
    by_hand = task.model.evaluate(
        task.initial().params, held_out.test_images.astype(np.float32), held_out.test_labels
    )
    assert found["validation_loss"] == pytest.approx(by_hand.loss)
    assert found["validation_accuracy"] == pytest.approx(by_hand.accuracy)
    labels = kept.train_labels[task.draw(1)]
    assert (seen_by_the_model(task, 1, range(5))[1] == labels).all()
    normed = task_of(**PICTURES, validation=0.25)
    assert list(normed.evaluate(normed.initial())) == [
        "test_loss", "accuracy", "recalibrated_test_loss", "recalibrated_accuracy",
        "validation_loss", "validation_accuracy", "recalibrated_validation_loss",
        "recalibrated_validation_accuracy",
    ]  # fmt: skip


def test_formats_of_the_model_train_alike():
    plain = train(Trial(**SMALL | PICTURES)).test_loss.values[-1]
    for options in ({"precision": "bfloat16"}, {"channels_last": True}):
        other = train(Trial(**SMALL | PICTURES, **options)).test_loss.values[-1]
        assert other == pytest.approx(plain, rel=0.1), options
        assert other != plain or "channels_last" in options
