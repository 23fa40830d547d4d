"""Real models; with `data` the only place that knows the autodiff library.

A catalogue entry is a factory, ``factory(shape, classes, **options) -> torch.nn.Module``;
`Model` makes pure functions of one flat float32 vector out of the module.
"""

import contextlib
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from detox_sim.catalogue import check_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

__all__ = ["softmax", "mlp", "cnn"]


def softmax(shape: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Build multinomial logistic regression.

    Examples
    --------
    >>> Model(softmax((1, 8, 8), 10)).parameters
    650
    """
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))


def mlp(shape: tuple[int, ...], classes: int, *, hidden: int = 64) -> "torch.nn.Module":
    """Build a perceptron with one hidden layer of `hidden` ReLU units.

    Examples
    --------
    >>> Model(mlp((1, 8, 8), 10)).parameters
    4810
    """
    from torch import nn

    check_integer("hidden", hidden, 1)
    first, last = nn.Linear(math.prod(shape), hidden), nn.Linear(hidden, classes)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)


def cnn(shape: tuple[int, ...], classes: int, *, width: int = 8) -> "torch.nn.Module":
    """Build two 3 x 3 convolutions of `width` and 2 `width` channels, pooled, and a linear layer.

    Examples
    --------
    >>> Model(cnn((1, 8, 8), 10)).parameters
    1898
    """
    from torch import nn

    check_integer("width", width, 1)
    channels, height, side = shape
    features = 2 * width * (height // 4) * (side // 4)
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(features, classes),
    )


def check(factory: "Callable[..., torch.nn.Module]", shape: tuple[int, ...], classes: int) -> None:
    """Build the model without allocating it, so that a misfit shows at once.

    Examples
    --------
    >>> check(mlp, (1, 8, 8), 10)
    """
    import torch

    with torch.device("meta"):
        module = factory(shape, classes)
    if not isinstance(module, torch.nn.Module) or not list(module.parameters()):
        raise ValueError(f"a model is a torch.nn.Module with parameters, got {module!r}")


def sample_flops(
    factory: "Callable[..., torch.nn.Module]", shape: tuple[int, ...], classes: int
) -> int:
    """Count the floating-point operations of the gradient of one image, products and sums.

    Those of matrix products and convolutions, forward and backward, which are nearly all.

    Parameters
    ----------
    factory : callable
        ``factory(shape, classes) -> torch.nn.Module``; it is built without being allocated.
    shape : tuple of int
        (channels, height, width).
    classes : int

    Examples
    --------
    >>> sample_flops(softmax, (1, 8, 8), 10) == 2 * (2 * 64 * 10)
    True
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.device("meta"):
        module = factory(shape, classes)
        with counter:
            module(torch.empty(1, *shape)).sum().backward()
    return int(counter.get_total_flops())


class Evaluation(NamedTuple):
    """Mean cross-entropy, and the share of images whose most likely class is right."""

    loss: float
    accuracy: float


class Model:
    """Pure functions over one flat float32 parameter vector (d,), d = `parameters`.

    `sizes` are the numbers of parameters of its tensors, in their order; they sum to d.

    A file's gradient is computed alone, so its bits do not depend on which other files a
    process computes. One thread is assumed (`one_thread`), since bits differ between counts.

    Examples
    --------
    >>> from detox_sim.streams import stream
    >>> model = Model(softmax((1, 8, 8), 10))
    >>> losses, rows = model.gradients(
    ...     model.initial(stream(0, "parameters")),
    ...     np.zeros((3, 2, 1, 8, 8), np.float32), np.zeros((3, 2), np.int64))
    >>> losses.shape, rows.shape
    ((3,), (3, 650))
    """

    def __init__(self, module: "torch.nn.Module"):
        self._module = module
        self._names = [name for name, _ in module.named_parameters()]
        self._shapes = [p.shape for p in module.parameters()]
        self.sizes = [p.numel() for p in module.parameters()]
        self.parameters = sum(self.sizes)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """Draw initial parameters (d,): uniform within 1 / sqrt(fan-in), as torch does."""
        parts = []
        for module in self._module.modules():
            own = list(module.parameters(recurse=False))
            if own:
                limit = 1 / math.sqrt(own[0][0].numel())
                parts += [rng.uniform(-limit, limit, p.numel()) for p in own]
        return np.concatenate(parts).astype(np.float32)

    def _unflatten(self, params: np.ndarray, grad: bool) -> "dict[str, torch.Tensor]":
        import torch

        pieces = torch.from_numpy(params.copy()).split(self.sizes)
        shaped = zip(self._names, pieces, self._shapes, strict=True)
        return {name: piece.view(shape).requires_grad_(grad) for name, piece, shape in shaped}

    def gradients(
        self, params: np.ndarray, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean loss (files,) and its gradient (files, d) of each file.

        Parameters
        ----------
        params : float32 (d,)
        images : float32 (files, images a file, channels, height, width)
        labels : int64 (files, images a file)
        """
        import torch

        leaves = self._unflatten(params, grad=True)
        rows = np.empty((len(images), self.parameters), dtype=np.float32)
        losses = np.empty(len(images), dtype=np.float64)
        for file, row in enumerate(torch.from_numpy(rows)):
            loss = self._loss(leaves, images[file], labels[file])
            parts = torch.autograd.grad(loss, list(leaves.values()))
            torch.cat([part.reshape(-1) for part in parts], out=row)
            losses[file] = loss.item()
        return losses, rows

    def _loss(self, leaves, images: np.ndarray, labels: np.ndarray) -> "torch.Tensor":
        import torch

        scores = torch.func.functional_call(self._module, leaves, (torch.tensor(images),))
        return torch.nn.functional.cross_entropy(scores, torch.tensor(labels))

    def evaluate(self, params: np.ndarray, images: np.ndarray, labels: np.ndarray) -> Evaluation:
        """Return loss and accuracy on images (images, channels, height, width)."""
        import torch

        with torch.no_grad():
            leaves = self._unflatten(params, grad=False)
            scores = torch.func.functional_call(self._module, leaves, (torch.tensor(images),))
            target = torch.tensor(labels)
            loss = torch.nn.functional.cross_entropy(scores, target)
            right = (scores.argmax(dim=1) == target).double().mean()
        return Evaluation(float(loss), float(right))


@contextlib.contextmanager
def one_thread():
    """Run torch and BLAS on one thread, so that bits repeat and processes do not crowd."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
