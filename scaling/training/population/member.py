"""One run of a population: its lock, its session, and what became of it, apart from the others."""

import contextlib
from collections.abc import Iterator, Mapping

import jax

from scaling.errors import InterruptedRunError, os_errors_as_bad_input
from scaling.run_directory import RunDirectory, Status
from scaling.training import run
from scaling.training.curve import RunDivergedError
from scaling.training.evaluation import DomainLoss
from scaling.training.interruption import Interruption
from scaling.training.isolation import Outcome, reported
from scaling.training.population.programs import member_step_for
from scaling.training.step import TrainState


class Member:
    """A run from its lock to its outcome.

    Attributes:
      directory: of the run.
      outcome: what became of it; None while it goes on.
      session: of its attempt, once :meth:`begin` was called.
      first_step: the step from which its attempt continues.
    """

    def __init__(self, directory: RunDirectory):
        """Touches nothing yet."""
        self.directory = directory
        self.outcome: Outcome | None = None
        self.session: run.Session | None = None
        self.first_step = 0
        self._held = contextlib.ExitStack()

    def lock(self) -> None:
        """Holds the run; one that is recorded already is over at once.

        Raises:
          BusyError: another process trains it.
          DataError: it is no run directory.
        """
        _ = self.directory.spec
        self._held.enter_context(self.directory.lock())
        record = self.directory.record()
        if record is not None:
            self._end(record["status"])

    def begin(self, interruption: Interruption, population: int) -> TrainState:
        """Begins an attempt and returns the state from which it continues, on the first device.

        Raises:
          BadInputError: data, configuration or checkpoint do not fit.
          RunDivergedError: it is a branch whose trunk diverged.
        """
        opened = run.open_session(self.directory, interruption, train_step_of=member_step_for, population=population)
        self.session = self._held.enter_context(opened)
        state = run.initial_state(self.session)
        self.first_step = int(state.step)
        return state

    @contextlib.contextmanager
    def isolated(self) -> Iterator[None]:
        """What goes wrong inside the block is this member's end, and only a request to stop that of the others."""
        try:
            with os_errors_as_bad_input():
                yield
        except InterruptedRunError:
            raise
        except RunDivergedError as error:
            self.session.progress.note(str(error))
            with self.isolated():
                self.conclude("diverged", {}, str(error), error.last_good_step)
        except Exception as error:
            self.fail(error)

    def conclude(self, status: Status, losses: Mapping[str, DomainLoss], reason: str, last_good_step: int) -> None:
        """Writes the record."""
        # A record counts FLOPs from abstract values; a loop that forbids transfers may be around this.
        with jax.transfer_guard("allow"):
            run.conclude(self.session, status, losses, reason, last_good_step)
        self._end(status)

    def fail(self, error: Exception) -> None:
        """Ends the attempt with an error, which is printed."""
        self.abandon(error)
        self.outcome = reported(self.directory, error)

    def abandon(self, error: BaseException) -> None:
        """Ends the attempt, if it goes on, with what ended the whole population."""
        self._held.__exit__(type(error), error, error.__traceback__)

    def _end(self, status: Status) -> None:
        self.outcome = status
        self._held.close()
