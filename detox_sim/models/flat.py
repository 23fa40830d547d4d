"""A torch module as pure functions of one flat vector of parameters."""

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detox_sim.arrays import from_torch, to_torch
from detox_sim.models import backward
from detox_sim.models.facts import dense_layer
from detox_sim.models.torch_settings import device_of, repeatable

if TYPE_CHECKING:
    import torch

EVALUATED_AT_ONCE = 1000  # images
LEAST_AT_ONCE = 16  # images in a `vmap`: products of 3 rows or fewer have other bits
MOST_PIXELS = 28 * 28  # of an image, for convolutions of several files in one pass
PIXELS_AT_ONCE = 131_072  # of all images of such a pass, at most: more take longer
LEAST_IMAGES = 2  # of a file in such a pass: the convolution of a single image has other bits
CPU_AT_ONCE, CPU_PIXELS = 250, 200_000  # of these: fewer cost more calls, more do not fit caches
Factory = Callable[..., "torch.nn.Module"]


class Evaluation(NamedTuple):
    """Mean cross-entropy, and the share of images that are classified correctly."""

    loss: float
    accuracy: float


class Gradients(NamedTuple):
    """Mean loss (files,), its gradient (files, d) and batch statistics (files, s) of each file.

    Statistics are the mean and the unbiased variance of every input of a batch norm.
    """

    losses: np.ndarray
    rows: Any
    statistics: np.ndarray


