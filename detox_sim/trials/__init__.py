"""A trial and what performs one step of it, in one process.

`Trial` is what one run is, as plain values. `LearningTask` is what it learns, `Pipeline` what
happens to the gradients, `State` what outlives a step, and `ParameterServer` what
`detox_sim.training.step` needs to perform one: `OneProcessServer` here, two more in
`detox_sim.cluster`. `PHASES` are the phases of a step whose seconds a history holds.
"""

from detox_sim.trials.learning_task import LearningTask
from detox_sim.trials.one_process import OneProcessServer
from detox_sim.trials.outcome import Outcome
from detox_sim.trials.pipeline import Pipeline, Placement
from detox_sim.trials.server import PHASES, ParameterServer, Traffic
from detox_sim.trials.state import State
from detox_sim.trials.trial import Trial, make_trial

__all__ = [
    "PHASES",
    "LearningTask",
    "OneProcessServer",
    "Outcome",
    "ParameterServer",
    "Pipeline",
    "Placement",
    "State",
    "Traffic",
    "Trial",
    "make_trial",
]
