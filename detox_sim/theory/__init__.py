"""Exact laws and bounds of the number of distorted files; no arrays of gradients.

A file is distorted when more than half of the workers that hold it are Byzantine: drawn at
random, or chosen by attackers who know the assignment.

`BOUNDS` names the forms of `expected_distorted_files_bound` and says whether each is proven.
Corollary 2 of the paper is proven up to the share `PROVEN_SHARE` of Byzantine workers.
`COEFFICIENTS` is the table of what is known of the rules' robustness coefficients.

Silent data corruption: `REPORTED_CORRUPTION` holds published rates, `corruption_chance` makes a
chance a step of one, and `corrected_by_vote` and `majority_corrupt` say what a vote does about it.
"""

from detox_sim.theory.bounds import BOUNDS, expected_distorted_files_bound
from detox_sim.theory.coded import coded_spread, coded_weights, honest_mean_error
from detox_sim.theory.coefficients import (
    COEFFICIENTS,
    Coefficient,
    least_coefficient,
    robustness_coefficient,
)
from detox_sim.theory.corruption import (
    REPORTED_CORRUPTION,
    corrected_by_vote,
    corruption_chance,
    majority_corrupt,
)
from detox_sim.theory.groups import check_workers as check_workers
from detox_sim.theory.groups import distorted_files, expected_distorted_files
from detox_sim.theory.high_probability import (
    PROVEN_SHARE,
    hierarchical_error,
    high_probability_distorted_files,
    high_probability_share,
    recommended_copies,
)
from detox_sim.theory.orders_of_work import complexity, complexity_markdown
from detox_sim.theory.pipelines import (
    condition_violated,
    least_error,
    withstands,
    worst_condition,
)
from detox_sim.theory.random_placements import distorted_files_law
from detox_sim.theory.reactive import (
    expected_accepted,
    expected_efficiency,
    expected_gradients,
    expected_steps_to_last_exclusion,
    unexposed_law,
)
from detox_sim.theory.reactive import unchecked_files as unchecked_files
from detox_sim.theory.worst_case import worst_case_distorted_files
from detox_sim.theory.worst_case_bounds import second_moment_bound, spectral_bound

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
    "high_probability_share",
    "PROVEN_SHARE",
    "hierarchical_error",
    "withstands",
    "condition_violated",
    "worst_condition",
    "least_error",
    "expected_gradients",
    "expected_efficiency",
    "expected_accepted",
    "expected_steps_to_last_exclusion",
    "unexposed_law",
    "robustness_coefficient",
    "least_coefficient",
    "COEFFICIENTS",
    "Coefficient",
    "corrected_by_vote",
    "majority_corrupt",
    "corruption_chance",
    "REPORTED_CORRUPTION",
    "coded_weights",
    "coded_spread",
    "honest_mean_error",
    "complexity",
    "complexity_markdown",
]
