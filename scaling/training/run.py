"""One training run, from its frozen directory to its record."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from scaling import run_stores
from scaling.accounting import flops
from scaling.data.store import TokenStore
from scaling.errors import InterruptedRunError
from scaling.optim import schedules
from scaling.run_directory import Attempt, RunDirectory, Spec, Status
from scaling.training import outcome, provenance
from scaling.training.checkpoints import Checkpoints
from scaling.training.curve import Curve, RunDivergedError
from scaling.training.evaluation import DomainLoss, HeldOutText
from scaling.training.feed import Feed, make_feed
from scaling.training.interruption import Interruption
from scaling.training.progress import ProgressLine
from scaling.training.step import Rates, StepKey, TrainState, TrainStep, train_step_for


@dataclasses.dataclass
class Session:
    """What the steps of one attempt work with."""

    spec: Spec
    branch_points: frozenset[int]
    directory: RunDirectory
    attempt: Attempt
    store: TokenStore
    texts: list[HeldOutText]
    train_step: TrainStep
    feed: Feed
    checkpoints: Checkpoints
    curve: Curve
    progress: ProgressLine
    utilisation: outcome.Utilisation
    interruption: Interruption


def train_run(directory: RunDirectory, interruption: Interruption) -> Status:
    """Trains a run from where its checkpoints left off, and writes its record.

    Args:
      directory: frozen by :func:`scaling.run_directory.freeze`; a branch finds its trunk beside it.
      interruption: read at step boundaries and between evaluation batches.

    Returns:
      "completed", or "diverged" when the loss was not finite (the record then names the last good step).

    Raises:
      InterruptedRunError: after saving, when a signal came.
      BadInputError: data, configuration or checkpoint do not fit.
      BusyError: another process trains this run.
    """
    with directory.lock():
        record = directory.record()
        if record is not None:
            return record["status"]
        with _session(directory, interruption) as session:
            return _train_and_record(session)


@contextlib.contextmanager
def _session(directory: RunDirectory, interruption: Interruption) -> Iterator[Session]:
    spec = directory.spec
    store, texts = _open_texts(spec)
    train_step = train_step_for(StepKey.of(spec.config))
    branch_points = _branch_points(directory, spec)
    checkpoints = Checkpoints(directory.checkpoints, spec.config.checkpoint.keep, sorted(branch_points))
    first_step = max(checkpoints.latest() or 0, spec.first_step)
    attempt = directory.start_attempt(provenance.start_facts(first_step))
    split = store.split(spec.config.data.split)
    session = Session(
        spec=spec,
        branch_points=branch_points,
        directory=directory,
        attempt=attempt,
        store=store,
        texts=texts,
        train_step=train_step,
        feed=make_feed(train_step, spec.config.data, split, spec.config.seed, first_step, spec.last_step),
        checkpoints=checkpoints,
        curve=Curve(attempt, first_step, spec.last_step, spec.config.batch_tokens),
        progress=ProgressLine(spec.name or spec.run_id, spec.last_step * spec.config.batch_tokens),
        utilisation=outcome.Utilisation.of(spec.config),
        interruption=interruption,
    )
    try:
        yield session
    except BaseException as error:
        attempt.finish(_status_of(error), reason=str(error), **_spent(session))
        raise
    finally:
        checkpoints.close()


def _train_and_record(session: Session) -> Status:
    try:
        state = _take_steps(session, _initial_state(session))
        losses = _evaluate(session, state.parameters) if session.spec.kind != "trunk" else {}
    except RunDivergedError as error:
        session.progress.note(str(error))
        return _conclude(session, "diverged", {}, str(error), error.last_good_step)
    session.checkpoints.wait()
    return _conclude(session, "completed", losses, "", session.spec.last_step)


def _take_steps(session: Session, state: TrainState) -> TrainState:
    """The loop: dispatch a step, then look at the one before it."""
    spec, curve = session.spec, session.curve
    first_step = int(state.step)
    pending: tuple[int, Any, float] | None = None
    with jax.transfer_guard("disallow"):
        for step in range(first_step, spec.last_step):
            rate = learning_rate(spec, step)
            rates = Rates(np.float32(rate), np.float32(spec.config.optimizer.weight_decay))
            state, metrics = session.feed(state, step, rates)
            if pending:
                curve.observe(*pending)
            pending = (step, metrics, rate)
            done = step + 1
            if _stops_here(session, done):
                # A state is saved or judged only after its own step was seen to be finite.
                curve.observe(*pending)
                pending = None
                _at_boundary(session, state, done)
            _show_progress(session, done)
        if pending:
            curve.observe(*pending)
    return state


def learning_rate(spec: Spec, step: int) -> float:
    """The rate of a step of this run; a trunk never reaches its decay."""
    return schedules.learning_rate(spec.config.schedule, step, spec.config.steps, spec.config.batch_tokens)


def _stops_here(session: Session, done: int) -> bool:
    return session.interruption.requested or _saves_here(session, done) or _evaluates_here(session, done)


def _saves_here(session: Session, done: int) -> bool:
    period = session.spec.config.checkpoint.every_tokens // session.spec.config.batch_tokens
    periodic = period and done % period == 0
    return bool(periodic) or done == session.spec.last_step or done in session.branch_points


def _evaluates_here(session: Session, done: int) -> bool:
    period = session.spec.config.evaluation.every_tokens // session.spec.config.batch_tokens
    return bool(period) and done % period == 0 and done != session.spec.last_step


def _at_boundary(session: Session, state: TrainState, done: int) -> None:
    session.curve.pause()
    if _saves_here(session, done) or session.interruption.requested:
        session.checkpoints.save(done, state)
    _stop_if_asked(session, done)
    if _evaluates_here(session, done):
        primary = session.texts[:1]
        losses = _evaluate(session, state.parameters, primary)
        session.curve.write_row(
            {"step": done, "held_out": {name: loss.nats_per_token for name, loss in losses.items()}}
        )


def _stop_if_asked(session: Session, done: int) -> None:
    if session.interruption.requested:
        session.checkpoints.wait()
        raise InterruptedRunError(
            f"{session.spec.run_id} stopped on {session.interruption.signal_name} with step {done} of {session.spec.last_step} "
            "saved; the same command continues it"
        )


def _evaluate(session: Session, parameters: Any, texts: list[HeldOutText] | None = None) -> dict[str, DomainLoss]:
    config = session.spec.config
    train_step = session.train_step

    def token_nats(parameters, batch):
        return jax.device_get(train_step.token_nats(parameters, jax.device_put(batch, train_step.batch_sharding)))

    def stop_if_asked():
        if session.interruption.requested and session.checkpoints.latest() is not None:
            _stop_if_asked(session, session.checkpoints.latest())

    return {
        text.domain.name: text.evaluate(
            token_nats,
            parameters,
            config.evaluation,
            config.data.sequence_length,
            config.data.isolate_documents,
            stop_if_asked,
        )
        for text in (session.texts if texts is None else texts)
    }


def _initial_state(session: Session) -> TrainState:
    spec, train_step = session.spec, session.train_step
    latest = session.checkpoints.latest()
    if latest is not None:
        return session.checkpoints.restore(latest, train_step.abstract_state())
    if spec.parent:
        return _trunk_state(session)
    state = train_step.init(np.uint32(spec.config.seed))
    if 0 in session.branch_points:
        session.checkpoints.save(0, state)
    return state


def _trunk_state(session: Session) -> TrainState:
    """The state in which a branch leaves its trunk."""
    parent = session.spec.parent
    trunk = RunDirectory(session.directory.path.parent / parent.run_id)
    record = trunk.record()
    if record and record["status"] == "diverged" and record["last_good_step"] < parent.step:
        raise RunDivergedError(
            f"its trunk {parent.run_id} diverged after step {record['last_good_step']}", record["last_good_step"]
        )
    checkpoints = Checkpoints(trunk.checkpoints)
    try:
        return checkpoints.restore(parent.step, session.train_step.abstract_state())
    finally:
        checkpoints.close()


def _branch_points(directory: RunDirectory, spec: Spec) -> frozenset[int]:
    """Steps at which a trunk's branches leave it."""
    siblings = (RunDirectory(directory.path.parent / branch) for branch in spec.branches)
    return frozenset(sibling.spec.parent.step for sibling in siblings)


