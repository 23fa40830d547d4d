"""Votes over the copies of each file, and the hierarchy of rules over the votes.

A vote is ``vote(messages, **options) -> Votes``; the hierarchy is A0 and A1 of the DETOX paper.
A vote may ask, by a keyword of that name, for `holders` (files, copies), the worker of each copy;
`sizes`, the number of parameters of each layer; `rng`; `byzantine`, the q of the trial; and
`excluded` (workers,), the workers that it exposed before.

=========  =======================================================================
majority   a strict majority of the copies of a file
streaming  one unverified pass, as the DETOX code
clique     a majority of the workers in the largest set that agrees on all files
reactive   the first copy; others are asked for in a check, and expose who forged
cyclic     no copies: the decoder of DRACO's cyclic code
=========  =======================================================================
"""

from detox_sim.voting.decoding import cyclic
from detox_sim.voting.detection import clique
from detox_sim.voting.hierarchy import distorted_groups_assumed as distorted_groups_assumed
from detox_sim.voting.hierarchy import hierarchy as hierarchy
from detox_sim.voting.reactive import reactive
from detox_sim.voting.votes import Reaction as Reaction
from detox_sim.voting.votes import Votes as Votes
from detox_sim.voting.votes import majority, streaming

__all__ = ["majority", "streaming", "clique", "reactive", "cyclic"]
