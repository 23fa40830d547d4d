"""Exact laws and bounds of what is lost to Byzantine workers; no arrays of gradients.

A vote is lost when more than half of the holders of its file are Byzantine: drawn at random, or
placed by attackers who know the assignment.
"""

from detox_sim.theory.bounds import (
    BOUNDS,
    complexity,
    complexity_markdown,
    expected_lost_votes_bound,
    hierarchical_error,
    high_probability_lost_votes,
    recommended_copies,
)
from detox_sim.theory.captures import lost_votes_law
from detox_sim.theory.groups import check_nodes as check_nodes
from detox_sim.theory.groups import expected_lost_votes, lost_votes
from detox_sim.theory.pipelines import condition_violated, withstands, worst_condition
from detox_sim.theory.worst_case import (
    second_moment_bound,
    spectral_bound,
    worst_case_lost_votes,
)

__all__ = [
    "lost_votes",
    "expected_lost_votes",
    "lost_votes_law",
    "worst_case_lost_votes",
    "spectral_bound",
    "second_moment_bound",
    "expected_lost_votes_bound",
    "BOUNDS",
    "recommended_copies",
    "high_probability_lost_votes",
    "hierarchical_error",
    "withstands",
    "condition_violated",
    "worst_condition",
    "complexity",
    "complexity_markdown",
]
