"""Trains several runs of one shape side by side, each with the directory, curve, checkpoints and record that it would have alone.

A member takes part in the steps that its own state has come to: members that were stopped at different steps are brought together by letting those that are
ahead wait. One that diverges or fails is set aside, and the others go on.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from scaling.accounting import flops
from scaling.errors import InterruptedRunError
from scaling.run_directory import RunDirectory
from scaling.training import run
from scaling.training.evaluation import DomainLoss, HeldOutText
from scaling.training.interruption import Interruption
from scaling.training.isolation import Outcome
from scaling.training.population.feed import PopulationFeed, make_population_feed
from scaling.training.population.member import Member
from scaling.training.population.programs import Form, PopulationStep, population_step_for
from scaling.training.progress import ProgressLine
from scaling.training.step import Rates, StepMetrics, TrainState


@dataclasses.dataclass
class Population:
    """Runs that are alike (:mod:`scaling.training.population.grouping`), a slot each.

    Attributes:
      members: by slot.
      programs: the compiled step.
      feed: takes steps.
      interruption: read at step boundaries and between evaluation batches.
      progress: the line for all of them.
    """

    members: list[Member]
    programs: PopulationStep
    feed: PopulationFeed
    interruption: Interruption
    progress: ProgressLine

    @property
    def last_step(self) -> int:
        """The end of all members."""
        return self.members[0].session.spec.last_step

    def at(self, step: int) -> dict[int, Member]:
        """The members that go on and whose state has taken `step` steps, by slot; those further ahead wait."""
        return {
            slot: member
            for slot, member in enumerate(self.members)
            if member.outcome is None and member.first_step <= step
        }


def train_population(directories: Sequence[RunDirectory], interruption: Interruption, form: Form) -> dict[str, Outcome]:
    """Trains runs that are alike from where their checkpoints left off, and writes their records.

    Args:
      directories: of runs of one group of :func:`scaling.training.population.grouping.grouped`.
      interruption: read at step boundaries and between evaluation batches.
      form: how a device goes through its members.

    Returns:
      What became of every run, by run id.

    Raises:
      InterruptedRunError: after saving all members at the same step, when a signal came.
    """
    members = [Member(directory) for directory in directories]
    try:
        _train(members, interruption, form)
    except InterruptedRunError as error:
        _abandon(members, error)
        raise
    except Exception as error:
        # Not the fault of one of them: memory that does not suffice, a bug.
        for member in members:
            if member.outcome is None:
                member.fail(error)
    except BaseException as error:
        _abandon(members, error)
        raise
    return {member.directory.path.name: member.outcome for member in members}


def _abandon(members: Sequence[Member], error: BaseException) -> None:
    for member in members:
        member.abandon(error)


def _train(members: Sequence[Member], interruption: Interruption, form: Form) -> None:
    for member in members:
        with member.isolated():
            member.lock()
    unfinished = [member for member in members if member.outcome is None]
    states: list[TrainState] = []
    for member in unfinished:
        with member.isolated():
            states.append(member.begin(interruption, len(unfinished)))
    begun = [member for member in unfinished if member.outcome is None]
    if not begun:
        return
    with contextlib.ExitStack() as nothing_in_hand:
        # As in a run alone: compiling the first step may take longer than a notice leaves time, and there is nothing to save yet.
        nothing_in_hand.enter_context(interruption.leaving_at_once(functools.partial(_leave, begun)))
        population, stacked = _assembled(begun, states, interruption, form)
        stacked = _take_steps(population, stacked, launched=nothing_in_hand.close)
    _finish(population, stacked)


def _leave(members: Sequence[Member], signal_name: str) -> None:
    for member in members:
        run.leave(member.session, signal_name)


def _assembled(
    members: list[Member], states: list[TrainState], interruption: Interruption, form: Form
) -> tuple[Population, TrainState]:
    first = members[0].session
    programs = population_step_for(first.train_step.key, len(members), form)
    stacked = programs.stacked(states)
    for member in members:
        member.session.population = len(members)
    feed = make_population_feed(
        programs,
        first.spec.config.data,
        first.store.split(first.spec.config.data.split),
        seeds={slot: member.session.spec.config.seed for slot, member in enumerate(members)},
        first_steps={slot: member.first_step for slot, member in enumerate(members)},
        last_step=first.spec.last_step,
    )
    tokens = len(members) * first.spec.last_step * first.spec.config.batch_tokens
    progress = ProgressLine(f"{len(members)} runs side by side", tokens)
    return Population(members, programs, feed, interruption, progress), stacked


def _take_steps(population: Population, states: TrainState, launched: Callable[[], None]) -> TrainState:
    """The loop: dispatch a step of all members, say that it is launched, then look at the one before it."""
    pending: tuple[int, dict[int, Rates], Any] | None = None
    first_step = min(member.first_step for member in population.members)
    with jax.transfer_guard("disallow"):
        for step in range(first_step, population.last_step):
            rates = {slot: _rates(member, step) for slot, member in population.at(step).items()}
            if not rates:
                continue
            states, metrics = population.feed(states, step, rates)
            launched()
            if pending:
                _observe(population, *pending)
            pending = (step, rates, metrics)
            done = step + 1
            if _stops_here(population, done):
                # States are saved or judged only after their own step was seen to be finite.
                _observe(population, *pending)
                pending = None
                _at_boundary(population, states, done)
            _show_progress(population, done)
        if pending:
            _observe(population, *pending)
    return states


def _rates(member: Member, step: int) -> Rates:
    spec = member.session.spec
    return Rates(run.learning_rate(spec, step), spec.config.optimizer.weight_decay)


def _observe(population: Population, step: int, rates: dict[int, Rates], metrics: StepMetrics) -> None:
    loss_P, gradient_norm_P = jax.device_get(metrics)
    for slot, (rate, _) in rates.items():
        member = population.members[slot]
        if member.outcome is None:
            with member.isolated():
                # The device worked on all of them for that long; each answers for an equal share.
                member.session.curve.observe(
                    step, StepMetrics(loss_P[slot], gradient_norm_P[slot]), rate, share=1 / len(rates)
                )


def _stops_here(population: Population, done: int) -> bool:
    sessions = [member.session for member in population.at(done).values()]
    return population.interruption.requested or any(
        run.saves_here(session, done) or run.evaluates_here(session, done) for session in sessions
    )


def _at_boundary(population: Population, states: TrainState, done: int) -> None:
    members = population.at(done)
    for member in members.values():
        # The whole population stands still while one of them is saved.
        member.session.curve.pause()
    for slot, member in members.items():
        if run.saves_here(member.session, done):
            _save(population, states, done, slot)
    _stop_if_asked(population, states, done)
    evaluating = [member for member in population.at(done).values() if run.evaluates_here(member.session, done)]
    if evaluating:
        losses = _evaluate(population, states, done, evaluating[0].session.texts[:1])
        for member in evaluating:
            with member.isolated():
                found = losses[member]
                run.require_finite(found, done)
                member.session.curve.write_row(
                    {"step": done, "held_out": {name: loss.nats_per_token for name, loss in found.items()}}
                )


def _save(population: Population, states: TrainState, done: int, slot: int) -> None:
    member = population.members[slot]
    with member.isolated():
        member.session.checkpoints.save(done, population.programs.taken(states, slot))


def _stop_if_asked(population: Population, states: TrainState, done: int) -> None:
    if not population.interruption.requested:
        return
    members = population.at(done)
    for slot in members:
        _save(population, states, done, slot)
    for member in members.values():
        if member.outcome is None:
            with member.isolated():
                member.session.checkpoints.wait()
    raise InterruptedRunError(
        f"{len(members)} runs side by side stopped on {population.interruption.signal_name} with step {done} of "
        f"{population.last_step} saved; the same command continues them"
    )


def _evaluate(
    population: Population, states: TrainState, done: int, texts: Sequence[HeldOutText]
) -> dict[Member, dict[str, DomainLoss]]:
    """The losses of the members that have come to `done` steps.

    Raises:
      InterruptedRunError: after saving their states.
    """
    programs, members = population.programs, population.at(done)
    active_P = jax.device_put(np.isin(np.arange(programs.slots), list(members)), programs.by_member)

    def token_nats(parameters, batch):
        return jax.device_get(programs.token_nats(parameters, jax.device_put(batch, programs.replicated), active_P))

    found: dict[Member, dict[str, DomainLoss]] = {member: {} for member in members.values()}
    for text in texts:
        config = population.members[0].session.spec.config
        losses = text.evaluate_members(
            token_nats,
            states.parameters,
            len(population.members),
            config.evaluation,
            config.data.sequence_length,
            config.data.isolate_documents,
            lambda: _stop_if_asked(population, states, done),
        )
        for slot, member in members.items():
            found[member][text.domain.name] = losses[slot]
    return found


def _finish(population: Population, states: TrainState) -> None:
    """The evaluation at the end, and the records."""
    done = population.last_step
    spec, texts = population.members[0].session.spec, population.members[0].session.texts
    losses = _evaluate(population, states, done, texts if spec.kind != "trunk" else [])
    for member, found in losses.items():
        with member.isolated():
            run.require_finite(found, done)
            member.session.checkpoints.wait()
            member.conclude("completed", found, "", done)


def _show_progress(population: Population, done: int) -> None:
    curves = [member.session.curve for member in population.at(done).values()]
    if not curves:
        return
    first = population.members[0].session
    seen = sum(max(done, member.first_step) for member in population.members) * first.spec.config.batch_tokens
    losses = [curve.last_loss for curve in curves if not math.isnan(curve.last_loss)]
    speed = curves[0].tokens_per_device_second
    population.progress.show(
        seen,
        sum(losses) / len(losses) if losses else math.nan,
        speed,
        first.utilisation.mfu(speed),
        flops.MFU_CONVENTION_TEXT,
    )
