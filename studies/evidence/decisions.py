"""How a claim is decided: which study tests it, at which scale, and the function that does."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from studies.evidence.compare import Finding
from studies.training.scale import PAPER_FIELDS, PAPER_STEPS


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a dataset must state to be of the paper's scale.

    Attributes
    ----------
    text : str
        The same in words.
    says : str
        How its own statement of scale starts, which our studies say of whole data sets only.
    task : str
        A label that its axis of tasks must have; where that has one other label, this is judged.
    fields, at_least : mapping
        Fields of its cells, and the least values of others.
    """

    text: str
    says: str = ""
    task: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    at_least: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def differences(self, stated: Mapping[str, Any]) -> list[str]:
        """Return which fields are not those of the scale, in words.

        Examples
        --------
        >>> Scale(text="", fields={"workers": 45}, at_least={"steps": 9}).differences({"steps": 5})
        ['steps 5, not 9 or more', 'not stated: workers']
        """
        wanted = [(name, value, False) for name, value in self.fields.items()]
        wanted += [(name, value, True) for name, value in self.at_least.items()]
        unstated = [name for name, *_ in wanted if name not in stated]
        return [
            f"{name} {short(stated[name])}, not {value}{' or more' * least}"
            for name, value, least in wanted
            if name in stated and not (stated[name] >= value if least else stated[name] == value)
        ] + [f"not stated: {', '.join(unstated)}"] * bool(unstated)


def short(value: object) -> str:
    """Return a value without paths: of a name what is before its colon, of options their names.

    Examples
    --------
    >>> short("images:/home/me/photos"), short({"folder": "/home/me"}), short(3)
    ('images', '{folder}', '3')
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(value)}}}"
    return value.partition(":")[0] if isinstance(value, str) else str(value)


_STEPS = {"steps": PAPER_STEPS}
RESNET18 = Scale(
    text="ResNet-18 on CIFAR-10, 45 workers, 5 Byzantine, 1440 images and momentum 0.9 a step; "
    "the paper's number of steps is not known: at least 1000",
    says="the paper's scale",
    task="ResNet-18 on CIFAR-10",
    fields=PAPER_FIELDS,
    at_least=_STEPS,
)
VGG13 = Scale(
    text="VGG13-BN on CIFAR-100, 45 workers, 5 Byzantine, 1440 images and momentum 0.9 a step; "
    "at least 1000 steps",
    says="the paper's scale",
    task="VGG13-BN on CIFAR-100",
    fields=PAPER_FIELDS,
    at_least=_STEPS,
)
CLUSTER = Scale(text="46 machines: never met here, so every claim on it has a standing deviation")
SYNTHETIC = Scale(
    text="220,000 workers, 11 copies, 19,958 Byzantine",
    fields={"workers": 220000, "copies": 11, "byzantine": 19958},
)
EXACT = Scale(text="an exact law, whatever the sizes")
SCALES = {
    "resnet18": RESNET18,
    "vgg13": VGG13,
    "cluster": CLUSTER,
    "synthetic": SYNTHETIC,
    "exact": EXACT,
}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How one claim is decided.

    Attributes
    ----------
    decide : callable
        (results, **options) -> Finding; its docstring is the statement that it tests.
    study : str
        Whose dataset it takes.
    axes : tuple of str
        On which it selects labels or has its samples: a call that changed another axis changed
        the result.
    scale : Scale
        Below it no verdict is "reproduced".
    options : mapping
    profiles : tuple of str
        Of the study; the dataset of the largest one decides.
    deviations : tuple of str
        What keeps every dataset of ours below the paper's scale.
    finding : str
        What we found out about the claim itself.
    """

    decide: Callable[..., Finding]
    study: str
    axes: tuple[str, ...]
    scale: Scale
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    profiles: tuple[str, ...] = ("laptop", "paper")
    deviations: tuple[str, ...] = ()
    finding: str = ""

    def on(self, scale: Scale) -> "Decision":
        """Return the same statement on another task."""
        return dataclasses.replace(self, scale=scale)


def on_both(claim: str, decision: Decision) -> dict[str, Decision]:
    """Return the two claims of a statement that the paper makes of both of its tasks.

    Parameters
    ----------
    claim : str
        The id of the claims, with ``{}`` for the task.
    decision : Decision

    Examples
    --------
    >>> from studies.evidence.accuracy import DECISIONS
    >>> list(on_both("some-{}-claim", DECISIONS["table-1-vgg13-median"]))
    ['some-resnet18-claim', 'some-vgg13-claim']
    """
    tasks = {"resnet18": RESNET18, "vgg13": VGG13}
    return {claim.format(name): decision.on(scale) for name, scale in tasks.items()}
