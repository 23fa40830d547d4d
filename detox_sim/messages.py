"""What the server receives in one step."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Search(NamedTuple):
    """The objective evaluations of an attack's search, and the best value found."""

    evaluations: int
    value: float


@dataclass(frozen=True)
class Messages:
    """The copies of file gradients that the server receives.

    Honest copies of a file are the same bits, so a row is stored once and `row_of` says
    which row each copy is. Votes give the same bits where every copy is a row of its own.

    Attributes
    ----------
    rows : array (files + forged rows, d)
        Row i < files is the honest gradient of file i.
    row_of : numpy.ndarray of int (files, copies)
        The row that each copy is; -1 for a copy that did not arrive.
    search : Search or None
        Set by an attack that searched for what to send.

    Examples
    --------
    >>> forged = np.array([[0, 0, 2], [1, 1, 1]])  # row 2 is the third copy of file 0
    >>> Messages(np.array([[1.0], [2.0], [-9.0]]), forged).row_of[0].tolist()
    [0, 0, 2]
    """

    rows: Any
    row_of: np.ndarray
    search: Search | None = None

    def all_arrived(self, vote: str) -> np.ndarray:
        """Return `row_of`, or raise for a vote that needs every copy if one did not arrive.

        Examples
        --------
        >>> Messages(np.ones((1, 1)), np.array([[0, -1, 0]])).all_arrived("streaming")
        Traceback (most recent call last):
        ValueError: vote 'streaming' needs every copy, but 1 of 3 did not arrive; use 'majority'
        """
        late = int((self.row_of < 0).sum())
        if late:
            raise ValueError(
                f"vote {vote!r} needs every copy, but {late} of {self.row_of.size} did not "
                "arrive; use 'majority'"
            )
        return self.row_of


def check_messages(messages: object) -> None:
    """Raise unless these are Messages.

    Examples
    --------
    >>> check_messages([[1.0], [1.0]])
    Traceback (most recent call last):
    ValueError: a vote is held on Messages, as attacks return them, got list
    """
    if not isinstance(messages, Messages):
        found = type(messages).__name__
        raise ValueError(f"a vote is held on Messages, as attacks return them, got {found}")
