"""Facts of a model before it is trained: whether it fits the data, and its operations.

They are found on the CPU: torch's device "meta", which allocates nothing, imports the compiler,
which takes longer than this with small models.
"""

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from detox_sim.models.flat import Factory


@functools.lru_cache  # called for each cell of a sweep
def check(factory: "Factory", shape: tuple[int, ...], classes: int, images: int = 2) -> None:
    """Raise unless the model can be trained on files of that many images.

    Raises
    ------
    ValueError
        When the factory builds no model, or one that does not fit images or classes.

    Examples
    --------
    >>> from detox_sim.models import mlp
    >>> check(mlp, (1, 8, 8), 10)
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        module = factory(shape, classes)
        if not isinstance(module, torch.nn.Module) or not list(module.parameters()):
            raise ValueError(f"a model is a torch.nn.Module with parameters, got {module!r}")
        size = "x".join(map(str, shape))
        before = _buffer_versions(module)
        try:
            scores = module(torch.zeros(images, *shape))
        except (RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"cannot train on {images} images of {size} at once: {reason}"
            ) from error
    after = _buffer_versions(module)
    changed = [name for name, version in before.items() if after.get(name) != version]
    if changed:
        raise ValueError(
            f"a forward pass changes the buffer {changed[0]!r}, so that copies of a file would "
            "differ; only the running statistics of batch norms are kept apart"
        )
    if tuple(scores.shape) != (images, classes):
        raise ValueError(
            f"a model gives scores (images, classes) = ({images}, {classes}), "
            f"got {tuple(scores.shape)}"
        )


def _buffer_versions(module: "torch.nn.Module") -> dict[str, tuple]:
    """Return identity and version of all buffers except those of batch norms.

    Running statistics of instance norms, whose changes torch does not count, differ at each call.
    Other changes that torch does not count (`functional.batch_norm` on other buffers, `.data`) are
    not found.
    """
    from torch.nn.modules import batchnorm, instancenorm

    found: dict[str, tuple] = {}
    for path, each in module.named_modules():
        if isinstance(each, batchnorm._BatchNorm):
            continue
        uncounted = isinstance(each, instancenorm._InstanceNorm) and each.track_running_stats
        for name, buffer in each.named_buffers(path, recurse=False):
            found[name] = (id(buffer), object() if uncounted else buffer._version)
    return found


@functools.lru_cache  # called for each run
def sample_flops(factory: "Factory", shape: tuple[int, ...], classes: int) -> int:
    """Count the floating-point operations of the gradient of one image, products and sums.

    Counted are matrix products and convolutions, forward and backward, which are nearly all.

    Parameters
    ----------
    factory : callable
        ``factory(shape, classes) -> torch.nn.Module``.
    shape : tuple of int
        (channels, height, width).
    classes : int

    Examples
    --------
    >>> from detox_sim.models import softmax
    >>> sample_flops(softmax, (1, 8, 8), 10) == 2 * (2 * 64 * 10)
    True
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):  # torch's FlopCounterMode imports the compiler
        total = 0

        @classmethod
        def _should_skip_dynamo(cls):
            return False  # nothing is compiled here

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            operations = flop_registry.get(function._overloadpacket)
            if operations is not None:
                self.total += operations(*args, **(kwargs or {}), out_val=result)
            return result

    with torch.random.fork_rng(devices=[]):
        module = factory(shape, classes).eval()
        with Counter() as counter:
            module(torch.zeros(1, *shape)).sum().backward()
    return int(counter.total)


@functools.lru_cache  # called for each cell of a sweep
def is_dense(factory: "Factory", shape: tuple[int, ...], classes: int) -> bool:
    """Return whether a model has only matrix products and functions of one image's values.

    The gradients of such a model are computed in one `vmap` over the files.

    Examples
    --------
    >>> from detox_sim.models import cnn, mlp
    >>> is_dense(mlp, (1, 8, 8), 10), is_dense(cnn, (1, 8, 8), 10)
    (True, False)
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        return all(dense_layer(module) for module in factory(shape, classes).modules())


def dense_layer(module: "torch.nn.Module") -> bool:
    """Return whether a layer is a matrix product or a function of one image's values."""
    from torch import nn

    values = (nn.Identity, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LogSoftmax)
    return type(module) in (nn.Sequential, nn.Flatten, nn.Linear, *values)
