"""Gradients of convolutional models, several files in one pass, with the bits of a file by itself.

Layers see the images of all files of a pass as one batch. What autograd would sum over the batch is
kept apart by file: a convolution's gradient in its kernel is computed file after file, and a batch
norm takes the channels of each file for channels of their own. On small images the calls of a pass
cost more than its arithmetic, so that one pass for several files takes less time.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten


def serves(module: torch.nn.Module) -> bool:
    """Return whether `gradients` serves a model.

    All its modules must be layers named here, each used once, or have an attribute
    ``image_by_image`` that is true: their own code then treats each image by itself.

    Examples
    --------
    >>> from torch import nn
    >>> layers = [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)]
    >>> serves(nn.Sequential(*layers)), serves(nn.Sequential(*layers, nn.Dropout()))
    (True, False)
    """
    distinct = list(module.modules())
    uses = sum(1 for _ in module.named_modules(remove_duplicate=False))
    return len(distinct) == uses and all(_served(each) for each in distinct)


def _served(module: torch.nn.Module) -> bool:
    from torch import nn

    if type(module) is nn.Conv2d:
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    if type(module) is nn.BatchNorm2d:
        return module.affine and module.track_running_stats
    if type(module) is nn.Flatten:
        return (module.start_dim, module.end_dim) == (1, -1)
    by_itself = nn.ReLU, nn.Tanh, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d
    return type(module) in (nn.Sequential, nn.Linear, *by_itself) or getattr(
        module, "image_by_image", False
    )


def gradients(
    module: torch.nn.Module,
    leaves: "Sequence[torch.nn.Parameter]",
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: torch.Tensor,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Write the gradient of each file to its row; return its loss and its batch statistics.

    Parameters
    ----------
    module : torch.nn.Module
        In training mode; one that this module `serves`.
    leaves : sequence of torch.nn.Parameter
        All parameters of the module, in their order.
    images : tensor (files, images, channels, height, width)
    labels : int64 tensor (files, images)
    rows : tensor (files, d)
        Is overwritten.

    Returns
    -------
    losses : tensor (files,)
        Mean cross-entropy.
    statistics : list of tensor (files, channels)
        Mean and unbiased variance of the inputs of each batch norm, in the order of use.
    """
    files, size = labels.shape
    pieces = rows.split([leaf.numel() for leaf in leaves], dim=1)
    targets = {
        id(leaf): piece.view(files, *leaf.shape) for leaf, piece in zip(leaves, pieces, strict=True)
    }
    apart = _Apart(files, targets)
    with apart:
        scores = module(images.flatten(0, 1))
    with torch.no_grad():
        each = zip(scores.split(size), labels, strict=True)
        losses = torch.stack([functional.cross_entropy(part, target) for part, target in each])
        logarithms = torch.log_softmax(scores, 1)
        pulled = torch.zeros_like(scores).scatter_(1, labels.reshape(-1, 1), -1.0 / size)
        start = aten._log_softmax_backward_data(pulled, logarithms, 1, pulled.dtype)
    scores.backward(start)
    return losses, apart.statistics


class _Apart(TorchFunctionMode):
    """In this context layers with parameters write the gradients of each file to its target."""

    def __init__(self, files: int, targets: dict[int, torch.Tensor]):
        super().__init__()
        self.files, self.targets = files, targets
        self.statistics: list[torch.Tensor] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.conv2d:
            return _Convolution.apply(self, *args, **kwargs)
        if function is functional.linear:
            return _Linear.apply(self, *args, **kwargs)
        if function is functional.batch_norm:
            return self._normed(*args, **kwargs)
        return function(*args, **kwargs)

    def _normed(self, images, mean, variance, weight, bias, training, momentum, eps):
        return _Norm.apply(self, images, weight, bias, eps)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, apart, images, kernel, bias, stride, padding, dilation, groups):
        context.apart, context.kernel, context.bias = apart, kernel, bias
        context.how = stride, padding, dilation, False, (0, 0), groups
        context.save_for_backward(images)
        return torch.convolution(images, kernel, bias, *context.how)

    @staticmethod
    def backward(context: Any, gradient):
        (images,) = context.saved_tensors
        kernel, bias, how, apart = context.kernel, context.bias, context.how, context.apart
        biased = bias is not None
        sizes = [len(bias)] if biased else None
        parts = gradient.chunk(apart.files), images.chunk(apart.files)
        for file, (pulled, seen) in enumerate(zip(*parts, strict=True)):
            wanted = [False, True, biased]
            found = aten.convolution_backward(pulled, seen, kernel, sizes, *how, wanted)
            apart.targets[id(kernel)][file] = found[1]
            if biased:
                apart.targets[id(bias)][file] = found[2]
        before = None
        if context.needs_input_grad[1]:
            wanted = [True, False, False]
            before = aten.convolution_backward(gradient, images, kernel, sizes, *how, wanted)[0]
        return None, before, *[None] * 6


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, apart, images, weight, bias):
        context.apart, context.weight, context.bias = apart, weight, bias
        context.save_for_backward(images)
        parts = images.chunk(apart.files)
        return torch.cat([functional.linear(part, weight, bias) for part in parts])

    @staticmethod
    def backward(context: Any, gradient):
        (images,) = context.saved_tensors
        weight, bias, apart = context.weight, context.bias, context.apart
        parts = gradient.chunk(apart.files), images.chunk(apart.files)
        for file, (pulled, seen) in enumerate(zip(*parts, strict=True)):
            apart.targets[id(weight)][file] = pulled.t().mm(seen)
            if bias is not None:
                apart.targets[id(bias)][file] = pulled.sum(0)
        before = None
        if context.needs_input_grad[1]:
            before = torch.cat([pulled.mm(weight) for pulled in parts[0]])
        return None, before, None, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, apart, images, weight, bias, eps):
        files, channels = apart.files, len(weight)
        grouped = _grouped(images, files)
        scale, shift = weight.repeat(files), bias.repeat(files)
        mean, variance = torch.zeros_like(scale), torch.ones_like(scale)
        result, *saved = aten.native_batch_norm(
            grouped, scale, shift, mean, variance, True, 1.0, eps
        )
        apart.statistics += [mean.view(files, channels), variance.view(files, channels)]
        context.apart, context.weight, context.bias, context.eps = apart, weight, bias, eps
        context.save_for_backward(grouped, scale, *saved)
        return _ungrouped(result, files)

    @staticmethod
    def backward(context: Any, gradient):
        grouped, scale, *saved = context.saved_tensors
        apart, targets = context.apart, context.apart.targets
        before, of_weight, of_bias = aten.native_batch_norm_backward(
            _grouped(gradient, apart.files), grouped, scale, None, None, *saved, True,
            context.eps, [True, True, True],
        )  # fmt: skip
        for leaf, found in ((context.weight, of_weight), (context.bias, of_bias)):
            targets[id(leaf)].copy_(found.view(apart.files, -1))
        return None, _ungrouped(before, apart.files), None, None, None


def _grouped(images: torch.Tensor, files: int) -> torch.Tensor:
    """Return (files x images, channels, ...) as (images, files x channels, ...)."""
    _, channels, *size = images.shape
    apart = images.reshape(files, -1, channels, *size)
    return apart.transpose(0, 1).reshape(-1, files * channels, *size)


def _ungrouped(grouped: torch.Tensor, files: int) -> torch.Tensor:
    """Return what `_grouped` was given."""
    _, channels, *size = grouped.shape
    apart = grouped.view(-1, files, channels // files, *size)
    return apart.transpose(0, 1).reshape(-1, channels // files, *size)
