"""What is known of a model before it is allocated: whether it fits, and its work."""

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detox_sim.models.flat import Factory


@functools.lru_cache  # a sweep asks the same of a model for each of its cells
def check(factory: "Factory", shape: tuple[int, ...], classes: int, images: int = 2) -> None:
    """Build the model, and show it a file of that many images, without allocating anything.

    Raises
    ------
    ValueError
        When it is no model, or does not fit.

    Examples
    --------
    >>> from detox_sim.models import mlp
    >>> check(mlp, (1, 8, 8), 10)
    """
    import torch

    with torch.device("meta"):
        module = factory(shape, classes)
        if not isinstance(module, torch.nn.Module) or not list(module.parameters()):
            raise ValueError(f"a model is a torch.nn.Module with parameters, got {module!r}")
        size = "x".join(map(str, shape))
        before = _others(module)
        try:
            scores = module(torch.empty(images, *shape))
        except (RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"cannot train on {images} images of {size} at once: {reason}"
            ) from error
    after = _others(module)
    changed = [name for name, seen in before.items() if after.get(name) != seen]
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


def _others(module) -> dict[str, tuple]:
    """Return identity and version of the buffers, but for those of batch norms.

    Those of instance norms, which torch changes unseen, are never the same. What else changes
    unseen (`functional.batch_norm` on buffers of one's own, `.data`) is not found.
    """
    from torch.nn.modules import batchnorm, instancenorm

    found: dict[str, tuple] = {}
    for path, each in module.named_modules():
        if isinstance(each, batchnorm._BatchNorm):
            continue
        unseen = isinstance(each, instancenorm._InstanceNorm) and each.track_running_stats
        for name, buffer in each.named_buffers(path, recurse=False):
            found[name] = (id(buffer), object() if unseen else buffer._version)
    return found


def sample_flops(factory: "Factory", shape: tuple[int, ...], classes: int) -> int:
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
    >>> from detox_sim.models import softmax
    >>> sample_flops(softmax, (1, 8, 8), 10) == 2 * (2 * 64 * 10)
    True
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.device("meta"):
        module = factory(shape, classes).eval()
        with counter:
            module(torch.empty(1, *shape)).sum().backward()
    return int(counter.get_total_flops())
