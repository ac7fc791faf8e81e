"""Preference optimisation from pairs: DPO and its relatives, by the name of their loss."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from align.accounting.passes import answers
from align.accounting.work import Work
from align.data.batches import covering, rows
from align.data.store import ExampleStore
from align.losses.preference import evaluate as preference
from align.losses.preference.batch_statistics import batch_statistics, running
from align.losses.preference.options import LOSSES
from align.losses.preference.pairs import Completions, PreferencePairs
from align.models import policy as policies
from align.models import reference_cache, saving, shared_prompts
from align.models.parents import find
from align.sequences import Sequences, completion_mask, recombined
from align.stages import data
from align.stages.measured_policy import MeasuredPolicy
from align.stages.pair_batches import PairBatch, answers_of, by_pair, by_row
from align.stages.preference_config import PreferenceStageConfig
from align.statistics import reward_accuracy
from align.sums import Sum
from align.training import policy_meter, update
from align.training.stage_directory import StageDirectory, StageSpec, stage_spec
from align.training.trained_stage import TrainedStage
from scaling.errors import ConfigError
from scaling.training.step import accumulated


def spec(config: PreferenceStageConfig, name: str = "") -> StageSpec:
    """Names the stage, which looks at its parent and its data.

    Raises:
      BadInputError: one of them is missing or unfit.
    """
    parent = find(config.parent)
    store = data.open_examples(config.data, parent, "pairs", "ranked")
    return stage_spec(
        "preference",
        config,
        {"policy": parent.identity, "reference": parent.identity} | policy_meter.parents_of(config.meter),
        {"examples": store.store_hash} | policy_meter.data_of(config.meter),
        str(parent.vocabulary_store),
        name,
    )


class PreferenceStage(TrainedStage):
    """The stage (:class:`align.training.stage.Stage`)."""

    unit = "pairs"

    def __init__(self, config: PreferenceStageConfig):
        """Reads the parent, opens the pairs and computes cached log-probabilities that are not there yet."""
        self._config, training = config, config.training
        parent = find(config.parent)
        store = data.open_examples(config.data, parent, "pairs", "ranked")
        self._examples = store.split(config.data.split)
        self._count = data.training_examples(self._examples, config.data)
        self._validation = self._held_out(store)
        splits = (self._examples, *([self._validation] if self._validation is not None else []))
        for split in splits:
            # Refuses unknown scores now and not in the middle.
            data.soft_labels(split, np.arange(len(split)), config.soft_labels)
        self._first_column, self._room = data.first_column(*splits), data.room(*splits)
        self._policy = policies.Policy.of(
            parent, training, training.batch_size // training.execution.accumulation, config.lora
        )
        self._base = self._policy.place(parent.parameters())
        self._beginnings = (self._base,)
        self.steps = training.horizon(self._count)
        self.units_per_step = training.batch_size
        self._needs_reference = any(LOSSES[term.loss].needs_reference for term in config.terms)
        self._needs_mismatched = any(LOSSES[term.loss].needs_mismatched for term in config.terms)
        self._updates = update.Updates.of(training, self._policy.decayed)
        self._compile()
        self._cache = self._cached(parent.identity, store) if config.reference == "cached" else None
        self._measured = MeasuredPolicy(config.meter, parent, self._policy, training)

    def step(self, state: update.TrainedState, step: int):
        """One update on the pairs that (seed, step) determines."""
        training = self._config.training
        chosen = rows(training.seed, step, training.batch_size, self._count)
        rates = update.rates(training, step, self.steps, self._policy.replicated)
        return self._step(state, self._frozen(), self._batch(self._examples, chosen, self._cache), rates)

    def measure(self, state: update.TrainedState, step: int, stop_if_asked: Callable[[], None]) -> dict[str, Any]:
        """Loss, accuracy and margin on held-out pairs; reward and divergence of fresh samples."""
        measured = self._measured.measure(self._full(state), self._base, step, stop_if_asked)
        if self._validation is not None:
            measured |= {"held_out": self._held_out_row(state, stop_if_asked)}
        return measured

    def work(self, steps: int, rows: Sequence[Mapping[str, Any]]) -> Work:
        """Both sides of every pair (and mismatched completions) under policy and reference."""
        length, model = self._config.data.length, self._policy.config
        ranks = 4 if self._needs_mismatched else 2
        one = answers(model, 1, ranks, *self._room, length, head_columns=length - self._first_column)
        pairs = steps * self._config.training.batch_size
        live = self._needs_reference and self._cache is None
        held_out = 0
        if self._validation is not None:
            count = min(len(self._validation), self._config.data.validation_examples)
            held_out = sum("held_out" in row for row in rows) * count * (2 if self._needs_reference else 1)
        drawing, scoring = policy_meter.work(
            self._config.meter, model, [row["policy"] for row in rows if "policy" in row]
        )
        return Work(
            training=[one.with_gradient().times(pairs)] + ([one.times(pairs)] if live else []),
            measuring=[one.times(held_out), *drawing, *scoring],
            preparation=[one.times(self._count)] if self._cache is not None else [],
        )

    def conclude(self, state: update.TrainedState, directory: StageDirectory) -> dict[str, Any]:
        """Writes the model and its samples."""
        parameters = self._full(state)
        self._measured.write_samples(parameters, self._base, directory)
        return saving.save_model(self._policy, parameters, directory) | {
            "method": self._config.method,
            "settings": _settings(self._config),
            "gold": self._measured.gold_name,
        }

    def _compile(self) -> None:
        policy = self._policy
        extra = jax.eval_shape(self._extra, self._base)
        self._state_shardings = self._updates.shardings(
            policy.trainable_shapes,
            policy.trainable_shardings,
            policy.replicated,
            {name: self._extra_sharding(name, shape) for name, shape in extra.items()},
        )
        self._init = policy.compiled(self._initial, out_shardings=self._state_shardings)
        self._step = policy.compiled(
            self._train_step, donate_argnums=0, out_shardings=(self._state_shardings, policy.replicated)
        )
        self._evaluate = policy.compiled(self._evaluated)
        self._log_probs = policy.compiled(lambda parameters, pairs: self._log_probs_of(parameters, answers_of(pairs)))
        self._full_parameters = policy.compiled(policy.full)
        self._recombined = policy.compiled(recombined)

    def _full(self, state: update.TrainedState):
        if not self._policy.adapter.rank:
            return state.trained
        return self._full_parameters(state.trained, self._base)

    def _frozen(self):
        """What the step reads and does not change: the adapter's base and a reference that stands still."""
        live = self._needs_reference and self._cache is None and not self._config.moving_reference.every
        return {
            "base": self._policy.frozen_base(self._base),
            "reference": self._base if live and not self._policy.adapter.rank else None,
        }

    def _initial(self, base):
        key = jax.random.fold_in(jax.random.key(self._config.training.seed), 1)
        return self._updates.initial(self._policy.trainable(base, key), self._extra(base))

    def _extra(self, base) -> dict[str, Any]:
        extra = {}
        if self._config.moving_reference.every:
            extra["reference"] = jax.tree.map(jnp.copy, base)
        if any(term.loss == "bco" for term in self._config.terms):
            extra["rewards"] = Sum(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))
        return extra

    def _extra_sharding(self, name: str, shapes):
        if name == "reference":
            return self._policy.parameter_shardings
        return jax.tree.map(lambda leaf: self._policy.replicated, shapes)

    def _batch(self, examples, chosen: np.ndarray, cache=None) -> PairBatch:
        pairs = examples.pairs(chosen, self._config.data.length)
        mismatched = None
        if self._needs_mismatched:
            both = Sequences(*(np.concatenate(side) for side in zip(*pairs, strict=True)))
            # The next row's completion under this row's prompt (Ethayarajh et al. 2024, section 4.1).
            mismatched = (both, Sequences(*(np.roll(array, -1, axis=0) for array in both)))
        reference = None if cache is None else cache.rows(chosen)
        probability = data.soft_labels(examples, chosen, self._config.soft_labels)
        placed = PairBatch(*jax.device_put((pairs, mismatched, reference, probability), self._policy.rows))
        return placed if mismatched is None else placed._replace(mismatched=self._recombined(*placed.mismatched))

    def _train_step(self, state: update.TrainedState, frozen, batch: PairBatch, rates):
        parts = self._config.training.execution.accumulation
        pairs_count = batch.pairs.chosen.lengths.shape[0]
        cut = by_pair(batch)
        evaluated = functools.partial(self._pairs_of, frozen=frozen, extra=state.extra)
        statistics = self._statistics(state, evaluated, cut, parts)
        extra = self._next_extra(state, statistics)
        if "rewards" in state.extra:
            statistics = statistics._replace(reward=extra["rewards"])

        def loss(trained, part):
            outcome = preference.evaluate(evaluated(trained, part), self._config.loss, statistics)
            return jnp.sum(outcome.losses) / pairs_count, _metrics(outcome, pairs_count)

        gradients, metrics = accumulated(lambda part: jax.grad(loss, has_aux=True)(state.trained, part), cut, parts)
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        following = self._updates.applied(state, gradients, rates, extra)
        return self._with_moved_reference(following), metrics

    def _statistics(self, state, evaluated, cut, parts: int):
        """Of the whole batch, before it is cut."""
        if parts == 1:
            return batch_statistics(evaluated(state.trained, cut), self._config.loss)
        return accumulated(lambda part: batch_statistics(evaluated(state.trained, part), self._config.loss), cut, parts)

    def _next_extra(self, state, statistics) -> dict[str, Any]:
        if "rewards" not in state.extra:
            return state.extra
        return state.extra | {"rewards": running(state.extra["rewards"], statistics.reward)}

    def _with_moved_reference(self, state: update.TrainedState) -> update.TrainedState:
        moving = self._config.moving_reference
        if not moving.every:
            return state
        moves = state.step % moving.every == 0
        share = jnp.where(moves, moving.weight, 0.0)
        moved = jax.tree.map(lambda old, new: (1 - share) * old + share * new, state.extra["reference"], state.trained)
        return state._replace(extra=state.extra | {"reference": moved})

    def _pairs_of(self, trained, part: dict[str, Any], frozen, extra) -> PreferencePairs:
        """Log-probabilities of both sides (and of mismatched completions) under the policy and the reference."""
        batch = PairBatch(**part)
        parameters = self._policy.full(trained, frozen["base"])
        answers_BxK = answers_of(batch.pairs, batch.mismatched)
        policy = self._log_probs_of(parameters, answers_BxK)
        reference = self._reference(frozen, extra, batch, answers_BxK)
        mask = completion_mask(jax.tree.map(by_row, answers_BxK)).reshape(policy.shape)

        def side(which: int | slice) -> Completions:
            cut = (array[:, which] for array in (policy, mask, reference) if array is not None)
            return Completions(*(by_row(part) if part.ndim == 3 else part for part in cut))

        mismatched = side(slice(2, None)) if batch.mismatched is not None else None
        return PreferencePairs(side(0), side(1), batch.probability, mismatched)

    def _log_probs_of(self, parameters, answers_BxK: Sequences) -> jax.Array:
        """[B, K, T]."""
        return shared_prompts.token_log_probs(
            self._policy.model, parameters, answers_BxK, self._room, self._first_column
        )

    def _reference(self, frozen, extra, batch: PairBatch, answers_BxK: Sequences):
        if not self._needs_reference:
            return None
        if batch.reference is not None:
            return batch.reference
        parameters = extra.get("reference", frozen["reference"])
        if parameters is None:
            parameters = frozen["base"]
        return jax.lax.stop_gradient(self._log_probs_of(parameters, answers_BxK))

    def _cached(self, identity: str, store: ExampleStore):
        """Log-probabilities of the reference for every training pair, from disk or computed now."""
        if self._needs_mismatched:
            raise ConfigError(
                f"the loss {self._config.method!r} reads completions of other prompts, which no cache holds",
                "set PreferenceStageConfig.reference to 'live'",
            )
        config = self._config
        key = reference_cache.Key(
            model=identity,
            examples=store.store_hash,
            split=config.data.split,
            count=self._count,
            length=config.data.length,
            compute_dtype=config.training.compute_dtype,
        )
        root = pathlib.Path(config.reference_cache)
        return reference_cache.opened(root, key) or reference_cache.computed(
            root, key, self._reference_rows, config.training.batch_size
        )

    def _reference_rows(self, indices: np.ndarray) -> np.ndarray:
        pairs = self._examples.pairs(indices, self._config.data.length)
        log_probs_BxKxT = jax.device_get(self._log_probs(self._base, jax.device_put(pairs, self._policy.rows)))
        return np.swapaxes(log_probs_BxKxT, 0, 1).reshape(-1, self._config.data.length)

    def _held_out(self, store: ExampleStore):
        split = self._config.data.validation_split
        return store.split(split) if split else None

    def _held_out_row(self, state, stop_if_asked: Callable[[], None]) -> dict[str, Any]:
        size = self._config.training.batch_size
        count = min(len(self._validation), self._config.data.validation_examples)
        found = []
        for indices, weights in covering(count, size):
            stop_if_asked()
            batch = self._batch(self._validation, indices)
            outcome = jax.device_get(self._evaluate(state, self._frozen_for_measuring(), batch))
            found.append([np.asarray(values)[weights > 0] for values in outcome])
        outcome = preference.PreferenceOutcome(*(np.concatenate(values) for values in zip(*found, strict=True)))
        indices = np.arange(count)
        lengths = self._validation.completion_lengths[indices][:, :2]
        report = reward_accuracy.report(
            np.stack([outcome.chosen_rewards, outcome.rejected_rewards], axis=1),
            np.asarray(self._validation.scores[indices])[:, :2],
            lengths,
        )
        return {
            "validation_loss": float(np.mean(outcome.losses)),
            "validation_accuracy": report["accuracy"],
            "validation_margin": report["mean_margin"],
            "validation_chosen_log_prob": float(np.mean(outcome.chosen_log_probs)),
            "validation_rejected_log_prob": float(np.mean(outcome.rejected_log_probs)),
            "report": report,
        }

    def _frozen_for_measuring(self):
        return {"base": self._policy.frozen_base(self._base), "reference": self._base}

    def _evaluated(self, state, frozen, batch: PairBatch):
        pairs = self._pairs_of(state.trained, by_pair(batch), frozen, {})
        return preference.evaluate(pairs, self._config.loss)


def _metrics(outcome: preference.PreferenceOutcome, count: int) -> dict[str, jax.Array]:
    """Sums over the pairs of a micro-batch, divided by the pairs of the batch."""
    values = {
        "loss": outcome.losses,
        "accuracy": outcome.correct,
        "margin": outcome.margins,
        "chosen_reward": outcome.chosen_rewards,
        "rejected_reward": outcome.rejected_rewards,
        "chosen_log_prob": outcome.chosen_log_probs,
        "rejected_log_prob": outcome.rejected_log_probs,
    }
    return {name: jnp.sum(value) / count for name, value in values.items()}


def _settings(config: PreferenceStageConfig) -> dict[str, Any]:
    """What distinguishes runs of one method."""
    first = config.terms[0]
    options = {
        field.name: getattr(first, field.name)
        for field in dataclasses.fields(first)
        if field.name != "loss" and getattr(first, field.name) is not None
    }
    training = config.training
    passes = {"steps": training.steps} if training.steps else {"epochs": training.epochs}
    if config.soft_labels:
        options["soft_labels"] = config.soft_labels
    return options | {"learning_rate": training.learning_rate} | passes
