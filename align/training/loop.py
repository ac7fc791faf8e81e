"""A stage from its frozen directory to its record."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax

from align.stage_config import TrainingConfig
from align.training import record
from align.training.journal import Journal, StageDivergedError
from align.training.mirrored import mirrors
from align.training.progress import StageProgress
from align.training.stage import Stage, State
from align.training.stage_directory import StageDirectory
from scaling.errors import InterruptedRunError
from scaling.run_directory import Status
from scaling.training import provenance
from scaling.training.checkpoints import Checkpoints
from scaling.training.interruption import Interruption


@dataclasses.dataclass
class Session:
    """What the steps of one attempt work with."""

    stage: Stage
    directory: StageDirectory
    checkpoints: Checkpoints
    journal: Journal
    progress: StageProgress
    interruption: Interruption
    training: TrainingConfig


def run_stage(
    directory: StageDirectory, build: Callable[[], Stage], interruption: Interruption, training: TrainingConfig
) -> Status:
    """Takes a stage from where its checkpoints left off to its record.

    Args:
      directory: frozen by :func:`align.training.stage_directory.freeze`.
      build: makes the stage; not called when there is a record already.
      interruption: read at step boundaries and while measuring.
      training: of the stage: when it is measured and saved, and which services see it.

    Returns:
      "completed", or "diverged" when a metric was not finite.

    Raises:
      InterruptedRunError: after saving, when a signal came.
      BadInputError: data, configuration or checkpoint do not fit.
      BusyError: another process works on this stage.
    """
    with directory.lock():
        finished = directory.record()
        if finished is not None:
            return finished["status"]
        stage = build()
        with _session(directory, stage, interruption, training) as session:
            return _take_and_record(session)


@contextlib.contextmanager
def _session(
    directory: StageDirectory, stage: Stage, interruption: Interruption, training: TrainingConfig
) -> Iterator[Session]:
    with contextlib.closing(Checkpoints(directory.checkpoints)) as checkpoints:
        first_step = checkpoints.latest() or 0
        attempt = provenance.start_attempt(directory, first_step)
        spec = directory.spec
        session = Session(
            stage=stage,
            directory=directory,
            checkpoints=checkpoints,
            journal=Journal(attempt, first_step, stage.steps, mirrors(directory, training, attempt)),
            progress=StageProgress(spec.name or f"{spec.kind} {spec.run_id}", stage),
            interruption=interruption,
            training=training,
        )
        with session.journal.ended_by_errors():
            yield session


def _take_and_record(session: Session) -> Status:
    try:
        state = _first_state(session)
        with contextlib.ExitStack() as nothing_in_hand:
            # Until the first step is launched there is nothing to save, and compiling it may take longer than a notice leaves time.
            nothing_in_hand.enter_context(session.interruption.leaving_at_once(functools.partial(_leave, session)))
            state = _take_steps(session, state, launched=nothing_in_hand.close)
    except StageDivergedError as error:
        session.progress.note(str(error))
        return _conclude(session, "diverged", {}, str(error), error.last_good_step)
    session.checkpoints.wait()
    facts = session.stage.conclude(state, session.directory)
    return _conclude(session, "completed", facts, "", session.stage.steps)


def _first_state(session: Session) -> State:
    latest = session.checkpoints.latest()
    if latest is None:
        state = session.stage.initial_state()
        _measure(session, state, 0)
        return state
    state = session.checkpoints.restore(latest, session.stage.abstract_state())
    if _measures_here(session, latest) and not _is_measured(session, latest):
        # Killed between saving and measuring.
        _measure(session, state, latest)
    return state


def _is_measured(session: Session, step: int) -> bool:
    return any(row["step"] == step and row.keys() & {"policy", "held_out"} for row in session.directory.metrics())


def _take_steps(session: Session, state: State, launched: Callable[[], None]) -> State:
    """The loop: dispatch a step, say that it is launched, then look at the one before it."""
    stage = session.stage
    pending: tuple[int, Any] | None = None
    for step in range(int(state.step), stage.steps):
        with jax.transfer_guard("disallow"):
            state, metrics = stage.step(state, step)
        launched()
        if pending:
            _observe(session, *pending)
        pending = (step, metrics)
        done = step + 1
        if session.interruption.requested or _measures_here(session, done) or _saves_here(session, done):
            # A state is measured or saved only after its own step was seen to be finite.
            _observe(session, *pending)
            pending = None
            _at_boundary(session, state, done)
        session.progress.show(done, session.journal)
    return state


def _leave(session: Session, signal_name: str) -> None:
    """The last words of a process that ends before its first step: what its `finally` clauses would have done, and what its verb would have printed."""
    reason = (
        f"{session.directory.path.name} stopped on {signal_name} before its first step; the same command continues it"
    )
    session.journal.finish("interrupted", reason)
    session.directory.heartbeat.unlink(missing_ok=True)
    print(f"error: {reason}", file=sys.stderr, flush=True)


def _observe(session: Session, step: int, metrics: Any) -> None:
    values = session.journal.observe(step, metrics, session.stage.learning_rate(step))
    session.stage.check(step, values)


def _measures_here(session: Session, done: int) -> bool:
    every = session.training.measure_every
    periodic = every > 0 and done % every == 0
    return periodic or done == session.stage.steps


def _saves_here(session: Session, done: int) -> bool:
    every = session.training.checkpoint_every
    periodic = every > 0 and done % every == 0
    return periodic or done == session.stage.steps


def _at_boundary(session: Session, state: State, done: int) -> None:
    """Saves before it measures: whoever stops it while it measures loses no step, and the next attempt measures."""
    session.journal.pause()
    if _saves_here(session, done) or session.interruption.requested:
        session.checkpoints.save(done, state)
    _stop_if_asked(session, done)
    if _measures_here(session, done):
        _measure(session, state, done)


def _measure(session: Session, state: State, done: int) -> None:
    def stop_if_asked():
        if session.interruption.requested:
            if done:
                session.checkpoints.save(done, state)
            _stop_if_asked(session, done)

    measured = session.stage.measure(state, done, stop_if_asked)
    if measured:
        session.journal.write_row({"step": done, **measured})
        # A measurement takes longer than an object's rewriting, and a kill must not lose it.
        session.journal.flush()
        session.progress.note(f"step {done}: {record.spelt(measured)}")


def _stop_if_asked(session: Session, done: int) -> None:
    if session.interruption.requested:
        session.checkpoints.wait()
        raise InterruptedRunError(
            f"{session.directory.path.name} stopped on {session.interruption.signal_name} at step {done} of {session.stage.steps}; "
            "the same command continues it"
        )


def _conclude(session: Session, status: Status, facts: dict[str, Any], reason: str, last_good_step: int) -> Status:
    session.journal.finish(status, reason)
    session.directory.write_measurements()
    made = record.record(session, status, facts, reason, last_good_step)
    session.directory.write_record(session.journal.mirrors.close_with(made))
    session.progress.note(f"{status}{': ' + reason if reason else ''}")
    return status
