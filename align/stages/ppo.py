"""Reinforcement learning from a reward: PPO with a value function, RLOO and GRPO without one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from align.accounting.reinforcement import reinforced
from align.accounting.work import Work
from align.data.batches import rows
from align.data.store import ExampleStore
from align.generation.sampler import generator, row_keys
from align.models import policy as policies
from align.models import proxy_description, saving, scalar_head
from align.models.parents import Parent, ParentConfig, find
from align.models.reward_models import RewardModels, architectures, identities
from align.rl import controllers
from align.stages import data
from align.stages.measured_policy import MeasuredPolicy
from align.stages.ppo_config import PpoStageConfig
from align.stages.ppo_programs import Programs
from align.training import policy_meter, update
from align.training.stage_directory import StageDirectory, StageSpec, stage_spec
from align.training.trained_stage import TrainedStage
from scaling.data.batches import Batch, gather, window_indices
from scaling.data.store import TokenStore
from scaling.errors import PlumblineError

# The streams of random numbers of a seed that a rollout uses; measurements use the seed of their own.
_ROLLOUTS = 1_000_003

# How far two compilations of one forward pass may be apart, nats.
_ROUNDING = {"float32": 1e-3, "bfloat16": 0.1}


class RatioError(PlumblineError):
    """What must be exact at the beginning of a rollout was not: the programs that sample and update disagree."""


def spec(config: PpoStageConfig, name: str = "") -> StageSpec:
    """Names the stage, which looks at its parents and its data.

    Raises:
      BadInputError: one of them is missing or unfit.
    """
    parent = find(config.parent)
    store = _prompts(config, parent)
    rewards = {f"reward_{index}": identity for index, identity in enumerate(identities(config.reward))}
    hashes = {"prompts": store.store_hash} | policy_meter.data_of(config.meter)
    if config.gold:
        hashes["trained_on_gold"] = config.gold.identity
    if config.pretraining.store:
        hashes["pretraining"] = TokenStore.open(config.pretraining.store).store_hash
    return stage_spec(
        "ppo",
        config,
        {"policy": parent.identity, "reference": parent.identity} | rewards | policy_meter.parents_of(config.meter),
        hashes,
        str(parent.vocabulary_store),
        name,
    )


class PpoStage(TrainedStage):
    """The stage (:class:`align.training.stage.Stage`)."""

    unit = "episodes"

    def __init__(self, config: PpoStageConfig):
        """Reads policy, reward models and prompts."""
        self._config, training = config, config.training
        parent = find(config.parent)
        self._vocabulary = parent.vocabulary()
        self._examples = _prompts(config, parent).split(config.data.split)
        self._count = data.training_examples(self._examples, config.data)
        self._policy = policies.Policy.of(parent, training, config.minibatch_size, config.lora)
        self._base = self._policy.place(parent.parameters())
        self._rewards = (
            RewardModels(config.reward, training, self._vocabulary.sha256) if config.reward.members else None
        )
        self._value, value_start = self._value_network()
        self._beginnings = (self._base, value_start)
        self.steps = training.horizon(self._count * config.samples_per_prompt)
        self.units_per_step = training.batch_size
        self._sampler = generator(self._policy.model, config.sampling, self._vocabulary.eos_id, self._policy.mesh)
        self._pretraining = (
            TokenStore.open(config.pretraining.store).split("train") if config.pretraining.store else None
        )
        self._compile()
        self._measured = MeasuredPolicy(config.meter, parent, self._policy, training)

    def step(self, state: update.TrainedState, step: int):
        """A rollout and all its updates."""
        training, replicated = self._config.training, self._policy.replicated
        base = self._policy.frozen_base(self._base)
        drawn = self._rollout(state, step)
        sequences = jax.device_put(drawn.sequences, self._policy.rows)
        scores = self._scores(sequences)
        experience, of_rollout = self._experience(
            state.trained, base, self._base, sequences, scores, drawn.ended, state.extra["controller"]
        )
        orders, rates = (
            jax.device_put(self._orders(step), replicated),
            update.rates(training, step, self.steps, replicated),
        )
        following, of_updates = self._update(
            state, base, self._base, experience, self._text(step), orders, rates, of_rollout["kl"]
        )
        return following, of_rollout | of_updates

    def check(self, step: int, metrics: dict[str, float]) -> None:
        """The ratio of the first minibatch is exactly 1, and the divergence of the policy from itself exactly 0.

        Raises:
          RatioError: it is not.
        """
        if metrics["first_ratio_deviation"] != 0:
            raise RatioError(
                f"step {step}: the first minibatch's ratio deviates from 1 by {metrics['first_ratio_deviation']:.3g}"
            )
        if metrics["log_prob_mismatch"] > _ROUNDING[self._config.training.compute_dtype]:
            raise RatioError(
                f"step {step}: rollout and update disagree on a log-probability by {metrics['log_prob_mismatch']:.3g}"
            )
        if step == 0 and (metrics["kl"] != 0 or metrics["kl_k3"] != 0):
            raise RatioError(f"the divergence of the policy from itself is {metrics['kl']:.3g}, not 0")

    def measure(self, state: update.TrainedState, step: int, stop_if_asked: Callable[[], None]) -> dict[str, Any]:
        """Reward and divergence of fresh samples."""
        return self._measured.measure(self._full(state), self._base, step, stop_if_asked)

    def work(self, steps: int, rows: Sequence[Mapping[str, Any]]) -> Work:
        """Rollouts, what is read from them, and all epochs of updates."""
        model = self._policy.config
        known = [row["length"] for row in rows if "length" in row for _ in range(row["steps"])]
        # A stage that diverged has steps behind its last row.
        lengths = known + [known[-1] if known else self._config.data.completion_length] * (steps - len(known))
        value = self._value.config if self._value is not None else None
        rewards = architectures(self._config.reward)
        stage = reinforced(self._config, model, value, rewards, data.first_column(self._examples), lengths[:steps])
        drawing, scoring = policy_meter.work(
            self._config.meter, model, [row["policy"] for row in rows if "policy" in row]
        )
        return stage._replace(measuring=[*drawing, *scoring])

    def conclude(self, state: update.TrainedState, directory: StageDirectory) -> dict[str, Any]:
        """Writes the policy and its samples."""
        parameters = self._full(state)
        self._measured.write_samples(parameters, self._base, directory)
        config = self._config
        return saving.save_model(self._policy, parameters, directory) | {
            "method": config.method,
            "settings": _settings(config),
            "final_beta": float(jax.device_get(state.extra["controller"].beta)),
            "gold": self._measured.gold_name,
            "proxy": proxy_description.describe(config.reward),
        }

    def _value_network(self):
        """The separate value network's architecture and what it starts from, or what a shared head starts from."""
        config = self._config
        if config.algorithm != "ppo" or config.value.network == "shared":
            return None, None
        source = config.parent if config.value.start == "policy" else ParentConfig(config.reward.members[0])
        parent = find(source)
        network = policies.Policy.of(parent, config.training, config.minibatch_size)
        return network, network.place(parent.parameters())

    def _compile(self) -> None:
        policy, config = self._policy, self._config
        shapes = {"policy": policy.trainable_shapes}
        shardings = {"policy": policy.trainable_shardings}
        decayed = {"policy": policy.decayed}
        if config.algorithm == "ppo":
            width = (self._value or policy).config.width
            head = jax.eval_shape(lambda key: scalar_head.init_head(width, key), jax.random.key(0))
            shapes["value"], decayed["value"] = {"head": head}, {"head": jax.tree.map(lambda leaf: False, head)}
            shardings["value"] = {"head": jax.tree.map(lambda leaf: policy.replicated, head)}
            if self._value is not None:
                shapes["value"]["trunk"] = self._value.trainable_shapes
                shardings["value"]["trunk"] = self._value.trainable_shardings
                decayed["value"]["trunk"] = self._value.decayed
        self._updates = update.Updates.of(config.training, decayed)
        extra = {"controller": controllers.ControllerState(policy.replicated)}
        self._state_shardings = self._updates.shardings(shapes, shardings, policy.replicated, extra)
        programs = Programs(config, policy, self._value, self._updates, data.first_column(self._examples))
        self._init = policy.compiled(self._initial, out_shardings=self._state_shardings)
        self._experience = policy.compiled(programs.experience)
        self._update = policy.compiled(
            programs.updated, donate_argnums=0, out_shardings=(self._state_shardings, policy.replicated)
        )
        self._full_parameters = policy.compiled(policy.full)

    def _initial(self, base, value_start) -> update.TrainedState:
        config = self._config
        key = jax.random.key(config.training.seed)
        trained = {"policy": self._policy.trainable(base, jax.random.fold_in(key, 1))}
        if config.algorithm == "ppo":
            width = (self._value or self._policy).config.width
            # Zero, so that the first advantages are the rewards themselves and no random baseline.
            trained["value"] = {"head": scalar_head.init_head(width, jax.random.fold_in(key, 2), "zero")}
            if value_start is not None:
                trained["value"]["trunk"] = jax.tree.map(jnp.copy, value_start)
        return self._updates.initial(trained, {"controller": controllers.initial(config.controller)})

    def _full(self, state: update.TrainedState):
        if not self._policy.adapter.rank:
            return state.trained["policy"]
        return self._full_parameters(state.trained["policy"], self._base)

    def _rollout(self, state: update.TrainedState, step: int):
        """Episodes of the prompts that (seed, step) determines, with keys that it determines too."""
        config, training = self._config, self._config.training
        prompts_per_step = training.batch_size // config.samples_per_prompt
        chosen = rows(training.seed, step, prompts_per_step, self._count)
        prompts = self._examples.prompts(np.repeat(chosen, config.samples_per_prompt), config.data.prompt_length)
        numbers = np.repeat(step * prompts_per_step + np.arange(prompts_per_step), config.samples_per_prompt)
        draws = np.tile(np.arange(config.samples_per_prompt), prompts_per_step)
        with jax.transfer_guard("allow"):
            # The sampler puts prompts and keys where it wants them.
            keys = row_keys(training.seed + _ROLLOUTS, numbers, draws)
            prepared = self._sampler.prepare(self._full(state), training.batch_size)
            return self._sampler.run(prepared, prompts.tokens, prompts.lengths, keys)

    def _scores(self, sequences) -> jax.Array:
        if self._rewards is not None:
            return self._rewards.scores(sequences)
        scores = self._config.gold.score(jax.device_get(sequences), self._vocabulary)
        return jax.device_put(scores.astype(np.float32), self._policy.rows)

    def _orders(self, step: int) -> np.ndarray:
        """The order of episodes in each epoch: as they came, then shuffled."""
        config = self._config
        random = np.random.Generator(np.random.PCG64([config.training.seed, _ROLLOUTS, step]))
        batch = np.arange(config.training.batch_size)
        shuffled = [random.permutation(batch) for _ in range(config.epochs - 1)]
        return np.stack([batch, *shuffled]).astype(np.int32)

    def _text(self, step: int) -> Batch | None:
        """Windows of pretraining text for every update of a step."""
        mix = self._config.pretraining
        if self._pretraining is None:
            return None
        updates = self._config.epochs * self._config.minibatches
        windows = window_indices(
            step,
            updates * mix.sequences,
            self._pretraining.num_windows(mix.sequence_length),
            self._config.training.seed,
        )
        batch = gather(self._pretraining, windows, mix.sequence_length, isolate_documents=True)
        by_update = jax.tree.map(lambda array: array.reshape(updates, mix.sequences, -1), batch)
        return jax.device_put(by_update, self._policy.replicated)


def _prompts(config: PpoStageConfig, parent: Parent) -> ExampleStore:
    return data.open_examples(config.data, parent, "prompts", "dialogue", "pairs", "ranked")


def _settings(config: PpoStageConfig) -> dict[str, Any]:
    """What distinguishes runs of one method."""
    controller = config.controller
    settings = {"beta": controller.beta, "kl_estimator": config.kl_estimator, "kl_in": config.kl_in}
    if controller.name != "fixed":
        settings |= {"controller": controller.name, "target": controller.target}
    if len(config.reward.members) > 1:
        settings |= {"reward_models": len(config.reward.members), "combine": config.reward.combine}
    return settings
