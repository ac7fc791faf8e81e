"""One training run, from its frozen directory to its record."""

import contextlib
import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from scaling import distributed, gin_files, run_stores
from scaling import mesh as meshes
from scaling.accounting import flops
from scaling.data.store import TokenStore
from scaling.errors import InterruptedRunError
from scaling.mirrors import live, values
from scaling.mirrors.weights_and_biases import Identity
from scaling.optim import schedules
from scaling.run_directory import RunDirectory, Spec, Status
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
    store: TokenStore
    texts: list[HeldOutText]
    train_step: TrainStep
    # None for a member of a population, whose steps that population takes.
    feed: Feed | None
    checkpoints: Checkpoints
    curve: Curve
    progress: ProgressLine
    utilisation: outcome.Utilisation
    interruption: Interruption
    # Runs that are trained side by side, this one among them.
    population: int = 1


def train_run(directory: RunDirectory, interruption: Interruption) -> Status:
    """Trains a run from where its checkpoints left off, and writes its record.

    Several processes train it together (:mod:`scaling.distributed`): the first holds the lock and writes everything but the checkpoints, to which
    each adds what its devices hold.

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
    # Before the lock, which is a file: what is no run directory is left as it is.
    _ = directory.spec
    with contextlib.ExitStack() as held:
        distributed.on_lead(lambda: held.enter_context(directory.lock()))
        record = distributed.on_lead(directory.record)
        if record is not None:
            return record["status"]
        with open_session(directory, interruption) as session:
            return _train_and_record(session)


@contextlib.contextmanager
def open_session(
    directory: RunDirectory,
    interruption: Interruption,
    *,
    train_step_of: Callable[[StepKey], TrainStep] = train_step_for,
    population: int | None = None,
) -> Iterator[Session]:
    """Begins an attempt at a run whose lock is held; whatever ends it is written into that attempt.

    Args:
      directory, interruption: see :func:`train_run`.
      train_step_of: the programs that evaluate and restore the run.
      population: how many runs are trained side by side; the session then has no feed of its own. None: the run is trained alone.
    """
    spec = directory.spec
    store, texts = distributed.together(lambda: _open_texts(spec))
    train_step = train_step_of(StepKey.of(spec.config))
    if texts:
        meshes.check_evaluation_rows(train_step.mesh, spec.config.evaluation.batch_size)
    split = store.split(spec.config.data.split)
    branch_points = _branch_points(directory, spec)
    with _closing(
        Checkpoints(directory.checkpoints, spec.config.checkpoint.keep, sorted(branch_points))
    ) as checkpoints:
        latest = distributed.on_lead(checkpoints.latest)
        if latest is None:
            _require_trunk(directory, spec)
        first_step = max(latest or 0, spec.first_step)
        feed = None
        if population is None:
            feed = make_feed(train_step, spec.config.data, split, spec.config.seed, first_step, spec.last_step)
        utilisation = outcome.Utilisation.of(spec.config)
        # After everything that can refuse the run, so that bad input leaves no unfinished attempt.
        attempt = distributed.on_lead(lambda: provenance.start_attempt(directory, first_step))
        lead = distributed.is_lead()
        session = Session(
            spec=spec,
            branch_points=branch_points,
            directory=directory,
            store=store,
            texts=texts,
            train_step=train_step,
            feed=feed,
            checkpoints=checkpoints,
            curve=Curve(
                attempt,
                first_step,
                spec.last_step,
                spec.config.batch_tokens,
                writes=lead,
                mirrors=live.of_attempt(spec.config.mirrors, _identity(spec), attempt) if lead else live.NONE,
            ),
            progress=ProgressLine(spec.name or spec.run_id, spec.last_step * spec.config.batch_tokens, silent=not lead),
            utilisation=utilisation,
            interruption=interruption,
            population=population or 1,
        )
        with session.curve.ended_by_errors():
            yield session


@contextlib.contextmanager
def _closing(checkpoints: Checkpoints) -> Iterator[Checkpoints]:
    """Closes in the end; what closing raises never hides an error that came before it."""
    try:
        yield checkpoints
    except BaseException:
        with contextlib.suppress(Exception):
            checkpoints.close()
        raise
    checkpoints.close()


def _train_and_record(session: Session) -> Status:
    try:
        with contextlib.ExitStack() as nothing_in_hand:
            # Until the first step is launched there is nothing to save, and compiling it may take longer than a notice leaves time.
            nothing_in_hand.enter_context(session.interruption.leaving_at_once(functools.partial(leave, session)))
            state = _take_steps(session, initial_state(session), launched=nothing_in_hand.close)
        texts = session.texts if session.spec.kind != "trunk" else []
        losses = _evaluate(session, state, session.spec.last_step, texts)
    except RunDivergedError as error:
        session.progress.note(str(error))
        return conclude(session, "diverged", {}, str(error), error.last_good_step)
    session.checkpoints.wait()
    return conclude(session, "completed", losses, "", session.spec.last_step)


def _take_steps(session: Session, state: TrainState, launched: Callable[[], None]) -> TrainState:
    """The loop: dispatch a step, say that it is launched, then look at the one before it."""
    spec, curve = session.spec, session.curve
    first_step = int(state.step)
    pending: tuple[int, Any, float] | None = None
    with jax.transfer_guard("disallow"):
        for step in range(first_step, spec.last_step):
            rate = learning_rate(spec, step)
            rates = Rates(np.float32(rate), np.float32(spec.config.optimizer.weight_decay))
            state, metrics = session.feed(state, step, rates)
            launched()
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


def leave(session: Session, signal_name: str) -> None:
    """The last words of a process that ends before its first step: what its `finally` clauses would have done, and what its verb would have printed."""
    reason = f"{session.spec.run_id} stopped on {signal_name} before its first step; the same command continues it"
    session.curve.finish("interrupted", reason)
    session.directory.heartbeat.unlink(missing_ok=True)
    print(f"error: {reason}", file=sys.stderr, flush=True)


def learning_rate(spec: Spec, step: int) -> float:
    """The rate of a step of this run; a trunk never reaches its decay."""
    return schedules.learning_rate(spec.config.schedule, step, spec.config.steps, spec.config.batch_tokens)


def _stops_here(session: Session, done: int) -> bool:
    return session.interruption.requested or saves_here(session, done) or evaluates_here(session, done)


def saves_here(session: Session, done: int) -> bool:
    """Whether the state after `done` steps is to be kept."""
    periodic = _is_due(session, done, session.spec.config.checkpoint.every_tokens)
    return periodic or done == session.spec.last_step or done in session.branch_points


def evaluates_here(session: Session, done: int) -> bool:
    """Whether the run is evaluated on its way after `done` steps."""
    due = _is_due(session, done, session.spec.config.evaluation.every_tokens)
    return due and done != session.spec.last_step


def _is_due(session: Session, done: int, every_tokens: int) -> bool:
    """Whether a period of tokens ends with this step: in whole steps, one at least; 0 is never."""
    return every_tokens > 0 and done % max(1, every_tokens // session.spec.config.batch_tokens) == 0


def _at_boundary(session: Session, state: TrainState, done: int) -> None:
    session.curve.pause()
    if saves_here(session, done) or session.interruption.requested:
        session.checkpoints.save(done, state)
    _stop_if_asked(session, done)
    if evaluates_here(session, done):
        losses = _evaluate(session, state, done, session.texts[:1])
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


def _evaluate(session: Session, state: TrainState, done: int, texts: list[HeldOutText]) -> dict[str, DomainLoss]:
    """The losses of the state after `done` steps.

    Raises:
      InterruptedRunError: after saving that state.
      RunDivergedError: a loss is not finite; the step that broke the model is the last whose own loss was.
    """
    config = session.spec.config
    train_step = session.train_step

    def token_nats(parameters, batch):
        return jax.device_get(train_step.token_nats(parameters, meshes.place(batch, train_step.batch_sharding)))

    def stop_if_asked():
        if session.interruption.requested:
            session.checkpoints.save(done, state)
            _stop_if_asked(session, done)

    losses = {
        text.domain.name: text.evaluate(
            token_nats,
            state.parameters,
            config.evaluation,
            config.data.sequence_length,
            config.data.isolate_documents,
            stop_if_asked,
        )
        for text in texts
    }
    require_finite(losses, done)
    return losses


def require_finite(losses: Mapping[str, DomainLoss], done: int) -> None:
    """Refuses to go on with a model whose held-out loss after `done` steps is no number.

    Raises:
      RunDivergedError: the step that broke the model is the last whose own loss was finite.
    """
    for name, loss in losses.items():
        if not math.isfinite(loss.nats_per_token):
            raise RunDivergedError(f"diverged after step {done}: loss {loss.nats_per_token} on {name}", done)


def initial_state(session: Session) -> TrainState:
    """The state from which an attempt continues: its last checkpoint, its trunk's, or a new one."""
    spec, train_step = session.spec, session.train_step
    latest = distributed.on_lead(session.checkpoints.latest)
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
    last_good_step = _divergence_of_trunk(session.directory, session.spec)
    if last_good_step is not None:
        raise RunDivergedError(f"its trunk {parent.run_id} diverged after step {last_good_step}", last_good_step)
    trunk = RunDirectory(session.directory.path.parent / parent.run_id)
    with contextlib.closing(Checkpoints(trunk.checkpoints, read_only=True)) as checkpoints:
        return checkpoints.restore(parent.step, session.train_step.abstract_state())


