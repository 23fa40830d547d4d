"""What the server receives in one round."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.primitives import take


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
        The row that each copy is.

    Examples
    --------
    >>> true = Messages(np.array([[1.0], [2.0]]), np.array([[0, 0, 0], [1, 1, 1]]))
    >>> true.copied().rows.shape
    (8, 1)
    """

    rows: Any
    row_of: np.ndarray

    def copied(self) -> "Messages":
        """Return the same messages with each copy a row of its own, after the true rows."""
        xp = namespace(self.rows)
        files = self.row_of.shape[0]
        copies = take(self.rows, self.row_of.ravel())
        rows = xp.concat([self.rows[:files, :], copies])
        return Messages(rows, files + np.arange(self.row_of.size).reshape(self.row_of.shape))
