"""The programs of stages over shapes alone: no checkpoint, no examples, nothing of the models allocated.

Each class is the stage itself with another beginning: where the stage reads its parent and its data, this takes an architecture and the room that the
configuration gives to prompts and completions. What is lowered is therefore what would be trained.
"""

import dataclasses
import functools
import pathlib
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from align.generation.sampler import generate
from align.losses.preference.options import LOSSES
from align.models import policy as policies
from align.models import scalar_head
from align.models.parents import Parent
from align.models.policy import Policy
from align.models.shared_prompts import Room
from align.sequences import Pairs, Sequences
from align.stages.pair_batches import PairBatch
from align.stages.ppo import PpoStage
from align.stages.ppo_config import PpoStageConfig
from align.stages.preference import PreferenceStage
from align.stages.preference_config import PreferenceStageConfig
from align.stages.reward import RewardStage, RewardStageConfig
from align.stages.supervised import Supervised, SupervisedConfig
from align.training import update
from scaling.data.batches import Batch
from scaling.errors import ConfigError
from scaling.foreign.weights import CheckpointedModel
from scaling.models.config import TransformerConfig
from scaling.training.step import Rates


class Planned(NamedTuple):
    """A stage's memory: what lies on the devices throughout, and the programs that need room beside it.

    Attributes:
      resident: use -> tree of shapes with their shardings.
      programs: name -> the lowered program.
      trained: shapes of what has a gradient.
      policy: the policy on its mesh.
    """

    resident: dict[str, Any]
    programs: dict[str, jax.stages.Lowered]
    trained: Any
    policy: Policy


def planned(config: Any, model: TransformerConfig) -> Planned:
    """A stage over an architecture; reward models and value network have the same one.

    Args:
      config: of SFT, a reward model, preference optimisation or reinforcement learning.
      model: the architecture of its parent.

    Raises:
      ConfigError: the mesh does not match the devices, sizes do not divide over it, or rows exceed the model's context.
    """
    execution = config.training.execution
    if execution.layers == "auto":
        # As on accelerators.
        execution = dataclasses.replace(execution, layers="scan")
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, execution=execution))
    if config.data.length > model.max_length:
        raise ConfigError(
            f"ExamplesConfig.prompt_length + completion_length is {config.data.length}, and the model's max_length {model.max_length}",
            "shorten the rows",
        )
    return _KINDS[type(config)](config, model).planned()


class _PlannedSupervised(Supervised):
    def __init__(self, config: SupervisedConfig, model: TransformerConfig):
        self._config = config
        self._policy, self._base = _policy(config, model, config.training.execution.accumulation)
        self._beginnings = (self._base,)
        self._compile()

    def planned(self) -> Planned:
        state, shape = self.abstract_state(), (self._config.training.batch_size, self._config.data.length)
        batch = Batch(
            *(_array(self._policy, shape, np.int32) for _ in range(4)), _array(self._policy, shape, np.float32)
        )
        base = self._policy.frozen_base(self._base)
        step = self._step.lower(state, base, batch, _rates(self._policy))
        resident = _of_state(state) | {"adapter's base": base, "batch": batch}
        return Planned(resident, {"step": step}, state.trained, self._policy)


class _PlannedReward(RewardStage):
    def __init__(self, config: RewardStageConfig, model: TransformerConfig):
        self._config, self._ranks = config, 2
        self._policy, self._base = _policy(config, model, config.training.execution.accumulation)
        self._beginnings = (self._base,)
        self._room = Room(config.data.prompt_length, config.data.completion_length)
        self._compile()

    def planned(self) -> Planned:
        prompts, state = self._config.training.batch_size, self.abstract_state()
        batch = {
            "sequences": _sequences(self._policy, (prompts, self._ranks), self._config.data.length),
            "margins": _array(self._policy, (prompts,), np.float32),
        }
        base = self._policy.frozen_base(self._base)
        step = self._step.lower(state, base, batch, _rates(self._policy))
        resident = _of_state(state) | {"adapter's base": base, "batch": batch}
        return Planned(resident, {"step": step}, state.trained, self._policy)


class _PlannedPreference(PreferenceStage):
    def __init__(self, config: PreferenceStageConfig, model: TransformerConfig):
        self._config = config
        self._policy, self._base = _policy(config, model, config.training.execution.accumulation)
        self._beginnings = (self._base,)
        self._first_column = config.data.prompt_length
        self._room = Room(config.data.prompt_length, config.data.completion_length)
        self._needs_reference = any(LOSSES[term.loss].needs_reference for term in config.terms)
        self._needs_mismatched = any(LOSSES[term.loss].needs_mismatched for term in config.terms)
        # Only whether there is one matters here.
        self._cache = config.reference == "cached" or None
        self._updates = update.Updates.of(config.training, self._policy.decayed)
        self._compile()

    def planned(self) -> Planned:
        data, pairs, state = self._config.data, self._config.training.batch_size, self.abstract_state()
        sides = Pairs(*(_sequences(self._policy, (pairs,), data.length) for _ in range(2)))
        mismatched = _sequences(self._policy, (2 * pairs,), data.length) if self._needs_mismatched else None
        cached = _array(self._policy, (2 * pairs, data.length), np.float32) if self._cache else None
        soft = _array(self._policy, (pairs,), np.float32) if self._config.soft_labels else None
        batch, frozen = PairBatch(sides, mismatched, cached, soft), self._frozen()
        programs = {"step": self._step.lower(state, frozen, batch, _rates(self._policy))}
        if self._cache:
            programs["reference"] = self._log_probs.lower(self._base, sides)
        resident = _of_state(state) | {
            "adapter's base": frozen["base"],
            # The stage holds its parent's parameters from beginning to end, for measuring too.
            "reference": self._base if not self._policy.adapter.rank else None,
            "batch": batch,
        }
        return Planned(resident, programs, state.trained, self._policy)


