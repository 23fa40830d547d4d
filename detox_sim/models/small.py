"""Small models that train in seconds on a laptop."""

import math
from typing import TYPE_CHECKING

from detox_sim.catalogue import check_integer

if TYPE_CHECKING:
    import torch


def softmax(shape: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Build multinomial logistic regression.

    Examples
    --------
    >>> from detox_sim.models import Model
    >>> Model(softmax, (1, 8, 8), 10).parameters
    650
    """
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))


def mlp(shape: tuple[int, ...], classes: int, *, hidden: int = 64) -> "torch.nn.Module":
    """Build a perceptron with one hidden layer of `hidden` ReLU units.

    Examples
    --------
    >>> from detox_sim.models import Model
    >>> Model(mlp, (1, 8, 8), 10).parameters
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
    >>> from detox_sim.models import Model
    >>> Model(cnn, (1, 8, 8), 10).parameters
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


def lenet5(shape: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Build LeNet-5 with ReLU and maximum pooling, as it is usually built today.

    Images smaller than 32 x 32 are padded by 2 pixels, so that 28 x 28 fit as in the original.

    Examples
    --------
    >>> from detox_sim.models import Model
    >>> Model(lenet5, (1, 28, 28), 10).parameters
    61706

    References
    ----------
    LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition, 1998;
    its squashing functions, trained pooling and sparse connections are left out.
    """
    from torch import nn

    channels, height, width = shape
    if min(height, width) < 12:
        raise ValueError(f"lenet5 needs images of 12 x 12 or more, got {height} x {width}; use cnn")
    padding = 2 if min(height, width) < 32 else 0
    sides = [((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width)]
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * math.prod(sides), 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )
