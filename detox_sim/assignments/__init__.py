"""Which workers compute a file: ``assignment(workers, copies, *, rng=None, **options) -> holders``.

`holders` is an integer array (files, copies): the worker of each copy of each file. The copies
of a file are on distinct workers, every worker has the same load (files), and copies are odd, so
that a vote has a majority. `rng` is the stream of one round; without it the holders are those that
an attacker can know. The assignments of Election Coding (`UNEQUAL`) are for an encoding, without a
vote: workers have unequal loads, and `holders` is padded with -1.

A new assignment touches two places: the function, with its name in `__all__`, and its sizes in the
list of cases in ``tests/assignments/test_assignments.py``. An assignment outside the package needs
neither: a trial names it ``"module:function"``.
"""

from detox_sim.assignments.designs import bibd, subsets
from detox_sim.assignments.elections import bernoulli, election
from detox_sim.assignments.expanders import mols, ramanujan, random_regular
from detox_sim.assignments.repetition import cyclic, detox, none

__all__ = [
    "none",
    "detox",
    "mols",
    "ramanujan",
    "subsets",
    "bibd",
    "random_regular",
    "cyclic",
    "election",
    "bernoulli",
]

UNEQUAL = ("election", "bernoulli")
