"""One experiment in this simulator and in ByzFL's, through its public classes; images of noise."""

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detox_sim.data import Data
from detox_sim.data.base import fixed
from detox_sim.models import one_thread
from detox_sim.primitives import use_threads
from detox_sim.streams import stream
from detox_sim.training import train
from detox_sim.trials.trial import Trial
from studies.timing.beside.peers import same_definition

if TYPE_CHECKING:
    import torch

WORKERS, BYZANTINE, IMAGES = 45, 5, 32  # IMAGES of each honest worker in a step
Z = 1.0  # of ALIE: mean + z * deviation
RATE, MOMENTUM = 0.01, 0.9  # v <- momentum v + aggregate, at the server, on both sides
PARTS = ("gradients", "aggregation", "rest")
EVALUATED_AT_ONCE = 128  # images, as ByzFL does by default
NOISE_IMAGES = 4 * IMAGES * (WORKERS - BYZANTINE)  # so that all batches of a part are whole

MODELS = {"CNN": "cnn_mnist", "MLP": "fc_mnist", "logistic": "logreg_mnist"}  # ByzFL's names
RULES = {
    "trimmed_mean": "TrMean",
    "multi_krum": "MultiKrum",
    "geometric_median": "GeometricMedian",
}
MIXERS = {"nnm": "NNM"}


class Finished(NamedTuple):
    """Seconds by the clock of each of `PARTS`, all processor seconds, and the final accuracy."""

    seconds: list[float]
    processor: float
    accuracy: float


def noise(*, shape: list[int], images: int = NOISE_IMAGES, tested: int = 100) -> Data:
    """Return grey noise as training and test images, to measure speed with.

    Examples
    --------
    >>> noise(shape=[1, 28, 28]).train_images.shape
    (5120, 1, 28, 28)
    """
    rng = stream(0, "noise")
    drawn = rng.integers(0, 256, (images + tested, *shape), dtype=np.uint8)
    labels = rng.integers(0, 10, images + tested)
    return fixed(
        drawn[:images], labels[:images], drawn[images:], labels[images:], classes=10, title="noise"
    )


def cnn(shape: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Build the architecture of ByzFL's cnn_mnist.

    Examples
    --------
    >>> from detox_sim.models import Model
    >>> Model(cnn, (1, 28, 28), 10).parameters
    431080
    """
    from torch import nn

    pooled = ((side - 4) // 2 for side in shape[1:])
    height, width = ((side - 4) // 2 for side in pooled)
    return nn.Sequential(
        nn.Conv2d(shape[0], 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * height * width, 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )


def mlp(shape: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Build the architecture of ByzFL's fc_mnist, which ends in the logarithm of a softmax.

    Examples
    --------
    >>> from detox_sim.models import Model
    >>> Model(mlp, (1, 28, 28), 10).parameters
    79510
    """
    from torch import nn

    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(int(np.prod(shape)), 100),
        nn.ReLU(),
        nn.Linear(100, classes),
        nn.LogSoftmax(dim=1),
    )


