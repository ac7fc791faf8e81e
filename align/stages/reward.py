"""Reward models from ranked completions: pairs, or K of a prompt in one batch element."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from align.accounting.passes import answers, at_last_tokens
from align.accounting.work import Work
from align.data.batches import covering, rows
from align.data.rows import Examples
from align.losses import reward as losses
from align.models import policy as policies
from align.models import saving, scalar_head, shared_prompts
from align.models.lora import LoraConfig
from align.models.parents import ParentConfig, find
from align.sequences import Sequences
from align.stage_config import ExamplesConfig, TrainingConfig
from align.stages import data
from align.statistics import reward_accuracy
from align.training import update
from align.training.stage_directory import StageDirectory, StageSpec, stage_spec
from align.training.trained_stage import TrainedStage
from scaling.errors import ConfigError
from scaling.training.step import accumulated


@dataclasses.dataclass(frozen=True)
class RewardStageConfig:
    """One reward model. Members of an ensemble are runs that differ in `TrainingConfig.seed`: of the head, and of the order of the data.

    Attributes:
      parent: the policy whose trunk it starts from.
      data: pairs, or ranked completions.
      training: how; a batch is `batch_size` prompts.
      lora: trains an adapter (and the head) instead of the trunk.
      head_init: of the head.
      margin: "gold" subtracts the margin that the store gives for each pair, times `margin_scale` (Llama 2).
      margin_scale: see `margin`.
      centring: weight of (r_w + r_l)^2; pairs only.
      normalisation: fixed once at the end and stored with the head: "standardise" gives the preferred and other completions of the training examples mean 0 and
        standard deviation 1 (Ziegler et al. 2019), "preferred" gives the preferred ones mean 0 (Ouyang et al. 2022: demonstrations score 0), "none" nothing.
    """

    parent: ParentConfig
    data: ExamplesConfig
    training: TrainingConfig = TrainingConfig()
    lora: LoraConfig = LoraConfig()
    head_init: scalar_head.HeadInit = "stiennon"
    margin: Literal["none", "gold"] = "none"
    margin_scale: float = 1.0
    centring: float = 0.0
    normalisation: Literal["standardise", "preferred", "none"] = "standardise"

    def __post_init__(self):
        if self.centring < 0:
            raise ConfigError(f"RewardStageConfig.centring is {self.centring!r}", "give 0 or a positive number")


def spec(config: RewardStageConfig, name: str = "") -> StageSpec:
    """Names the stage, which looks at its parent and its data.

    Raises:
      BadInputError: one of them is missing or unfit.
    """
    parent = find(config.parent)
    store = data.open_examples(config.data, parent, "pairs", "ranked")
    return stage_spec(
        "reward",
        config,
        {"policy": parent.identity},
        {"examples": store.store_hash},
        str(parent.vocabulary_store),
        name,
    )


class RewardStage(TrainedStage):
    """The stage (:class:`align.training.stage.Stage`)."""

    unit = "prompts"

    def __init__(self, config: RewardStageConfig):
        """Reads the parent and opens the examples."""
        self._config, training = config, config.training
        parent = find(config.parent)
        store = data.open_examples(config.data, parent, "pairs", "ranked")
        self._examples = store.split(config.data.split)
        self._ranks = store.num_completions
        self._label_noise = store.manifest["labels"][config.data.split]["noise"]
        _require_pairs_where_needed(config, self._ranks)
        self._count = data.training_examples(self._examples, config.data)
        split = config.data.validation_split
        self._validation = store.split(split) if split else None
        self._room = data.room(self._examples, *([self._validation] if split else []))
        self._policy = policies.Policy.of(
            parent, training, training.batch_size // training.execution.accumulation, config.lora
        )
        self._base = self._policy.place(parent.parameters())
        self._beginnings = (self._base,)
        self.steps = training.horizon(self._count)
        self.units_per_step = training.batch_size
        self._compile()

    def step(self, state: update.TrainedState, step: int):
        """One update on the prompts that (seed, step) determines."""
        training = self._config.training
        chosen = rows(training.seed, step, training.batch_size, self._count)
        rates = update.rates(training, step, self.steps, self._policy.replicated)
        batch = jax.device_put(self._batch(self._examples, chosen), self._policy.rows)
        return self._step(state, self._policy.frozen_base(self._base), batch, rates)

    def measure(self, state: update.TrainedState, step: int, stop_if_asked: Callable[[], None]) -> dict[str, Any]:
        """Accuracy by margin and by length, calibration, agreement with the gold score, on held-out examples."""
        if self._validation is None:
            return {}
        report = self._report(state, self._validation, self._config.data.validation_examples, stop_if_asked)
        return {
            "held_out": {
                "validation_loss": report["log_loss"],
                "validation_accuracy": report["accuracy"],
                "report": report,
            }
        }

    @property
    def _normalised(self) -> int:
        """Training examples that fix the normalisation."""
        return min(self._count, max(256, self._config.data.validation_examples))

    def work(self, steps: int, rows: Sequence[Mapping[str, Any]]) -> Work:
        """All completions of a prompt, the last layer at their last tokens alone."""
        data_config = self._config.data
        one = at_last_tokens(
            answers(self._policy.config, 1, self._ranks, *self._room, data_config.length, head_columns=0), self._ranks
        )
        examples = 0 if self._validation is None else min(len(self._validation), data_config.validation_examples)
        # At the end the training examples are scored twice: for the normalisation, and for the report.
        concluded = 2 * self._normalised if steps == self.steps else 0
        read = sum("held_out" in row for row in rows) * examples + concluded
        trained = one.with_gradient().times(steps * self._config.training.batch_size)
        return Work(training=[trained], measuring=[one.times(read)])

    def conclude(self, state: update.TrainedState, directory: StageDirectory) -> dict[str, Any]:
        """Fixes the normalisation and writes trunk and head."""
        count = self._normalised
        rewards = self._rewards(state, self._examples, count, lambda: None)
        gain, offset = _normaliser(rewards, self._config.normalisation)
        saving.save_head(directory, jax.device_get(state.trained["head"]), {"gain": gain, "offset": offset})
        parameters = self._trunk(state.trained["trunk"], self._base)
        trained_on = self._report(state, self._examples, count, lambda: None)
        return saving.save_model(self._policy, parameters, directory) | {
            "method": "reward model",
            "settings": {"learning_rate": self._config.training.learning_rate, "examples": self._count},
            "normaliser": {"gain": gain, "offset": offset, "rewards": int(rewards.size)},
            "train_accuracy": trained_on["accuracy"],
            "label_noise": self._label_noise,
        }

    def _compile(self) -> None:
        policy, training = self._policy, self._config.training
        head = jax.eval_shape(lambda key: scalar_head.init_head(policy.config.width, key), jax.random.key(0))
        shapes = {"trunk": policy.trainable_shapes, "head": head}
        shardings = {
            "trunk": policy.trainable_shardings,
            "head": jax.tree.map(lambda leaf: policy.replicated, head),
        }
        self._updates = update.Updates.of(
            training, {"trunk": policy.decayed, "head": jax.tree.map(lambda leaf: False, head)}
        )
        self._state_shardings = self._updates.shardings(shapes, shardings, policy.replicated)
        self._init = policy.compiled(self._initial, out_shardings=self._state_shardings)
        self._step = policy.compiled(
            self._train_step, donate_argnums=0, out_shardings=(self._state_shardings, policy.replicated)
        )
        self._score = policy.compiled(self._scores)
        self._trunk = policy.compiled(policy.full)

    def _initial(self, base):
        key = jax.random.key(self._config.training.seed)
        trunk = self._policy.trainable(base, jax.random.fold_in(key, 1))
        head = scalar_head.init_head(self._policy.config.width, jax.random.fold_in(key, 2), self._config.head_init)
        return self._updates.initial({"trunk": trunk, "head": head})

    def _batch(self, examples: Examples, chosen: np.ndarray) -> dict[str, Any]:
        """Leaves begin with the axis of prompts: sequences [B, K, T], margins [B]."""
        flat = examples.sequences(chosen, self._config.data.length)
        margins = np.nan_to_num(np.asarray(examples.margins[chosen], np.float32))
        return {
            "sequences": jax.tree.map(lambda array: array.reshape(len(chosen), self._ranks, *array.shape[1:]), flat),
            "margins": margins * np.float32(self._config.margin_scale if self._config.margin == "gold" else 0),
        }

    def _scores(self, trained, base, sequences_BxK: Sequences) -> jax.Array:
        """Rewards [B, K]."""
        parameters = self._policy.full(trained["trunk"], base)
        return shared_prompts.sequence_scalars(
            self._policy.model, parameters, trained["head"], sequences_BxK, self._room
        )

    def _train_step(self, state: update.TrainedState, base, batch, rates):
        count = batch["margins"].shape[0]
        config = self._config

        def loss(trained, part):
            rewards_BxK = self._scores(trained, base, part["sequences"])
            if self._ranks == 2:
                losses_B = losses.bradley_terry(
                    rewards_BxK[:, 0], rewards_BxK[:, 1], part["margins"], centring=config.centring
                )
            else:
                losses_B = losses.ranked(rewards_BxK)
            correct_B = rewards_BxK[:, 0] > rewards_BxK[:, 1]
            metrics = {
                "loss": jnp.sum(losses_B) / count,
                "accuracy": jnp.sum(correct_B.astype(jnp.float32)) / count,
                "margin": jnp.sum(rewards_BxK[:, 0] - rewards_BxK[:, -1]) / count,
            }
            return metrics["loss"], metrics

        gradients, metrics = accumulated(
            lambda part: jax.grad(loss, has_aux=True)(state.trained, part),
            batch,
            config.training.execution.accumulation,
        )
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        return self._updates.applied(state, gradients, rates), metrics

    def _rewards(self, state, examples: Examples, count: int, stop_if_asked: Callable[[], None]) -> np.ndarray:
        """float64 [count, K]."""
        found = []
        for indices, weights in covering(count, self._config.training.batch_size):
            stop_if_asked()
            batch = jax.device_put(self._batch(examples, indices)["sequences"], self._policy.rows)
            scores = jax.device_get(self._score(state.trained, self._policy.frozen_base(self._base), batch))
            found.append(scores[weights > 0])
        return np.concatenate(found).astype(np.float64)

    def _report(self, state, examples: Examples, most: int, stop_if_asked: Callable[[], None]) -> dict[str, Any]:
        count = min(most, len(examples))
        rewards = self._rewards(state, examples, count, stop_if_asked)
        first_and_last = [0, -1]
        return reward_accuracy.report(
            rewards[:, first_and_last],
            np.asarray(examples.scores[:count])[:, first_and_last],
            examples.completion_lengths[:count][:, first_and_last],
        )


def _require_pairs_where_needed(config: RewardStageConfig, ranks: int) -> None:
    if ranks > 2 and (config.centring or config.margin != "none"):
        raise ConfigError(
            f"RewardStageConfig.centring and margin are defined for pairs, and {config.data.store} has {ranks} completions a prompt",
            "leave them at 0 and 'none', or prepare pairs",
        )


def _normaliser(rewards_NxK: np.ndarray, kind: str) -> tuple[float, float]:
    """Gain and offset of the linear map that is applied to rewards ever after."""
    if kind == "none":
        return 1.0, 0.0
    if kind == "preferred":
        return 1.0, -float(np.mean(rewards_NxK[:, 0]))
    spread = float(np.std(rewards_NxK))
    gain = 1 / spread if spread > 0 else 1.0
    return gain, -gain * float(np.mean(rewards_NxK))
