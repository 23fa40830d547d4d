"""What a model sees of images: values scaled to 0..1, less the mean, over the deviation."""

import numpy as np
import torch

from detox_sim.primitives.cpu.compiled import kernel, read_only


def scaled(
    images: torch.Tensor,
    mean: torch.Tensor,
    deviation: torch.Tensor,
    chosen: np.ndarray | None = None,
) -> torch.Tensor:
    """Return what a model sees of images, a new float32 tensor.

    Parameters
    ----------
    images : tensor (n, channels, height, width)
        uint8, or float32 in 0..1.
    mean, deviation : float32 tensor (channels,)
    chosen : int (m,), optional
        Which images; by default all.

    Examples
    --------
    >>> images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    >>> scaled(images, torch.tensor([0.5]), torch.tensor([0.25]), np.array([1])).flatten()
    tensor([2.])
    """
    if images.dtype == torch.uint8 and images.device.type == "cpu":
        chosen = np.arange(len(images)) if chosen is None else chosen
        values = np.empty((len(chosen), *images.shape[1:]), np.float32)
        lines = values.reshape(*values.shape[:2], -1)
        given = images.flatten(2).numpy(), chosen, mean.numpy(), deviation.numpy()
        _scale_bytes(lines, *(read_only(array) for array in given))
        return torch.from_numpy(values)
    if chosen is not None:
        images = images.index_select(0, torch.from_numpy(chosen).to(images.device))
    seen = images.to(torch.float32, copy=True)  # changed in place: new memory takes longer
    if images.dtype == torch.uint8:
        seen /= 255
    seen -= mean[:, None, None]
    seen /= deviation[:, None, None]
    return seen


@kernel
def _scale_bytes(seen, images, chosen, mean, deviation):
    """Do in one pass what takes torch five; the bits are the same."""
    full = np.float32(255)
    for i in range(chosen.size):
        for c in range(mean.size):
            source, target = images[chosen[i], c], seen[i, c]
            for k in range(source.size):
                target[k] = (np.float32(source[k]) / full - mean[c]) / deviation[c]
