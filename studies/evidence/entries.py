"""The claims of the paper as checked values: what ``reports/claims.toml`` may say."""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from detox_sim.catalogue import check_known
from studies.evidence import verdicts

REPORTS = Path(__file__).parents[2] / "reports"
PROFILES = ("smoke", "laptop", "paper")  # the largest last
TAGS = ("P", "C", "F", "M+", "M", "M-", "D")
CASES = ("all", "any")
RULE = ("study", "profiles", "scale", "kind", "variable", "left")
NEEDS = {"greater": ("right",), "ratio": ("right",), "value": ("number", "tolerance")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """One entry of ``claims.toml``; its head says what each key means."""

    id: str
    text: str
    where: str
    tag: str
    reported: str
    study: str = ""
    profiles: list = dataclasses.field(default_factory=list)
    scale: str = ""
    kind: str = ""
    variable: str = ""
    at: dict = dataclasses.field(default_factory=dict)
    reduce: dict = dataclasses.field(default_factory=dict)
    against: str = ""
    left: dict | float | None = None
    right: dict | float | None = None
    over: str = "all"
    sample: str = "seed"
    exact: bool = False
    never: str = ""
    margin: float = 0.0
    paper_margin: float | None = None
    number: float | None = None
    tolerance: float | None = None
    deviations: list = dataclasses.field(default_factory=list)
    untested: str = ""
    finding: str = ""

    def selected(self) -> set[str]:
        """Return the axes of which the claim names labels: cutting down others changes it."""
        sides = [side for side in (self.at, self.left, self.right) if isinstance(side, dict)]
        return {name for side in sides for name in side}

    def asks_direction(self) -> bool:
        """Return whether below the paper's scale only the direction of its number is asked."""
        neutral = self.margin == (1.0 if self.kind == "ratio" else 0.0)
        measured = isinstance(self.left, dict) and isinstance(self.right, dict)
        return self.number is not None and neutral and measured


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """What a dataset must state to be of the paper's scale."""

    text: str
    says: str = ""
    labels: dict = dataclasses.field(default_factory=dict)
    fields: dict = dataclasses.field(default_factory=dict)
    at_least: dict = dataclasses.field(default_factory=dict)

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


def read(path: Path = REPORTS / "claims.toml") -> tuple[list[Claim], dict[str, Scale]]:
    """Return the claims and the scales of a file.

    Raises
    ------
    ValueError
        For an entry that breaks a rule; names the claim and the key.

    Examples
    --------
    >>> claims, scales = read()
    >>> all(claim.untested or claim.scale in scales for claim in claims)
    True
    """
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    scales = {
        name: _entry(Scale, f"scale {name}", table)
        for name, table in content.get("scales", {}).items()
    }
    rules = content.get("rules", {})
    claims = [_entry(Claim, *_whole(table, rules)) for table in content.get("claim", [])]
    for claim in claims:
        _check(claim, scales)
    ids = [claim.id for claim in claims]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice:
        raise ValueError(f"claim {twice}: id is there twice")
    return claims, scales


def _whole(table: Mapping[str, Any], rules: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of a claim for errors, and its keys with those of its rule."""
    name, own = f"claim {table.get('id', '?')}", dict(table)
    rule = own.pop("rule", None)
    if rule is None:
        return name, own
    check_known(f"rule of {name}:", [rule], rules)
    return name, rules[rule] | own


def _entry(kind: type, name: str, table: Mapping[str, Any]) -> Any:
    """Return a table of the file as a dataclass, its keys and their types checked."""
    known = {field.name: field for field in dataclasses.fields(kind)}
    check_known(f"key of {name}:", table, known)
    for key, field in known.items():
        if key not in table:
            if field.default is field.default_factory is dataclasses.MISSING:
                raise ValueError(f"{name}: {key} is missing")
            continue
        value, allowed = table[key], cast(Any, field.type)
        number = type(value) is int and isinstance(1.0, allowed)
        if not (number or isinstance(value, allowed)):
            wanted = getattr(allowed, "__name__", allowed)
            raise ValueError(f"{name}: {key} must be of type {wanted}, got {value!r}")
    return kind(**table)


def _check(claim: Claim, scales: Mapping[str, Scale]) -> None:
    """Raise for a claim whose keys do not go together."""
    name = f"claim {claim.id}"
    check_known(f"{name}: tag", [claim.tag], TAGS)
    if claim.untested:
        given = [key for key in RULE if getattr(claim, key) not in ("", [], None)]
        if given:
            raise ValueError(f"{name}: {given[0]} and untested exclude each other")
        return
    check_known(f"{name}: kind", [claim.kind], verdicts.KINDS)
    for key in (*RULE, *NEEDS[claim.kind]):
        if getattr(claim, key) in ("", [], None):
            raise ValueError(f"{name}: {key} is missing; a claim has a rule, or says untested")
    check_known(f"{name}: over", [claim.over], CASES)
    check_known(f"{name}: profiles", claim.profiles, PROFILES)
    check_known(f"{name}: reduce", claim.reduce.values(), verdicts.REDUCTIONS)
    check_known(f"{name}: scale", [claim.scale], scales)
    for key in ("margin", "paper_margin"):
        value = getattr(claim, key)
        if claim.kind == "ratio" and value is not None and value <= 0:
            raise ValueError(f"{name}: {key} of a ratio must be above 0, got {value:g}")
    if claim.kind == "value" and claim.never:
        raise ValueError(f"{name}: never is of no use, a time not reached has no value")
    if claim.deviations and claim.paper_margin is not None:
        raise ValueError(f"{name}: paper_margin is of no use, its deviations stay at any scale")
    if "exponent" in claim.reduce.values() and not claim.against:
        raise ValueError(f"{name}: against is missing; an exponent is against a variable")
    lists = [len(v) for s in (claim.left, claim.right) if isinstance(s, dict)
             for v in s.values() if isinstance(v, list)]  # fmt: skip
    if len(set(lists)) > 1:
        raise ValueError(f"{name}: left and right pair off lists of one length, got {lists}")
