"""The mathematics of a PPO, RLOO or GRPO step, on arrays: experience from a rollout, and its epochs of updates.

Old and new log-probabilities come from one function on minibatches of one shape, but a forward pass alone is compiled otherwise than one with its
gradient, which shows in the last bit. On the first minibatch of a rollout the policy is still the one that sampled, so there its own log-probabilities
are the old ones and the ratio is exactly 1; how far the two programs are apart is measured there, and refused where it is more than rounding.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from align.models import scalar_head
from align.models.log_probabilities import exact_token_kl, token_log_probs, token_statistics
from align.models.policy import Policy
from align.rl import controllers, gae, kl
from align.rl.advantages import group_relative, leave_one_out
from align.rl.policy_loss import policy_loss, pretraining_loss, sequence_policy_loss
from align.rl.rewards import penalise_missing_eos, token_rewards
from align.rl.token_weights import token_weights
from align.rl.value_loss import value_loss
from align.rl.whitening import whiten
from align.sequences import Sequences, completion_mask
from align.stages.ppo_config import PpoStageConfig
from align.training.update import TrainedState, Updates


class Experience(NamedTuple):
    """A rollout, ready for its epochs; every leaf begins with the axis of episodes.

    Attributes:
      sequences: the episodes.
      log_probs: [B, T], of the policy that sampled.
      reference_log_probs: [B, T].
      advantages: [B, T].
      returns, values: [B, T], targets of the value function and its answers at the rollout; zeros without one.
    """

    sequences: Sequences
    log_probs: jax.Array
    reference_log_probs: jax.Array
    advantages: jax.Array
    returns: jax.Array
    values: jax.Array


class Programs:
    """Functions of arrays for one configuration; the stage compiles them."""

    def __init__(
        self, config: PpoStageConfig, policy: Policy, value: Policy | None, updates: Updates, first_column: int
    ):
        """Binds what is static.

        Args:
          config: of the stage.
          policy: the policy's architecture.
          value: that of a separate value network, or None.
          updates: of the trained tree {"policy": ..., "value": ...}.
          first_column: no completion begins before it.
        """
        self._config, self._policy, self._value, self._updates = config, policy, value, updates
        self._first_column = first_column
        options = {"first_column": first_column, "temperature": config.temperature}
        self._log_probs = functools.partial(token_log_probs, policy.model, **options)
        self._token_statistics = functools.partial(token_statistics, policy.model, **options)

    def experience(self, trained, base, reference, sequences: Sequences, scores_B, ended_B, controller):
        """Advantages and everything else that the updates need, with what monitors ask of a rollout.

        Args:
          trained: the trained tree.
          base: of an adapter, or None.
          reference: the reference's parameters.
          sequences: the episodes.
          scores_B: their rewards.
          ended_B: whether each ended by itself.
          controller: state of the KL controller.
        """
        config, mask = self._config, completion_mask(sequences)
        parameters = self._policy.full(trained["policy"], base)
        log_probs, entropies = self._by_minibatch(functools.partial(self._token_statistics, parameters), sequences)
        # By the same program, though nobody asks for its entropies: the divergence of a policy from itself is then 0 to the last bit.
        reference_log_probs, _ = self._by_minibatch(functools.partial(self._token_statistics, reference), sequences)
        scores_B = penalise_missing_eos(scores_B, ended_B, config.missing_eos_penalty, config.eos_penalty)
        penalties = jnp.zeros_like(log_probs)
        if config.kl_in == "reward":
            penalties = self._penalties(parameters, reference, sequences, log_probs, reference_log_probs, mask)
        if config.algorithm == "ppo":
            parts = self._with_values(trained, parameters, sequences, scores_B, penalties, mask, controller)
        else:
            parts = self._against_group(scores_B, penalties, mask, controller)
        found = Experience(sequences, log_probs, reference_log_probs, *parts)
        return found, _rollout_metrics(found, entropies, scores_B, ended_B, mask, controller)

    def updated(self, state: TrainedState, base, reference, experience: Experience, ptx, orders, rates, episodes_kl):
        """All epochs over a rollout.

        Args:
          state: before them.
          base, reference: as for :meth:`experience`.
          experience: the rollout.
          ptx: [epochs * minibatches, ...] batches of pretraining text, or None.
          orders: int32 [epochs, B], the order of episodes in each epoch; the first is 0 .. B - 1.
          rates: of the optimiser.
          episodes_kl: mean k1 of the rollout, for the controller.
        """
        config = self._config
        parts = (config.epochs * config.minibatches, config.minibatch_size)
        rows = orders.reshape(parts)
        is_first = jnp.arange(len(rows)) == 0

        def update(state: TrainedState, inputs):
            indices, text, first = inputs
            minibatch = jax.tree.map(lambda array: array[indices], experience)
            loss = functools.partial(self._loss, base, reference, minibatch, text, state.extra["controller"], first)
            gradients, metrics = jax.grad(loss, has_aux=True)(state.trained)
            metrics["gradient_norm"] = optax.tree.norm(gradients)
            return self._updates.applied(state, gradients, rates), metrics

        following, metrics = jax.lax.scan(update, state, (rows, ptx, is_first))
        controller = controllers.updated(
            config.controller, state.extra["controller"], episodes_kl, config.training.batch_size
        )
        following = following._replace(step=state.step + 1, extra={"controller": controller})
        of_first = {
            "first_ratio_deviation": metrics.pop("ratio_deviation")[0],
            "log_prob_mismatch": metrics.pop("mismatch")[0],
        }
        largest = jnp.max(metrics.pop("ratio_max"))
        return following, jax.tree.map(jnp.mean, metrics) | of_first | {"ratio_max": largest}

    def _by_minibatch(self, function, sequences: Sequences):
        size = self._config.minibatch_size
        parts = jax.tree.map(lambda array: array.reshape(-1, size, *array.shape[1:]), sequences)
        return jax.tree.map(lambda values: values.reshape(-1, *values.shape[2:]), jax.lax.map(function, parts))

    def _penalties(self, parameters, reference, sequences, log_probs, reference_log_probs, mask):
        if self._config.kl_estimator == "exact":
            return exact_token_kl(
                self._policy.model, parameters, reference, sequences, self._first_column, self._config.temperature
            )
        return kl.token_kl(log_probs, reference_log_probs, mask, self._config.kl_estimator)

    def _with_values(self, trained, parameters, sequences, scores_B, penalties, mask, controller):
        config = self._config
        rewards = token_rewards(scores_B, penalties, mask, controller.beta)
        if config.whiten_rewards:
            rewards = whiten(rewards, mask, config.variance, shift_mean=False)
        values = gae.state_values(self._values(trained, parameters, sequences)) * mask
        found = gae.gae(rewards, values, mask, config.value.discount, config.value.trace)
        advantages = found.advantages
        if config.whiten_advantages:
            advantages = whiten(advantages, mask, config.variance)
        return advantages, found.returns, values

    def _against_group(self, scores_B, penalties, mask, controller):
        config = self._config
        rewards_B = scores_B - controller.beta * kl.sequence_kl(penalties, mask)
        groups = rewards_B.reshape(-1, config.samples_per_prompt)
        if config.algorithm == "rloo":
            advantages = leave_one_out(groups)
        else:
            advantages = group_relative(groups, config.group_scale, config.variance)
        return advantages.reshape(-1, 1) * mask, jnp.zeros_like(mask), jnp.zeros_like(mask)

    def _values(self, trained, parameters, sequences: Sequences) -> jax.Array:
        """The value head after each token, [B, T]."""
        value = trained["value"]
        if self._value is None:
            return scalar_head.token_scalars(self._policy.model, parameters, value["head"], sequences)
        return scalar_head.token_scalars(self._value.model, value["trunk"], value["head"], sequences)

    def _loss(self, base, reference, minibatch: Experience, text, controller, first, trained):
        config, sequences = self._config, minibatch.sequences
        mask = completion_mask(sequences)
        parameters = self._policy.full(trained["policy"], base)
        log_probs = self._log_probs(parameters, sequences)
        mismatch = jnp.max(jnp.abs(jax.lax.stop_gradient(log_probs) - minibatch.log_probs) * mask)
        minibatch = minibatch._replace(
            log_probs=jnp.where(first, jax.lax.stop_gradient(log_probs), minibatch.log_probs)
        )
        loss, metrics = self._policy_term(minibatch, log_probs, mask)
        if config.kl_in == "loss":
            divergence = self._divergence(parameters, reference, minibatch, log_probs, mask)
            loss += controller.beta * divergence
        if config.entropy_weight:
            entropies = token_statistics(
                self._policy.model, parameters, sequences, self._first_column, config.temperature
            ).entropies
            loss -= config.entropy_weight * jnp.sum(entropies * mask) / jnp.sum(mask)
        if config.algorithm == "ppo":
            values = gae.state_values(self._values(trained, parameters, sequences))
            fitted = value_loss(values, minibatch.values, minibatch.returns, mask, config.value.clip)
            loss += config.value.weight * fitted.loss.mean
            metrics |= {
                "value_loss": fitted.loss.mean,
                "value_clip_fraction": fitted.clipped.mean,
                "explained_variance": fitted.explained_variance,
            }
        if text is not None:
            nats = self._pretraining_nats(parameters, text)
            loss += config.pretraining.weight * nats
            metrics["pretraining_loss"] = nats
        deviation = jnp.max(jnp.abs(jnp.exp((log_probs - minibatch.log_probs) * mask) - 1))
        monitors = {"ratio_deviation": jax.lax.stop_gradient(deviation), "mismatch": mismatch}
        return loss, metrics | {"loss": loss} | monitors

    def _policy_term(self, minibatch: Experience, log_probs, mask):
        config = self._config
        if config.algorithm == "rloo":
            # One advantage a completion, the same at all its tokens.
            advantages_B = minibatch.advantages[jnp.arange(mask.shape[0]), minibatch.sequences.prompt_lengths]
            found = sequence_policy_loss(
                log_probs, minibatch.log_probs, advantages_B, mask, config.clip, config.clip_high
            )
        else:
            weights = token_weights(mask, config.normalisation, config.data.completion_length)
            found = policy_loss(
                log_probs,
                minibatch.log_probs,
                minibatch.advantages,
                mask,
                config.clip,
                config.clip_high,
                config.dual_clip,
                weights,
            )
        metrics = {
            "policy_loss": found.loss.mean,
            "clip_fraction": found.clipped.mean,
            "approximate_kl": found.approximate_kl.mean,
            "ratio_max": found.ratio_max,
        }
        return found.loss.mean, metrics

    def _divergence(self, parameters, reference, minibatch: Experience, log_probs, mask):
        """The mean over tokens of the estimator, as a loss: its gradient is the estimator's own (align.rl.kl says which)."""
        if self._config.kl_estimator == "exact":
            tokens = exact_token_kl(
                self._policy.model,
                parameters,
                reference,
                minibatch.sequences,
                self._first_column,
                self._config.temperature,
            )
        else:
            tokens = kl.token_kl(log_probs, minibatch.reference_log_probs, mask, self._config.kl_estimator)
        return token_weights(mask, self._config.normalisation, self._config.data.completion_length).of(tokens).mean

    def _pretraining_nats(self, parameters, text):
        hidden = self._policy.model.hidden_states(parameters, text.tokens, text.segment_ids, text.positions)
        log_probs = jax.nn.log_softmax(self._policy.model.logits(parameters, hidden), axis=-1)
        chosen = jnp.take_along_axis(log_probs, text.targets[:, :, None], axis=-1)[..., 0]
        return pretraining_loss(chosen, text.loss_mask).mean


def _rollout_metrics(found: Experience, entropies, scores_B, ended_B, mask, controller):
    """What monitors ask of a rollout."""
    divergence = functools.partial(kl.token_kl, found.log_probs, found.reference_log_probs, mask)
    return {
        "kl": jnp.mean(kl.sequence_kl(divergence("k1"), mask)),
        "kl_k3": jnp.mean(kl.sequence_kl(divergence("k3"), mask)),
        "entropy": jnp.sum(entropies * mask) / jnp.sum(mask),
        "score": jnp.mean(scores_B),
        "score_deviation": jnp.std(scores_B),
        "length": jnp.mean(jnp.sum(mask, axis=1)),
        "ended": jnp.mean(ended_B.astype(jnp.float32)),
        "beta": controller.beta,
    }