class Model:
    """Pure functions over one flat float32 parameter vector (d,), d = `parameters`.

    `sizes` are the numbers of parameters of its tensors, in their order; they sum to d.

    A file has the same bits beside any other files. Dense models (`is_dense`) compute all files in
    one `vmap`. Convolutions on images of at most `MOST_PIXELS` take several files in one pass
    (`at_once`), of `PIXELS_AT_ONCE` together, which is up to three times as fast. On larger images
    each file has a forward and a backward pass: which way is faster depends on the images a file
    there (`studies.timing.throughput`). Use `one_thread`: bits depend on the number of threads.

    Parameters
    ----------
    factory : callable
        ``factory(shape, classes) -> torch.nn.Module``, such as the catalogue's.
    shape : tuple of int
        (channels, height, width) of an image.
    classes : int
    backend : {"numpy", "cupy"}
        "cupy" computes on the GPU and returns its arrays without a copy.
    precision : {"float32", "tf32", "bfloat16"}
        Of products and convolutions: full; TF32 (GPU only); or autocast to bfloat16.
    channels_last : bool
        Memory order of images and features.

    Examples
    --------
    >>> from detox_sim.models import softmax
    >>> from detox_sim.streams import stream
    >>> model = Model(softmax, (1, 8, 8), 10)
    >>> losses, rows, _ = model.gradients(
    ...     model.initial(stream(0, "parameters")),
    ...     np.zeros((3, 2, 1, 8, 8), np.float32), np.zeros((3, 2), np.int64))
    >>> losses.shape, rows.shape
    ((3,), (3, 650))
    """

    def __init__(
        self,
        factory: Factory,
        shape: tuple[int, ...],
        classes: int,
        *,
        backend: str = "numpy",
        precision: str = "float32",
        channels_last: bool = False,
    ):
        import torch

        self._build = lambda: factory(shape, classes)
        self.backend, self.device = backend, device_of(backend)
        self._precision, self._channels_last = precision, channels_last
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # for buffers that the factory draws; its parameters are not used
            self._module = self._build().to(self.device)
        self._names = [name for name, _ in self._module.named_parameters()]
        self._shapes = [p.shape for p in self._module.parameters()]
        self.sizes = [p.numel() for p in self._module.parameters()]
        self.parameters = sum(self.sizes)
        self._norms = _batch_norms(self._module)
        # Weight (s,) of a step's batch statistics in a worker's running statistics.
        self.statistics_momentum = np.concatenate(
            [np.zeros(0, np.float32)]
            + [np.full(2 * norm.num_features, norm.momentum, np.float32) for norm in self._norms]
        )
        for norm in self._norms:
            norm.momentum = 1.0  # the buffers then hold the statistics of the last batch alone
        self._dense = all(dense_layer(module) for module in self._module.modules())
        self._layers = None if precision == "bfloat16" else backward.chain(self._module)
        self._at_once = self._dense or self._is_small(shape)
        self._lock = threading.Lock()  # the module's modes and buffers are shared

    def _is_small(self, shape: tuple[int, ...]) -> bool:
        """Return whether convolutions are faster with several files at once, by measurement."""
        from detox_sim.models import at_once

        small = math.prod(shape[1:]) <= MOST_PIXELS
        plain = self.device == "cpu" and self._precision == "float32" and not self._channels_last
        return small and plain and at_once.serves(self._module)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """Draw initial parameters (d,) by the model's own factory."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            module = self._build()
        parts = [parameter.detach().reshape(-1) for parameter in module.parameters()]
        return torch.cat(parts).numpy().astype(np.float32)

    def initial_statistics(self) -> np.ndarray:
        """Return the running statistics (s,) before the first step: means 0, variances 1.

        Examples
        --------
        >>> from detox_sim.models import mlp, resnet18
        >>> Model(mlp, (1, 8, 8), 10).initial_statistics().size
        0
        >>> Model(resnet18, (3, 32, 32), 10).initial_statistics().size
        9600
        """
        sizes = [norm.num_features for norm in self._norms]
        parts = [part for size in sizes for part in (np.zeros(size), np.ones(size))]
        return np.concatenate([np.zeros(0), *parts]).astype(np.float32)

    def gradients(self, params, images, labels, seeds: Sequence[int] | None = None) -> Gradients:
        """Return loss, gradient and batch statistics of each file.

        Parameters
        ----------
        params : float32 (d,)
        images : float32 (files, images a file, channels, height, width)
            An array, or a torch tensor.
        labels : int64 (files, images a file)
        seeds : sequence of int (files,), optional
            For models that draw numbers themselves, such as dropout.
        """
        import torch

        images, labels = self._tensor(images), self._tensor(labels)
        flat = self._tensor(params)
        together = self._together(images)
        new = torch.empty if together else torch.zeros
        rows = new(len(images), self.parameters, dtype=flat.dtype, device=self.device)
        with self._lock, self._repeatable():
            self._module.train()
            self._set_type(flat.dtype)
            if together is not None:
                losses, statistics = together(flat, images, labels, rows)
            else:
                losses, statistics = self._one_by_one(flat, images, labels, rows, seeds)
        kept = torch.stack(statistics).cpu().numpy() if statistics else np.zeros((len(images), 0))
        return Gradients(
            losses.double().cpu().numpy(), from_torch(rows, self.backend), kept.astype(np.float32)
        )

    def _together(self, images) -> Callable | None:
        """Return what computes several or all of these files at once; None for one by one."""
        if not self._at_once:
            return None
        if self._dense:
            return self._vectorised
        several = min(len(images), _files_at_once(images)) > 1
        return self._convolved if several and images.shape[1] >= LEAST_IMAGES else None

    def _one_by_one(self, flat, images, labels, rows, seeds):
        """Compute file by file; autograd adds each gradient to its row of zeros."""
        import torch

        leaves = self._set_parameters(flat)
        losses, statistics = [], []
        for file, row in enumerate(rows):
            for leaf, piece in zip(leaves, row.split(self.sizes), strict=True):
                leaf.grad = piece.view(leaf.shape)
            self._forget_statistics()
            self._seed(0 if seeds is None else seeds[file])
            loss = self._entropy(self._module, images[file], labels[file])
            loss.backward()
            losses.append(loss.detach())
            if self._norms:
                statistics.append(torch.cat([b.reshape(-1) for b in self._buffers()]))
        for leaf in leaves:
            leaf.grad = None
        return torch.stack(losses), statistics

    def _convolved(self, flat, images, labels, rows):
        """Compute several files in one pass; a file has the bits that it has by itself."""
        import torch

        from detox_sim.models import at_once

        leaves, losses, statistics = self._set_parameters(flat), [], []
        files = _files_at_once(images)
        for some in zip(*(each.split(files) for each in (images, labels, rows)), strict=True):
            of_some, found = at_once.gradients(self._module, leaves, *some)
            losses.append(of_some)
            statistics += torch.cat(found, dim=1) if found else []
        return torch.cat(losses), statistics

    def _set_parameters(self, flat) -> "list[torch.nn.Parameter]":
        """Give the module these parameters (d,), and return them by tensor.

        A `functional_call` would take ten times as long as the products of a small model.
        """
        import torch

        leaves = [*self._module.parameters()]
        torch.nn.utils.vector_to_parameters(flat.clone(), leaves)
        return leaves

    def _seed(self, seed: int) -> None:
        """Seed torch; `torch.manual_seed` would take a tenth of a small file's time."""
        import torch

        torch.default_generator.manual_seed(seed)
        if self.device != "cpu":
            torch.cuda.manual_seed(seed)

    def _vectorised(self, flat, images, labels, rows):
        """Compute all files at once; repeat few small files, so that bits stay the same."""
        import torch

        files, size = labels.shape
        least = -(-LEAST_AT_ONCE // size)
        if files < least:
            repeated = torch.arange(least, device=self.device) % files
            more = rows.new_empty(least, self.parameters)
            losses, _ = self._vectorised(flat, images[repeated], labels[repeated], more)
            rows.copy_(more[:files])
            return losses[:files], []

        leaves = self._unflatten(flat, grad=False)
        pieces = zip(rows.split(self.sizes, dim=1), self._shapes, strict=True)
        targets = [piece.view(files, *shape) for piece, shape in pieces]
        if self._layers is not None:
            of_all = [*leaves.values()], images, labels, targets
            return backward.gradients(self._layers, *of_all), []
        losses, grads = self._mapped(leaves, images, labels)
        for grad, target in zip(grads, targets, strict=True):
            target.copy_(grad)
        return losses, []

    def _mapped(self, leaves, images, labels):
        """Return losses (files,) and the gradient in each leaf (files, ...) by one `vmap`."""
        import torch

        def loss(leaves, files_images, files_labels):
            module = functools.partial(torch.func.functional_call, self._module, leaves)
            value = self._entropy(module, files_images, files_labels)
            return value, value

        each = torch.func.vmap(torch.func.grad(loss, has_aux=True), in_dims=(None, 0, 0))
        grads, losses = each(leaves, images, labels)
        return losses, list(grads.values())

    def _entropy(self, module: Callable, images, labels) -> "torch.Tensor":
        import torch

        with self._autocast():
            scores = module(self._ordered(images))
        return torch.nn.functional.cross_entropy(scores.to(images.dtype), labels)

    def batch_statistics(self, params, images) -> np.ndarray:
        """Return the batch statistics (s,) of one forward pass over all the images.

        Parameters
        ----------
        params : float32 (d,)
        images : float32 (images, channels, height, width)
            They pass all at once: a batch norm's statistics are those of its whole input.
        """
        import torch

        with self._lock, self._repeatable(), torch.no_grad(), self._autocast():
            self._seed(0)
            self._module.train()
            flat = self._tensor(params)
            self._set_type(flat.dtype)
            self._forget_statistics()
            leaves = self._unflatten(flat, grad=False)
            torch.func.functional_call(self._module, leaves, (self._ordered(self._tensor(images)),))
            found = [b.reshape(-1) for b in self._buffers()]
        return torch.cat(found).cpu().numpy() if found else self.initial_statistics()

    def evaluate(self, params, images, labels, statistics=None) -> Evaluation:
        """Return loss and accuracy on images (images, channels, height, width).

        Parameters
        ----------
        statistics : float32 (s,), optional
            Running statistics; by default `initial_statistics`.
        """
        import torch

        images, labels = self._tensor(images), self._tensor(labels)
        statistics = self.initial_statistics() if statistics is None else statistics
        running = self._tensor(statistics).split([each.numel() for each in self._buffers()])
        total = right = 0.0
        with self._lock, self._repeatable(), torch.no_grad(), self._autocast():
            self._module.eval()
            flat = self._tensor(params)
            self._set_parameters(flat)
            self._set_type(flat.dtype)
            for buffer, values in zip(self._buffers(), running, strict=True):
                buffer.copy_(values)
            for some, target in zip(
                images.split(EVALUATED_AT_ONCE), labels.split(EVALUATED_AT_ONCE), strict=True
            ):
                size = EVALUATED_AT_ONCE
                if self.device == "cpu":
                    size = max(1, min(CPU_AT_ONCE, CPU_PIXELS // some[0, 0].numel()))
                scores = torch.cat(
                    [self._module(self._ordered(part)) for part in some.split(size)]
                ).to(some.dtype)
                loss = torch.nn.functional.cross_entropy(scores, target, reduction="sum")
                total += float(loss.double())
                right += float((scores.argmax(dim=1) == target).sum())
        return Evaluation(total / len(labels), right / len(labels))

    def _tensor(self, value) -> "torch.Tensor":
        return to_torch(value).to(self.device)

    def _unflatten(self, flat: "torch.Tensor", grad: bool) -> "dict[str, torch.Tensor]":
        pieces = zip(self._names, flat.split(self.sizes), self._shapes, strict=True)
        return {name: piece.view(shape).requires_grad_(grad) for name, piece, shape in pieces}

    def _buffers(self) -> "list[torch.Tensor]":
        return [b for norm in self._norms for b in (norm.running_mean, norm.running_var)]

    def _set_type(self, dtype: "torch.dtype") -> None:
        """Give the statistics of batch norms the type of the parameters."""
        for norm in self._norms:
            norm.to(dtype)

    def _forget_statistics(self) -> None:
        """Set the running statistics to zero: at momentum 1 a NaN in them would stay."""
        for buffer in self._buffers():
            buffer.zero_()

    def _ordered(self, images: "torch.Tensor") -> "torch.Tensor":
        import torch

        if not self._channels_last:
            return images
        return images.contiguous(memory_format=torch.channels_last)

    def _repeatable(self) -> contextlib.AbstractContextManager[None]:
        return repeatable(self.device, tf32=self._precision == "tf32")

    def _autocast(self) -> contextlib.AbstractContextManager:
        import torch

        if self._precision != "bfloat16":
            return contextlib.nullcontext()
        return torch.autocast(self.device, torch.bfloat16, cache_enabled=False)


def _files_at_once(images) -> int:
    """Return how many of files (files, images, channels, height, width) are one pass.

    Examples
    --------
    >>> _files_at_once(np.zeros((45, 32, 1, 28, 28)))
    5
    """
    _, size, _, height, width = images.shape
    return max(1, PIXELS_AT_ONCE // (size * height * width))


def _batch_norms(module: "torch.nn.Module") -> "list[Any]":
    """Return the batch norms that keep running statistics."""
    import torch

    norms: list[Any] = [
        each
        for each in module.modules()
        if isinstance(each, torch.nn.modules.batchnorm._BatchNorm) and each.track_running_stats
    ]
    if any(norm.momentum is None for norm in norms):
        raise ValueError("batch norms need a momentum; a cumulative average is not supported")
    return norms