def _open_texts(spec: Spec) -> tuple[TokenStore, list[HeldOutText]]:
    run_stores.require_frozen(spec.stores, spec.config, _open_verified)
    run_stores.check(spec.config, _open_verified)
    store = _open_verified(spec.config.data.store)
    return store, [HeldOutText(domain, _open_verified(domain.store)) for domain in spec.config.evaluation.domains]


@functools.lru_cache
def _open_verified(path: str) -> TokenStore:
    """Opens a store and re-reads every byte, once per process; runs of a sweep share theirs."""
    return TokenStore.open(path, verify="hash")


def _show_progress(session: Session, done: int) -> None:
    speed = session.curve.tokens_per_second
    session.progress.show(
        done * session.spec.config.batch_tokens,
        session.curve.last_loss,
        speed,
        session.utilisation.mfu(speed),
        flops.MFU_CONVENTION_TEXT,
    )


def _conclude(
    session: Session, status: Status, losses: dict[str, DomainLoss], reason: str, last_good_step: int
) -> Status:
    session.attempt.finish(status, reason=reason, **_spent(session))
    record = outcome.record(session, status, losses, reason, last_good_step)
    session.directory.write_record(record)
    session.progress.note(outcome.summary(record))
    return status


def _spent(session: Session) -> dict[str, float]:
    return {"wall_seconds": session.curve.wall_seconds, "device_seconds": session.curve.device_seconds}


def _status_of(error: BaseException) -> Status:
    return "interrupted" if isinstance(error, InterruptedRunError | KeyboardInterrupt) else "failed"
