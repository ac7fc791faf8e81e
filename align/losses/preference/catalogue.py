"""Every preference loss by name, as a function of quantities of a batch: what `options.LOSSES` describes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from align.losses.preference import contrastive, logistic, optimal_transport, reference_free, regression
from align.losses.preference.batch_statistics import BatchStatistics
from align.losses.preference.kto import kto_pairs
from align.losses.preference.quantities import Quantities

LossFunction = Callable[[Quantities, BatchStatistics], jax.Array]


def _sigmoid(q: Quantities, _: BatchStatistics) -> jax.Array:
    return logistic.sigmoid(q.margins, q.config.beta, q.flip)


def _sigmoid_norm(q: Quantities, _: BatchStatistics) -> jax.Array:
    return logistic.sigmoid(q.mean_margins, q.config.beta, q.flip)


def _robust(q: Quantities, _: BatchStatistics) -> jax.Array:
    return logistic.robust(q.margins, q.config.beta, q.config.option("label_smoothing"))


def _exo(q: Quantities, _: BatchStatistics) -> jax.Array:
    return logistic.exo(q.margins, q.config.beta, q.config.option("label_smoothing"))


def _discopop(q: Quantities, _: BatchStatistics) -> jax.Array:
    return logistic.discopop(q.margins, q.config.beta, q.config.option("temperature"))


def _ipo(q: Quantities, _: BatchStatistics) -> jax.Array:
    margins = q.mean_margins if q.config.option("reduction") == "mean" else q.margins
    return regression.ipo(margins, q.config.beta)


def _hinge(q: Quantities, _: BatchStatistics) -> jax.Array:
    return regression.hinge(q.margins, q.config.beta)


def _sppo(q: Quantities, _: BatchStatistics) -> jax.Array:
    probability = 1.0 if q.pairs.probability is None else q.pairs.probability
    return regression.sppo(q.chosen, q.rejected, q.config.beta, probability)


def _kto(q: Quantities, statistics: BatchStatistics) -> jax.Array:
    z0 = jnp.maximum(0, statistics.kl.mean)
    weights = (q.config.option("desirable_weight"), q.config.option("undesirable_weight"))
    return kto_pairs(q.chosen, q.rejected, z0, q.config.beta, *weights)


def _bco(q: Quantities, statistics: BatchStatistics) -> jax.Array:
    return contrastive.bco(q.chosen, q.rejected, q.config.beta, statistics.reward.mean)


def _of_log_ratios(function: Callable[[jax.Array, jax.Array, float], jax.Array]) -> LossFunction:
    return lambda q, _: function(q.chosen, q.rejected, q.config.beta)


def _aot(q: Quantities, _: BatchStatistics) -> jax.Array:
    return optimal_transport.aot(
        q.policy_margins, q.reference_margins, q.config.beta, q.config.option("label_smoothing")
    )


def _aot_unpaired(q: Quantities, _: BatchStatistics) -> jax.Array:
    return optimal_transport.aot_unpaired(q.chosen, q.rejected, q.config.beta, q.config.option("label_smoothing"))


def _chosen_nll(q: Quantities, statistics: BatchStatistics) -> jax.Array:
    return q.nll(q.pairs.chosen, None if statistics.tokens is None else statistics.tokens.mean)


def _orpo(q: Quantities, statistics: BatchStatistics) -> jax.Array:
    penalty = reference_free.odds_ratio(q.pairs.chosen.policy_means, q.pairs.rejected.policy_means)
    return q.config.option("nll_weight") * _chosen_nll(q, statistics) + q.config.beta * penalty


def _simpo(q: Quantities, _: BatchStatistics) -> jax.Array:
    chosen, rejected = q.pairs.chosen.policy_means, q.pairs.rejected.policy_means
    return reference_free.simpo(chosen, rejected, q.config.beta, q.config.option("gamma"), q.flip)


def _cpo(q: Quantities, statistics: BatchStatistics) -> jax.Array:
    contrast = reference_free.cpo(q.pairs.chosen.policy_sums, q.pairs.rejected.policy_sums, q.config.beta, q.flip)
    return contrast + q.config.option("nll_weight") * _chosen_nll(q, statistics)


def _unlikelihood(q: Quantities, statistics: BatchStatistics) -> jax.Array:
    tokens = None if statistics.tokens is None else statistics.tokens.mean
    weight = q.config.option("unlikelihood_weight")
    return reference_free.unlikelihood(q.nll(q.pairs.chosen, tokens), q.nll(q.pairs.rejected, tokens), weight)


FUNCTIONS: dict[str, LossFunction] = {
    "sigmoid": _sigmoid,
    "cdpo": _sigmoid,
    "ld_dpo": _sigmoid,
    "sigmoid_norm": _sigmoid_norm,
    "robust": _robust,
    "exo": _exo,
    "discopop": _discopop,
    "ipo": _ipo,
    "hinge": _hinge,
    "sppo": _sppo,
    "kto": _kto,
    "bco": _bco,
    "bco_pair": _of_log_ratios(contrastive.bco),
    "nca": _of_log_ratios(contrastive.nca),
    "apo_zero": _of_log_ratios(contrastive.apo_zero),
    "apo_down": _of_log_ratios(contrastive.apo_down),
    "aot": _aot,
    "aot_unpaired": _aot_unpaired,
    "orpo": _orpo,
    "simpo": _simpo,
    "cpo": _cpo,
    "unlikelihood": _unlikelihood,
    "preferred_ft": _chosen_nll,
}