class _PlannedPpo(PpoStage):
    def __init__(self, config: PpoStageConfig, model: TransformerConfig):
        self._config = config
        self._policy, self._base = _policy(config, model, config.minibatches)
        separate = config.algorithm == "ppo" and config.value.network == "separate"
        self._value = dataclasses.replace(self._policy, adapter=policies.WHOLE) if separate else None
        self._beginnings = (self._base, self._base if separate else None)
        self._examples = types.SimpleNamespace(prompt_lengths=np.array([config.data.prompt_length]))
        self._compile()

    def planned(self) -> Planned:
        config, policy, state = self._config, self._policy, self.abstract_state()
        episodes, length = config.training.batch_size, config.data.length
        sequences, of_episode = _sequences(policy, (episodes,), length), _array(policy, (episodes,), np.float32)
        ended, base = _array(policy, (episodes,), bool), policy.frozen_base(self._base)
        scored = (sequences, of_episode, ended, state.extra["controller"])
        experience, of_rollout = jax.eval_shape(self._experience, state.trained, base, self._base, *scored)
        experience = jax.tree.map(lambda leaf: _array(policy, leaf.shape, leaf.dtype), experience)
        orders = _replicated(policy, (config.epochs, episodes), np.int32)
        text = self._planned_text()
        kl = _replicated(policy, (), np.float32)
        programs = {
            "rollout": self._planned_rollout(state),
            "experience": self._experience.lower(state.trained, base, self._base, *scored),
            "update": self._update.lower(state, base, self._base, experience, text, orders, _rates(policy), kl),
        }
        head = _head(policy)
        if config.reward.members:
            score = policy.compiled(functools.partial(scalar_head.sequence_scalars, policy.model))
            programs["scores"] = score.lower(self._base, head, sequences)
        trained = dict(state.trained)
        resident = {
            "policy": trained.pop("policy"),
            "value": trained.pop("value", None),
            "optimizer": state.optimizer,
            "reference": self._base,
            "reward models": [self._base for _ in config.reward.members],
            "batch": (experience, text),
        }
        return Planned(resident, programs, state.trained, policy)

    def _planned_rollout(self, state):
        config, policy = self._config, self._policy
        episodes, prompt = config.training.batch_size, config.data.prompt_length
        parameters = self._base if policy.adapter.rank else state.trained["policy"]
        inputs = (
            _array(policy, (episodes, prompt), np.int32),
            _array(policy, (episodes,), np.int32),
            _array(policy, (episodes, 2), np.uint32),
        )

        def rollout(parameters, *prompts_and_keys):
            # Any id would do: which one ends a row changes no shape.
            return generate(policy.model, parameters, *prompts_and_keys, config.sampling, 0, policy.mesh)

        return jax.jit(rollout).lower(parameters, *inputs)

    def _planned_text(self):
        mix = self._config.pretraining
        if not mix.store:
            return None
        shape = (self._config.epochs * self._config.minibatches, mix.sequences, mix.sequence_length)
        whole, real = (_replicated(self._policy, shape, dtype) for dtype in (np.int32, np.float32))
        return Batch(whole, whole, whole, whole, real)


_KINDS: dict[type, Any] = {
    SupervisedConfig: _PlannedSupervised,
    RewardStageConfig: _PlannedReward,
    PreferenceStageConfig: _PlannedPreference,
    PpoStageConfig: _PlannedPpo,
}


def _policy(config, model: TransformerConfig, parts: int) -> tuple[Policy, dict[str, Any]]:
    """The policy on its mesh, and its parent's parameters as shapes."""
    nowhere = pathlib.Path()
    parent = Parent(nowhere, "planned", CheckpointedModel(nowhere, model, step=0), nowhere)
    policy = Policy.of(parent, config.training, config.training.batch_size // parts, config.lora)
    shapes = dataclasses.replace(policy, adapter=policies.WHOLE).trainable_shapes
    return policy, _placed(shapes, policy.parameter_shardings)


def _of_state(state) -> dict[str, Any]:
    return {"policy": state.trained, "optimizer": state.optimizer, "moving reference": state.extra.get("reference")}


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )


def _array(policy: Policy, shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=policy.rows)


def _replicated(policy: Policy, shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=policy.replicated)


def _sequences(policy: Policy, rows: tuple[int, ...], length: int) -> Sequences:
    lengths = _array(policy, rows, np.int32)
    return Sequences(_array(policy, (*rows, length), np.int32), lengths, lengths)


def _head(policy: Policy) -> Mapping[str, Any]:
    shapes = jax.eval_shape(lambda key: scalar_head.init_head(policy.config.width, key), jax.random.key(0))
    return _placed(shapes, jax.tree.map(lambda leaf: policy.replicated, shapes))


def _rates(policy: Policy) -> Rates:
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=policy.replicated)
    return Rates(rate, rate)
