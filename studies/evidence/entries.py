"""What the paper says: the entries of ``reports/claims.toml``."""

import dataclasses
import tomllib
from pathlib import Path

from detox_sim.catalogue import check_known

PATH = Path(__file__).parents[2] / "reports" / "claims.toml"
TAGS = ("P", "C", "F", "M+", "M", "M-", "D")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """One entry of ``claims.toml``.

    Attributes
    ----------
    id : str
    text : str
        The claim in our words.
    where : str
        Its place in the paper.
    tag : str
        How it is known: P abstract or introduction; C the released code; F code of later authors;
        M+, M, M- quoted from memory with high, medium, low confidence; D derived.
    reported : str
        What the paper says, as it would be quoted.
    number : float, optional
        The reported number that a decision compares with, as a share or a factor.
    """

    id: str
    text: str
    where: str
    tag: str
    reported: str
    number: float | None = None


def read(path: Path = PATH) -> list[Claim]:
    """Return the claims of a file.

    Raises
    ------
    ValueError
        For a file that is no TOML, and for an entry with an unknown, missing or wrong key; names
        the claim and the key.

    Examples
    --------
    >>> read()[0].id
    'abstract-speed'
    """
    try:
        tables = tomllib.loads(path.read_text()).get("claim", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    claims = [_claim(table) for table in tables]
    ids = [claim.id for claim in claims]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice:
        raise ValueError(f"claim {twice}: the id occurs twice")
    return claims


def _claim(table: dict) -> Claim:
    """Return a table of the file as a Claim, its keys and their types checked."""
    name = f"claim {table.get('id', '?')}"
    known = {field.name: field for field in dataclasses.fields(Claim)}
    check_known(f"key of {name}:", table, known)
    for key, field in known.items():
        if key not in table and field.default is dataclasses.MISSING:
            raise ValueError(f"{name}: {key} is missing")
        wanted = (int, float) if key == "number" else str
        if key in table and (isinstance(table[key], bool) or not isinstance(table[key], wanted)):
            kind = "a number" if key == "number" else "a string"
            raise ValueError(f"{name}: {key} must be {kind}, got {table[key]!r}")
    check_known(f"{name}: tag", [table["tag"]], TAGS)
    return Claim(**table)