def logistic(shape: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Build the architecture of ByzFL's logreg_mnist, whose scores go through a sigmoid.

    Examples
    --------
    >>> from detox_sim.models import Model
    >>> Model(logistic, (1, 28, 28), 10).parameters
    7850
    """
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes), nn.Sigmoid())


def experiment(
    model: str, rule: str, steps: int, seed: int, mixers: Sequence[str] = (), **data
) -> Trial:
    """Return the experiment as our Trial: no copies, ALIE, one rule over all workers.

    Parameters
    ----------
    model, rule : str
        Of `MODELS` and `RULES`.
    steps, seed : int
    mixers : sequence of str
        Of `MIXERS`, before the rule.
    data
        The Trial's `data` and `data_options`. It is evaluated before the first step, after each
        quarter of the steps (50 at least), and after the last.

    Examples
    --------
    >>> options = {"data": f"{noise.__module__}:noise", "data_options": {"shape": [1, 28, 28]}}
    >>> experiment("CNN", "multi_krum", 200, 0, **options).outer_options
    {'keep': 40, 'neighbours': 39}
    """
    return Trial(
        workers=WORKERS,
        byzantine=BYZANTINE,
        copies=1,
        assignment="none",
        groups=None,
        inner=None,
        outer=rule,
        outer_options=same_definition(rule, WORKERS, BYZANTINE),
        mixers=list(mixers),
        attack="alie",
        attack_options={"z": Z, "spread": "sample"},
        model=f"studies.timing.beside.simulators:{model.lower()}",
        batch=WORKERS * IMAGES,
        steps=steps,
        rate=RATE,
        momentum=MOMENTUM,
        seed=seed,
        evaluate_every=max(50, steps // 4),
        **data,
    )


def ours(trial: Trial) -> Finished:
    """Run the experiment in this simulator, with one thread; time outside of phases is the rest."""
    start, busy = time.perf_counter(), time.process_time()
    with use_threads(1):
        history = train(trial)
    whole, busy = time.perf_counter() - start, time.process_time() - busy
    phases = history.seconds.sum("step")
    gradients = float(phases.sel(phase="compute"))
    filtering = float(phases.sum()) - gradients
    rest = whole - gradients - filtering
    return Finished([gradients, filtering, rest], busy, float(history.accuracy[-1]))


def byzfl(trial: Trial) -> Finished:
    """Run the experiment in ByzFL, with one thread.

    Its honest clients draw from parts of their own of the training set, and its attackers compute
    no gradient. The images are float32, ready for a client, before the time is taken.

    Raises
    ------
    ImportError
        When ByzFL cannot be imported.
    """
    data = trial.dataset
    trained = _loader(data.train_images, data.train_labels, IMAGES)
    tested = _loader(data.test_images, data.test_labels, EVALUATED_AT_ONCE)
    start, busy = time.perf_counter(), time.process_time()
    with one_thread():
        simulation = _Simulation(trial, trained, tested)
        for step in range(trial.steps):
            if step % trial.evaluate_every == 0:
                simulation.server.compute_test_accuracy()
            simulation.step()
        accuracy = simulation.server.compute_test_accuracy()
    whole, busy = time.perf_counter() - start, time.process_time() - busy
    rest = whole - sum(simulation.seconds)
    return Finished([*simulation.seconds, rest], busy, float(accuracy))


class _Simulation:
    """ByzFL's clients, attackers and server."""

    def __init__(self, trial: Trial, trained, tested):
        import torch
        from byzfl import ByzantineClient, Client, DataDistributor, Server

        for seeded in (random.seed, np.random.seed, torch.manual_seed):
            seeded(trial.seed)  # what ByzFL draws from
        known = {"model_name": MODELS[_of_model(trial)], "device": "cpu"}
        rate = {"learning_rate": trial.rate, "weight_decay": 0.0, "milestones": []}
        parts = DataDistributor(
            {"data_distribution_name": "iid", "nb_honest": WORKERS - BYZANTINE}
            | {"data_loader": trained, "batch_size": IMAGES}
        ).split_data()
        options: dict[str, Any] = {"optimizer_name": None, "loss_name": "CrossEntropyLoss"}
        options |= {"momentum": trial.worker_momentum}
        options |= {"LabelFlipping": False, "nb_labels": 10, "store_per_client_metrics": False}
        self.clients = [Client(known | options | {"training_dataloader": part}) for part in parts]
        f = {"f": BYZANTINE}
        parameters = {"nu": 0.1, "T": 3} if trial.outer == "geometric_median" else f
        self.server = Server(
            known
            | rate
            | {"optimizer_name": "SGD", "optimizer_params": {"momentum": trial.momentum}}
            | {"learning_rate_decay": 1.0}
            | {"pre_agg_list": [{"name": MIXERS[name], "parameters": f} for name in trial.mixers]}
            | {"aggregator_info": {"name": RULES[trial.outer], "parameters": parameters}}
            | {"test_loader": tested}
        )
        attack = {"name": "ALittleIsEnough", "f": BYZANTINE, "parameters": {"tau": Z}}
        self.attackers = ByzantineClient(attack)
        self.seconds = [0.0, 0.0]
        self._broadcast()

    def _broadcast(self) -> None:
        for client in self.clients:
            client.set_model_state(self.server.get_dict_parameters())

    def step(self) -> None:
        start = time.perf_counter()
        for client in self.clients:
            client.compute_gradients()
        honest = [client.get_flat_gradients_with_momentum() for client in self.clients]
        computed = time.perf_counter()
        self.server.update_model_with_gradients(honest + self.attackers.apply_attack(honest))
        aggregated = time.perf_counter()
        self._broadcast()
        self.seconds[0] += computed - start
        self.seconds[1] += aggregated - computed


def _of_model(trial: Trial) -> str:
    return next(name for name in MODELS if trial.model.endswith(f":{name.lower()}"))


def _loader(images: np.ndarray, labels: np.ndarray, size: int) -> "torch.utils.data.DataLoader":
    import torch

    class Images(torch.utils.data.Dataset):
        inputs = torch.from_numpy(images.astype(np.float32) / 255)
        targets = torch.from_numpy(labels.copy())

        def __len__(self) -> int:
            return len(self.targets)

        def __getitem__(self, place: int):
            return self.inputs[place], self.targets[place]

    return torch.utils.data.DataLoader(Images(), batch_size=size)