def _divergence_of_trunk(directory: RunDirectory, spec: Spec) -> int | None:
    """The last good step of a branch's trunk when that diverged before they part."""
    record = distributed.on_lead(RunDirectory(directory.path.parent / spec.parent.run_id).record)
    if record and record["status"] == "diverged" and record["last_good_step"] < spec.parent.step:
        return record["last_good_step"]
    return None


def _require_trunk(directory: RunDirectory, spec: Spec) -> None:
    """Refuses a branch whose trunk has not come as far as where they part; that of a diverged trunk will be recorded so."""
    if spec.parent is None or _divergence_of_trunk(directory, spec) is not None:
        return
    trunk = RunDirectory(directory.path.parent / spec.parent.run_id)
    with contextlib.closing(Checkpoints(trunk.checkpoints, read_only=True)) as checkpoints:
        checkpoints.require(spec.parent.step)


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
    """Opens a store whose every byte this machine has read against its hash; runs of a sweep share theirs."""
    return TokenStore.open(path, verify="once")


def _show_progress(session: Session, done: int) -> None:
    speed = session.curve.tokens_per_second
    session.progress.show(
        done * session.spec.config.batch_tokens,
        session.curve.last_loss,
        speed,
        session.utilisation.mfu(speed),
        flops.MFU_CONVENTION_TEXT,
    )


def conclude(
    session: Session, status: Status, losses: dict[str, DomainLoss], reason: str, last_good_step: int
) -> Status:
    """Writes the end of the attempt and the record of the run."""

    def write() -> None:
        session.curve.finish(status, reason)
        record = session.curve.mirrors.close_with(outcome.record(session, status, losses, reason, last_good_step))
        session.directory.write_record(record)
        session.progress.note(outcome.summary(record))

    distributed.on_lead(write)
    return status


def _identity(spec: Spec) -> Identity:
    """What the services that mirror a run are told of it."""
    tags = tuple(f"{name}={value}" for name, value in spec.tags.items())
    settings = values.settings(gin_files.to_dict(spec.config))
    return Identity(spec.run_id, spec.name, spec.sweep_id, spec.kind, tags, settings)
