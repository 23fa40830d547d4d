"""What both servers of a cluster share: a copy of the state in the driver, to continue from."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from detox_sim.arrays import to_host
from detox_sim.cluster.workers import Workers
from detox_sim.trials.state import VECTORS, State

Result = TypeVar("Result")


class SavingServer:
    """Keep the state after a step in the driver; perform later steps again when data were lost.

    Attributes
    ----------
    save_steps : int
        Steps after which the state is copied to the driver again, and Dask forgets its history.
    """

    save_steps = 10
    _workers: Workers
    _state: State

    @abstractmethod
    def _spread(self, state: State, step: int) -> State:
        """Return a state of the driver with its vectors where the server wants them."""

    @abstractmethod
    def _gather(self, step: int) -> State:
        """Return the current state with all its vectors in the driver."""

    def restore(self, step: int, state: State) -> None:
        here = state._replace(**{name: to_host(getattr(state, name)) for name in VECTORS})
        self._workers.retry(lambda k: self._save(k, here), step, restore=lambda: step)

    def _save(self, step: int, state: State) -> int:
        """Keep the state after a step, in the driver, and spread it."""
        self._workers.refresh()
        self._state = self._spread(state, step)
        self._saved = step, state
        return step

    def state(self, step: int) -> State:
        if step != self._saved[0]:
            self._save(step, self._gather(step))
        return self._saved[1]

    def retry(self, perform: Callable[[int], Result], step: int) -> Result:
        """Perform a step; if a process took data with it, all steps from the state last saved."""

        def perform_and_save(k: int) -> Result:
            result = perform(k)
            if k - self._saved[0] >= self.save_steps:
                self.state(k)
            return result

        return self._workers.retry(perform_and_save, step, lambda: self._save(*self._saved))
