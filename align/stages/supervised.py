"""Supervised fine-tuning: next-token loss on completions, several examples packed into a row."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from align.data import packing
from align.data.batches import rows
from align.data.store import ExampleStore
from align.models import policy as policies
from align.models import saving
from align.models.lora import LoraConfig
from align.models.parents import Parent, ParentConfig, find, require_vocabulary
from align.stage_config import ExamplesConfig, TrainingConfig
from align.training import update
from align.training.stage_directory import StageDirectory, StageSpec, stage_spec
from scaling.data.batches import Batch
from scaling.models import loss as losses
from scaling.training.step import accumulated


@dataclasses.dataclass(frozen=True)
class SupervisedConfig:
    """One supervised fine-tune.

    Attributes:
      parent: the model that it starts from.
      data: dialogues, or pairs, of which the preferred sides are taken (preferred fine-tuning, a baseline of Rafailov et al. 2023).
      training: how; a batch is `batch_size` rows.
      completion_only: whether prompts count in the loss.
      packing: several examples in a row, each a segment of its own; without it every row holds one.
      lora: trains an adapter instead of the parameters.
    """

    parent: ParentConfig
    data: ExamplesConfig
    training: TrainingConfig = TrainingConfig()
    completion_only: bool = True
    packing: bool = True
    lora: LoraConfig = LoraConfig()


def spec(config: SupervisedConfig, name: str = "") -> StageSpec:
    """Names the stage, which looks at its parent and its data.

    Raises:
      BadInputError: one of them is missing or unfit.
    """
    parent = find(config.parent)
    store = open_examples(config.data, parent)
    return stage_spec(
        "sft", config, {"policy": parent.identity}, {"examples": store.hash}, str(parent.vocabulary_store), name
    )


def open_examples(config: ExamplesConfig, parent: Parent) -> ExampleStore:
    """The examples of a stage, checked against its parent.

    Raises:
      DataError: they are missing, altered, or tokenised for another model.
    """
    store = ExampleStore.open(config.store)
    require_vocabulary(parent, store.manifest["vocabulary"]["sha256"], f"the example store {config.store}")
    return store


class Supervised:
    """The stage (:class:`align.training.stage.Stage`)."""

    unit = "rows"
    method = "sft"

    def __init__(self, config: SupervisedConfig):
        """Reads the parent and packs the examples."""
        self._config, training = config, config.training
        parent = find(config.parent)
        store = open_examples(config.data, parent)
        self._policy = policies.Policy.of(
            parent, training, training.batch_size // training.execution.accumulation, config.lora
        )
        self._base = self._policy.place(parent.parameters())
        self._train = self._packed(store, config.data.split)
        self._validation = self._packed(store, config.data.validation_split, config.data.validation_examples)
        self.steps = training.horizon(len(self._train.tokens))
        self.units_per_step = training.batch_size
        self._updates = update.Updates.of(training, self._policy.decayed)
        self._state_shardings = self._updates.shardings(
            self._policy.trainable_shapes, self._policy.trainable_shardings, self._policy.replicated
        )
        self._init = self._policy.compiled(self._initial, out_shardings=self._state_shardings)
        self._step = self._policy.compiled(
            self._train_step, donate_argnums=0, out_shardings=(self._state_shardings, self._policy.replicated)
        )
        self._nats = self._policy.compiled(self._sums)

    def _packed(self, store: ExampleStore, split: str, most: int = 0) -> Batch:
        examples = store.split(split)
        most = most or self._config.data.max_examples
        length = self._config.data.length
        return packing.packed(
            examples.first(most) if most else examples,
            length,
            completion_only=self._config.completion_only,
            one_per_row=not self._config.packing,
        )

    def initial_state(self) -> update.TrainedState:
        """The parent's parameters, or a new adapter."""
        return self._init(self._base)

    def abstract_state(self) -> update.TrainedState:
        """Shapes, types and shardings."""
        return update.shaped(jax.eval_shape(self._initial, self._base), self._state_shardings)

    def learning_rate(self, step: int) -> float:
        """Of a step."""
        return self._config.training.rate(step, self.steps)

    def step(self, state: update.TrainedState, step: int):
        """One update on the rows that (seed, step) determines."""
        training = self._config.training
        chosen = rows(training.seed, step, training.batch_size, len(self._train.tokens))
        batch = jax.device_put(jax.tree.map(lambda array: array[chosen], self._train), self._policy.rows)
        rates = update.rates(training, step, self.steps, self._policy.replicated)
        return self._step(state, self._policy.frozen_base(self._base), batch, rates)

    def check(self, step: int, metrics: dict[str, float]) -> None:
        """Nothing beyond finiteness."""

    def measure(self, state: update.TrainedState, step: int, stop_if_asked: Callable[[], None]) -> dict[str, Any]:
        """The loss of held-out completions, nats per token with its standard error over rows."""
        if not len(self._validation.tokens):
            return {}
        nats, tokens = [], []
        size = self._config.training.batch_size
        for start in range(0, len(self._validation.tokens), size):
            stop_if_asked()
            batch = jax.tree.map(
                lambda array, start=start: _filled(array[start : start + size], size), self._validation
            )
            row_nats, row_tokens = jax.device_get(
                self._nats(
                    state.trained, self._policy.frozen_base(self._base), jax.device_put(batch, self._policy.rows)
                )
            )
            nats.append(row_nats)
            tokens.append(row_tokens)
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


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    """The last rows of a pass, filled up with zeros (padding: segment 0, mask 0) so that one compilation serves."""
    return np.pad(array, [(0, size - len(array)), *[(0, 0)] * (array.ndim - 1)])
