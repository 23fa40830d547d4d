"""Exact laws and bounds of what is lost to Byzantine workers; no arrays of gradients.

A vote is lost when more than half of the holders of its file are Byzantine: drawn at random, or
placed by attackers who know the assignment.
"""

from detox_sim.theory.bounds import (
    BOUNDS,
    complexity,
    complexity_markdown,
    expected_distorted_files_bound,
    hierarchical_error,
    high_probability_distorted_files,
    recommended_copies,
)
from detox_sim.theory.captures import distorted_files_law
from detox_sim.theory.groups import check_nodes as check_nodes
from detox_sim.theory.groups import distorted_files, expected_distorted_files
from detox_sim.theory.pipelines import condition_violated, withstands, worst_condition
from detox_sim.theory.worst_case import (
    second_moment_bound,
    spectral_bound,
    worst_case_distorted_files,
)

__all__ = [
    "distorted_files",
    "expected_distorted_files",
    "distorted_files_law",
    "worst_case_distorted_files",
    "spectral_bound",
    "second_moment_bound",
    "expected_distorted_files_bound",
    "BOUNDS",
    "recommended_copies",
    "high_probability_distorted_files",
    "hierarchical_error",
    "withstands",
    "condition_violated",
    "worst_condition",
    "complexity",
    "complexity_markdown",
]
