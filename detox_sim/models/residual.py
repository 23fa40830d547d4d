"""The paper's models ResNet-18 and VGG13, and smaller residual networks, with batch norm."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def resnet18(shape: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Build ResNet-18 in the form for CIFAR: 3 x 3 stem, no pooling after it.

    Examples
    --------
    >>> from detox_sim.models import Model
    >>> Model(resnet18, (3, 32, 32), 10).parameters
    11173962

    References
    ----------
    He, Zhang, Ren, Sun, Deep residual learning for image recognition, CVPR 2016; with 1 x 1
    projection shortcuts, as in the DETOX code.
    """
    return _resnet(shape, classes, widths=(64, 128, 256, 512), blocks=2)


def resnet20(shape: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Build ResNet-20 for CIFAR: 3 x 3 blocks of 16, 32 and 64 channels.

    Examples
    --------
    >>> from detox_sim.models import Model
    >>> Model(resnet20, (3, 32, 32), 10).parameters
    272474

    References
    ----------
    He et al., CVPR 2016; with 1 x 1 projection shortcuts in place of zero padding.
    """
    return _resnet(shape, classes, widths=(16, 32, 64), blocks=3)


def resnet8(shape: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Build a residual network as `resnet20` with one block of each width instead of three.

    Examples
    --------
    >>> from detox_sim.models import Model
    >>> Model(resnet8, (3, 32, 32), 10).parameters
    78042
    """
    return _resnet(shape, classes, widths=(16, 32, 64), blocks=1)


def _resnet(
    shape: tuple[int, ...], classes: int, widths: Sequence[int], blocks: int
) -> "torch.nn.Module":
    from torch import nn

    first = widths[0]
    layers: list[nn.Module] = [*_convolution(shape[0], first, 3, 1), nn.ReLU()]
    channels = first
    for width in widths:
        for block in range(blocks):
            stride = 2 if block == 0 and width != first else 1
            layers.append(_block(channels, width, stride))
            channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )


def _convolution(channels: int, width: int, kernel: int, stride: int) -> "list[torch.nn.Module]":
    from torch import nn

    return [
        nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width),
    ]


def _block(channels: int, width: int, stride: int) -> "torch.nn.Module":
    from torch import nn

    class Block(nn.Module):
        image_by_image = True  # of `models.at_once`

        def __init__(self) -> None:
            super().__init__()
            first = _convolution(channels, width, 3, stride)
            self.residual = nn.Sequential(*first, nn.ReLU(), *_convolution(width, width, 3, 1))
            same = stride == 1 and channels == width
            projection = [] if same else _convolution(channels, width, 1, stride)
            self.shortcut = nn.Sequential(*projection)

        def forward(self, images):
            return nn.functional.relu(self.residual(images) + self.shortcut(images))

    return Block()


def vgg13_bn(shape: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Build VGG13 with batch norm in the form for CIFAR: one linear layer after five poolings.

    Kernels are drawn from N(0, 2 / (9 width)), the linear layer from N(0, 0.01^2).

    Examples
    --------
    >>> from detox_sim.models import Model
    >>> Model(vgg13_bn, (3, 32, 32), 100).parameters
    9462180

    References
    ----------
    Simonyan and Zisserman, Very deep convolutional networks, ICLR 2015 (configuration B); form
    and initial parameters as in the DETOX code.
    """
    from torch import nn

    channels, height, width = shape
    if (height, width) != (32, 32):
        raise ValueError(f"vgg13_bn needs images of 32 x 32, got {height} x {width}; use resnet18")
    layers: list[nn.Module] = []
    for width in (64, 128, 256, 512, 512):
        for _ in range(2):
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            nn.init.normal_(convolution.weight, 0.0, (2 / (9 * width)) ** 0.5)
            nn.init.constant_(convolution.bias, 0.0)  # type: ignore[arg-type]
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    last = nn.Linear(channels, classes)
    nn.init.normal_(last.weight, 0.0, 0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, nn.Flatten(), last)
