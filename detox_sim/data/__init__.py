"""Real data sets: ``dataset(**options) -> Data``, loaded once a process, never modified."""

import sys
from collections.abc import Mapping

from detox_sim.catalogue import bind
from detox_sim.data.base import Data, check
from detox_sim.data.base import hold_out as hold_out
from detox_sim.data.cifar import cifar10, cifar100
from detox_sim.data.folders import cifar10_jpeg, images
from detox_sim.data.grey import digits, fashion_mnist

__all__ = ["digits", "fashion_mnist", "cifar10", "cifar10_jpeg", "cifar100", "images"]


def load(name: str, options: Mapping[str, object] | None = None) -> Data:
    """Load the data set of that name.

    Parameters
    ----------
    name : str
        A name of the catalogue; ``"images:PATH"``, which is `images` with the option `path`;
        or ``"package.module:function"``, a function from outside that returns `Data`.
    options : mapping, optional
        Keyword arguments of the function.

    Raises
    ------
    ValueError
        When there is no such name or option, or the data are missing or damaged.

    Examples
    --------
    >>> load("digits").title
    'digits'
    >>> load("digit")
    Traceback (most recent call last):
    ValueError: unknown data set 'digit'; did you mean 'digits'? known: digits, ...
    """
    options = dict(options or {})
    if isinstance(name, str) and name.startswith("images:"):
        if "path" in options:
            raise ValueError(f"{name} names its path already; leave out the option 'path'")
        name, options["path"] = "images", name.removeprefix("images:")
    data = bind(sys.modules[__name__], name, options)()
    if not isinstance(data, Data):
        raise ValueError(f"{name} must return a detox_sim.data.Data, got {type(data).__name__}")
    if ":" in name:
        check(data)
    return data
