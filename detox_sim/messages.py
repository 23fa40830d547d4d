"""What the server receives in one round."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.primitives import take


class Search(NamedTuple):
    """What attackers spent on a search, and the best value of their objective they found."""

    evaluations: int
    value: float


@dataclass(frozen=True)
class Messages:
    """Copies of file gradients as they reach the server.

    Honest copies of a file are the same bits, so a row is stored once and `row_of` says
    which row each copy is. `copied` stores every copy for itself instead; a vote gives the
    same bits on both (a test holds that).

    Attributes
    ----------
    rows : array (files + forged rows, d)
        Row i < files is the true gradient of file i.
    row_of : numpy.ndarray of int (files, copies)
        The row that each copy is; -1 for a copy that did not arrive.
    search : Search or None
        Where the attackers searched for what they send.

    Examples
    --------
    >>> true = Messages(np.array([[1.0], [2.0]]), np.array([[0, 0, 0], [1, 1, 1]]))
    >>> true.copied().rows.shape
    (8, 1)
    """

    rows: Any
    row_of: np.ndarray
    search: Search | None = None

    def copied(self) -> "Messages":
        """Return the same messages with each copy a row of its own, after the true rows."""
        xp = namespace(self.rows)
        files, arrived = self.row_of.shape[0], self.row_of >= 0
        copies = take(self.rows, self.row_of[arrived])
        rows = xp.concat([self.rows[:files, :], copies])
        row_of = np.full(self.row_of.shape, -1)
        row_of[arrived] = files + np.arange(arrived.sum())
        return Messages(rows, row_of, self.search)

    def all_arrived(self, vote: str) -> np.ndarray:
        """Return `row_of`, or raise for a vote that cannot do without a copy.

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
