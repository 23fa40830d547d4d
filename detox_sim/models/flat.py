"""A torch module as pure functions of one flat vector of parameters."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from detox_sim.arrays import from_torch, to_torch

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "tf32", "bfloat16")
EVALUATED_AT_ONCE = 1000  # images
LEAST_AT_ONCE = 16  # images in a `vmap`: products of 3 rows and less have other bits
SEEN_AT_ONCE = 100  # of these, on a CPU: features of more are new memory each time, up to 3x slower
Factory = Callable[..., "torch.nn.Module"]


def device_of(backend: str) -> str:
    """Return where torch computes for a backend: "cpu", or "cuda" for "cupy".

    Raises
    ------
    ValueError
        When torch has no GPU.

    Examples
    --------
    >>> device_of("numpy")
    'cpu'
    """
    import torch

    if backend == "numpy":
        return "cpu"
    if not torch.cuda.is_available():
        raise ValueError(
            f"backend {backend!r} trains on the GPU, and torch {torch.__version__} finds none; "
            "install its CUDA build, or use backend 'numpy'"
        )
    return "cuda"


class Evaluation(NamedTuple):
    """Mean cross-entropy, and the share of images whose most likely class is right."""

    loss: float
    accuracy: float


class Gradients(NamedTuple):
    """Of each file: mean loss (files,), its gradient (files, d), batch statistics (files, s).

    Statistics are the mean and the unbiased variance of every input of a batch norm.
    """

    losses: np.ndarray
    rows: Any
    statistics: np.ndarray


class Model:
    """Pure functions over one flat float32 parameter vector (d,), d = `parameters`.

    `sizes` are the numbers of parameters of its tensors, in their order; they sum to d.

    A file's gradient is that of a pass of its own, or of a `vmap` over files where the model is
    dense, which is up to twice as fast for small files and gives the same bits whatever the files;
    convolutions are slower that way (measured: `studies.timing.throughput`). One thread is assumed
    (`one_thread`), since bits differ between counts.

    Parameters
    ----------
    factory : callable
        ``factory(shape, classes) -> torch.nn.Module``, such as the catalogue's.
    shape : tuple of int
        (channels, height, width) of an image.
    classes : int
    backend : {"numpy", "cupy"}
        "cupy" computes on the GPU, and gives its arrays without a copy.
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
            torch.manual_seed(0)  # its parameters are never used; buffers it draws are
            self._module = self._build().to(self.device)
        self._names = [name for name, _ in self._module.named_parameters()]
        self._shapes = [p.shape for p in self._module.parameters()]
        self.sizes = [p.numel() for p in self._module.parameters()]
        self.parameters = sum(self.sizes)
        self._norms = _batch_norms(self._module)
        # How much of what a node sees in a step goes into its running statistics (s,).
        self.statistics_momentum = np.concatenate(
            [np.zeros(0, np.float32)]
            + [np.full(2 * norm.num_features, norm.momentum, np.float32) for norm in self._norms]
        )
        for norm in self._norms:
            norm.momentum = 1.0  # so that the buffers hold those of the last batch alone
        self._dense = all(_is_dense(module) for module in self._module.modules())
        self._lock = threading.Lock()  # the module's modes and buffers are shared

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """Draw initial parameters (d,), as the model's own factory does."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            module = self._build()
        parts = [parameter.detach().reshape(-1) for parameter in module.parameters()]
        return torch.cat(parts).numpy().astype(np.float32)

    def initial_statistics(self) -> np.ndarray:
        """Return the running statistics (s,) of a node that has seen nothing: means 0, variances 1.

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
        new = torch.empty if self._dense else torch.zeros
        rows = new(len(images), self.parameters, dtype=flat.dtype, device=self.device)
        with self._lock, self._computing():
            self._module.train()
            for norm in self._norms:
                norm.to(flat.dtype)
            if self._dense:
                losses, statistics = self._vectorised(flat, images, labels, rows), []
            else:
                losses, statistics = self._one_by_one(flat, images, labels, rows, seeds)
        seen = torch.stack(statistics).cpu().numpy() if statistics else np.zeros((len(images), 0))
        return Gradients(
            losses.double().cpu().numpy(), from_torch(rows, self.backend), seen.astype(np.float32)
        )

    def _one_by_one(self, flat, images, labels, rows, seeds):
        """Let autograd add each file's gradient to its row, which is zero."""
        import torch

        leaves = self._unflatten(flat.clone(), grad=True)
        losses, statistics = [], []
        for file, row in enumerate(rows):
            for leaf, piece in zip(leaves.values(), row.split(self.sizes), strict=True):
                leaf.grad = piece.view(leaf.shape)
            self._seed(0 if seeds is None else seeds[file])
            loss = self._loss(leaves, images[file], labels[file])
            loss.backward()
            losses.append(loss.detach())
            if self._norms:
                statistics.append(torch.cat([b.reshape(-1) for b in self._buffers()]))
        return torch.stack(losses), statistics

    def _seed(self, seed: int) -> None:
        """Seed what the model draws from; `torch.manual_seed` takes a tenth of a small file."""
        import torch

        torch.default_generator.manual_seed(seed)
        if self.device != "cpu":
            torch.cuda.manual_seed(seed)

    def _vectorised(self, flat, images, labels, rows):
        """Compute all files in one `vmap`; few small ones are repeated, so that bits stay."""
        import torch

        files, size = labels.shape
        repeated = torch.arange(max(files, -(-LEAST_AT_ONCE // size)), device=self.device) % files
        if len(repeated) > files:
            images, labels = images[repeated], labels[repeated]

        def loss(leaves, files_images, files_labels):
            value = self._loss(leaves, files_images, files_labels)
            return value, value

        each = torch.func.vmap(torch.func.grad(loss, has_aux=True), in_dims=(None, 0, 0))
        grads, losses = each(self._unflatten(flat, grad=False), images, labels)
        for name, piece in zip(self._names, rows.split(self.sizes, dim=1), strict=True):
            piece.copy_(grads[name][:files].reshape(files, -1))
        return losses[:files]

    def _loss(self, leaves, images, labels) -> "torch.Tensor":
        import torch

        with self._autocast():
            scores = torch.func.functional_call(self._module, leaves, (self._ordered(images),))
        return torch.nn.functional.cross_entropy(scores.to(images.dtype), labels)

    def batch_statistics(self, params, images) -> np.ndarray:
        """Return the statistics (s,) that one forward pass over all the images gives.

        Parameters
        ----------
        params : float32 (d,)
        images : float32 (images, channels, height, width)
            All at once: a batch norm's statistics are of its whole input.
        """
        import torch

        with self._lock, self._computing(), torch.no_grad(), self._autocast():
            self._seed(0)
            self._module.train()
            leaves = self._unflatten(self._tensor(params), grad=False)
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
        parts = self._tensor(statistics).split([each.numel() for each in self._buffers()])
        total = right = 0.0
        with self._lock, self._computing(), torch.no_grad(), self._autocast():
            for buffer, part in zip(self._buffers(), parts, strict=True):
                buffer.copy_(part)
            self._module.eval()
            leaves = self._unflatten(self._tensor(params), grad=False)
            for some, target in zip(
                images.split(EVALUATED_AT_ONCE), labels.split(EVALUATED_AT_ONCE), strict=True
            ):
                seen = some.split(SEEN_AT_ONCE) if self.device == "cpu" else [some]
                scores = torch.cat(
                    [
                        torch.func.functional_call(self._module, leaves, (self._ordered(part),))
                        for part in seen
                    ]
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

    def _ordered(self, images: "torch.Tensor") -> "torch.Tensor":
        import torch

        if not self._channels_last:
            return images
        return images.contiguous(memory_format=torch.channels_last)

    def _autocast(self):
        import torch

        if self._precision != "bfloat16":
            return contextlib.nullcontext()
        return torch.autocast(self.device, torch.bfloat16, cache_enabled=False)

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """Set what torch would choose by itself: no TF32 unless asked for, the same bits again.

        The caller's random state is left as it was.
        """
        import torch

        tf32 = self._precision == "tf32"
        matmul = torch.backends.cuda.matmul
        before, matmul.allow_tf32 = matmul.allow_tf32, tf32
        try:
            with (
                torch.random.fork_rng(
                    devices=[torch.cuda.current_device()] if self.device != "cpu" else []
                ),
                torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32
                ),
            ):
                yield
        finally:
            matmul.allow_tf32 = before


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


@functools.lru_cache  # a sweep asks the same of a model for each of its cells
def is_dense(factory: Factory, shape: tuple[int, ...], classes: int) -> bool:
    """Return whether a model is made of matrix products and functions of one value only.

    Examples
    --------
    >>> from detox_sim.models import cnn, mlp
    >>> is_dense(mlp, (1, 8, 8), 10), is_dense(cnn, (1, 8, 8), 10)
    (True, False)
    """
    import torch

    with torch.device("meta"):
        return all(_is_dense(module) for module in factory(shape, classes).modules())


def _is_dense(module: "torch.nn.Module") -> bool:
    """Say whether `vmap` over files pays: matrix products, and functions of one image's values."""
    from torch import nn

    values = (nn.Identity, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LogSoftmax)
    return type(module) in (nn.Sequential, nn.Flatten, nn.Linear, *values)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch and BLAS on one thread, so that bits repeat and processes do not crowd."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
