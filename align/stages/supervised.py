"""Supervised fine-tuning: next-token loss on completions, several examples packed into a row."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from align.accounting.passes import whole_rows
from align.accounting.work import Work
from align.data.batches import covering, rows
from align.data.packing import PackedExamples, pack
from align.data.store import ExampleStore
from align.models import policy as policies
from align.models import saving
from align.models.lora import LoraConfig
from align.models.parents import ParentConfig, find
from align.stage_config import ExamplesConfig, TrainingConfig
from align.stages.data import open_examples
from align.training import update
from align.training.stage_directory import StageDirectory, StageSpec, stage_spec
from align.training.trained_stage import TrainedStage
from scaling.data.batches import Batch
from scaling.models import loss as losses
from scaling.training.step import accumulated


@dataclasses.dataclass(frozen=True)
class SupervisedConfig:
    """One supervised fine-tune.

    Attributes:
      parent: the model that it starts from.
      data: prompts with one completion each. Rows of `prompt_length + completion_length` tokens hold several examples, each a segment of its own.
      training: how; a batch is `batch_size` rows.
      lora: trains an adapter instead of the parameters.
    """

    parent: ParentConfig
    data: ExamplesConfig
    training: TrainingConfig = TrainingConfig()
    lora: LoraConfig = LoraConfig()


def spec(config: SupervisedConfig, name: str = "") -> StageSpec:
    """Names the stage, which looks at its parent and its data.

    Raises:
      BadInputError: one of them is missing or unfit.
    """
    parent = find(config.parent)
    store = open_examples(config.data, parent, "dialogue")
    return stage_spec(
        "sft", config, {"policy": parent.identity}, {"examples": store.store_hash}, str(parent.vocabulary_store), name
    )


class Supervised(TrainedStage):
    """The stage (:class:`align.training.stage.Stage`)."""

    unit = "rows"
    method = "sft"

    def __init__(self, config: SupervisedConfig):
        """Reads the parent and packs the examples."""
        self._config, training = config, config.training
        parent = find(config.parent)
        store = open_examples(config.data, parent, "dialogue")
        self._policy = policies.Policy.of(
            parent, training, training.batch_size // training.execution.accumulation, config.lora
        )
        self._base = self._policy.place(parent.parameters())
        self._beginnings = (self._base,)
        self._train = pack(store.split(config.data.split), config.data.length, seed=training.seed)
        self._validation = self._held_out(store)
        self.steps = training.horizon(self._train.num_rows)
        self.units_per_step = training.batch_size
        self._compile()

    def _compile(self) -> None:
        self._updates = update.Updates.of(self._config.training, self._policy.decayed)
        self._state_shardings = self._updates.shardings(
            self._policy.trainable_shapes, self._policy.trainable_shardings, self._policy.replicated
        )
        self._init = self._policy.compiled(self._initial, out_shardings=self._state_shardings)
        self._step = self._policy.compiled(
            self._train_step, donate_argnums=0, out_shardings=(self._state_shardings, self._policy.replicated)
        )
        self._nats = self._policy.compiled(self._sums)

    def _held_out(self, store: ExampleStore) -> PackedExamples | None:
        split = self._config.data.validation_split
        return pack(store.split(split), self._config.data.length) if split else None

    def step(self, state: update.TrainedState, step: int):
        """One update on the rows that (seed, step) determines."""
        training = self._config.training
        chosen = rows(training.seed, step, training.batch_size, self._train.num_rows)
        batch = jax.device_put(self._train.gather(chosen), self._policy.rows)
        rates = update.rates(training, step, self.steps, self._policy.replicated)
        return self._step(state, self._policy.frozen_base(self._base), batch, rates)

    def measure(self, state: update.TrainedState, step: int, stop_if_asked: Callable[[], None]) -> dict[str, Any]:
        """The loss of held-out completions, nats per token with its standard error over rows."""
        if self._validation is None:
            return {}
        base = self._policy.frozen_base(self._base)
        nats, tokens = [], []
        for indices, weights in covering(self._validation.num_rows, self._config.training.batch_size):
            stop_if_asked()
            batch = jax.device_put(self._validation.gather(indices), self._policy.rows)
            row_nats, row_tokens = jax.device_get(self._nats(state.trained, base, batch))
            nats.append(row_nats * weights)
            tokens.append(row_tokens * weights)
        nats, tokens = np.concatenate(nats).astype(np.float64), np.concatenate(tokens).astype(np.float64)
        mean = nats.sum() / tokens.sum()
        # The standard error of a ratio of sums, over rows.
        counted = tokens > 0
        error = np.sqrt(np.sum((nats - mean * tokens)[counted] ** 2)) / tokens.sum()
        return {
            "held_out": {
                "validation_loss": float(mean),
                "validation_loss_error": float(error),
                "validation_tokens": int(tokens.sum()),
            }
        }

    def work(self, steps: int, rows: Sequence[Mapping[str, Any]]) -> Work:
        """Packed rows, forward and backward, and the held-out ones of every measurement."""
        model, length = self._policy.config, self._config.data.length
        held_out = sum("held_out" in row for row in rows) * (self._validation.num_rows if self._validation else 0)
        trained = whole_rows(model, steps * self._config.training.batch_size, length).with_gradient()
        return Work(training=[trained], measuring=[whole_rows(model, held_out, length)])

    def conclude(self, state: update.TrainedState, directory: StageDirectory) -> dict[str, Any]:
        """Writes the model."""
        return saving.save_model(self._policy, self._policy.full(state.trained, self._base), directory) | {
            "method": "sft"
        }

    def _initial(self, base):
        key = jax.random.fold_in(jax.random.key(self._config.training.seed), 1)
        return self._updates.initial(self._policy.trainable(base, key))

    def _train_step(self, state, base, batch: Batch, rates):
        counted = jnp.sum(batch.loss_mask)

        def loss(trained, part: Batch):
            nats = losses.masked_sums(self._logits(trained, base, part), part.targets, part.loss_mask).nats
            return nats / counted, nats / counted

        def gradient(part):
            return jax.grad(loss, has_aux=True)(state.trained, part)

        gradients, value = accumulated(gradient, batch, self._config.training.execution.accumulation)
        metrics = {"loss": value, "gradient_norm": optax.tree.norm(gradients)}
        return self._updates.applied(state, gradients, rates), metrics

    def _sums(self, trained, base, batch: Batch):
        """Nats and tokens of every row."""
        nats_BxT = losses.token_nats(self._logits(trained, base, batch), batch.targets) * batch.loss_mask
        return jnp.sum(nats_BxT, axis=1), jnp.sum(batch.loss_mask, axis=1)

    def _logits(self, trained, base, batch: Batch):
        parameters = self._policy.full(trained, base)
        hidden = self._policy.model.hidden_states(parameters, batch.tokens, batch.segment_ids, batch.positions)
        return self._policy.model.logits(parameters, hidden)
