"""What the server receives in one step."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from detox_sim.arrays import namespace


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
    first : array (n, d)
        Row i < files is the honest gradient of file i.
    row_of : numpy.ndarray of int (files, copies)
        The row that each copy is; -1 for a copy that did not arrive.
    search : Search or None
        Set by an attack that searched for what to send.
    more : array (m, d) or None
        The rows after these, apart, so that an attack need not copy the honest ones.
    rows : array (n + m, d)
        All rows; `first` itself where there are no more, else a copy, made when it is first read.

    Raises
    ------
    ValueError
        When `more` has rows of another length or type than `first`.

    Examples
    --------
    >>> forged = np.array([[0, 0, 2], [1, 1, 1]])  # row 2 is the third copy of file 0
    >>> Messages(np.array([[1.0], [2.0], [-9.0]]), forged).row_of[0].tolist()
    [0, 0, 2]
    >>> Messages(np.array([[1.0], [2.0]]), forged, more=np.array([[-9.0]])).rows.tolist()
    [[1.0], [2.0], [-9.0]]
    """

    first: Any
    row_of: np.ndarray
    search: Search | None = None
    more: Any = None

    def __post_init__(self) -> None:
        more = self.more
        if more is None:
            return
        if more.shape[1:] != self.first.shape[1:] or more.dtype != self.first.dtype:
            raise ValueError(
                f"more must be rows of {self.first.shape[1]} values of type {self.first.dtype}, "
                f"as first; got {more.dtype} of shape {tuple(more.shape)}"
            )

    @functools.cached_property
    def rows(self) -> Any:
        if self.more is None:
            return self.first
        return namespace(self.first).concat([self.first, self.more])

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
