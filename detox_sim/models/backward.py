"""Gradients of dense models for all files at once, layer by layer, without autograd.

The kernels are those that a `vmap` of autograd calls, so the bits are the same (a test holds that);
for files of a few images autograd and `vmap` take ten times as long as these.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def chain(module: "torch.nn.Module") -> "list[torch.nn.Module] | None":
    """Return the layers of a model that `gradients` serves, in their order; None for another.

    Served are `torch.nn.Sequential` of one Flatten, then Linear with bias, ReLU, Tanh, Sigmoid,
    LogSoftmax over the classes and Identity, each used once.

    Examples
    --------
    >>> from torch import nn
    >>> len(chain(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))))
    2
    >>> chain(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten())) is None
    True
    """
    from torch import nn

    if type(module) is not nn.Sequential:
        return None
    first, *others = layers = list(module)
    served = (nn.Linear, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LogSoftmax, nn.Identity)
    flat = type(first) is nn.Flatten and (first.start_dim, first.end_dim) == (1, -1)
    if not flat or len({id(layer) for layer in layers}) < len(layers):
        return None
    if not all(type(layer) in served for layer in others):
        return None
    if any(type(layer) is nn.LogSoftmax and layer.dim not in (1, -1) for layer in others):
        return None
    biased = all(layer.bias is not None for layer in others if type(layer) is nn.Linear)
    return layers if biased else None


def gradients(
    layers: "Sequence[torch.nn.Module]",
    leaves: "Sequence[torch.Tensor]",
    images: "torch.Tensor",
    labels: "torch.Tensor",
    targets: "Sequence[torch.Tensor]",
) -> "torch.Tensor":
    """Return the mean cross-entropy of each file (files,); write its gradient in each leaf.

    Parameters
    ----------
    layers : sequence of torch.nn.Module
        Of `chain`.
    leaves : sequence of torch.Tensor
        Weight and bias of each Linear, in their order.
    images : tensor (files, images, channels, height, width)
    labels : int64 tensor (files, images)
    targets : sequence of tensor (files, *shape of the leaf)
        One a leaf, in any memory order; are overwritten.
    """
    import torch

    with torch.no_grad():
        backward: list[Callable[[torch.Tensor], torch.Tensor]] = []
        values, left = images.flatten(2), zip(leaves, targets, strict=True)
        for layer in layers[1:]:
            values, back = _forward(layer, values, left, last=not backward)
            backward.append(back)
        logarithms = torch.log_softmax(values, -1)
        count, chosen = labels.shape[1], labels[:, :, None]
        losses = (-logarithms.gather(2, chosen).squeeze(2)).sum(1) / count
        pulled = torch.zeros_like(logarithms).scatter_(2, chosen, -1.0 / count)
        gradient = torch.ops.aten._log_softmax_backward_data(pulled, logarithms, 2, pulled.dtype)
        for back in reversed(backward):
            gradient = back(gradient)
    return losses


def _forward(layer, values, leaves, last):
    """Return what a layer makes of values (files, images, width), and how gradients go back."""
    import torch
    from torch import nn

    aten = torch.ops.aten
    if isinstance(layer, nn.Linear):
        (weight, of_weight), (bias, of_bias) = next(leaves), next(leaves)

        def back(gradient):
            of_bias.copy_(gradient.sum(1))
            turned = gradient.transpose(1, 2)
            # In place products of one image are -0 for 0; autocast around this has other types.
            if values.shape[1] == 1 or gradient.dtype != of_weight.dtype:
                of_weight.copy_(torch.bmm(turned, values))
            else:
                torch.bmm(turned, values, out=of_weight)
            return gradient if last else gradient @ weight

        return nn.functional.linear(values, weight, bias), back
    if isinstance(layer, nn.Identity):
        return values, lambda gradient: gradient
    if isinstance(layer, nn.ReLU):
        result = values.relu()
        return result, lambda gradient: aten.threshold_backward(gradient, result, 0)
    if isinstance(layer, nn.Tanh):
        result = values.tanh()
        return result, lambda gradient: aten.tanh_backward(gradient, result)
    if isinstance(layer, nn.LogSoftmax):
        result = torch.log_softmax(values, -1)
        back_data = aten._log_softmax_backward_data
        return result, lambda gradient: back_data(gradient, result, 2, gradient.dtype)
    result = values.sigmoid()
    return result, lambda gradient: aten.sigmoid_backward(gradient, result)
