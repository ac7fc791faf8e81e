"""How well rewards order pairs: accuracy overall, by gold margin and by length, calibration of sigma(dr), agreement with the gold score."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from align.statistics.intervals import wilson

_BINS = 4
_CALIBRATION_BINS = 10


def report(
    rewards_Nx2: np.ndarray, gold_Nx2: np.ndarray | None, lengths_Nx2: np.ndarray, beta: float = 1.0
) -> dict[str, Any]:
    """What a reward model (or a policy's implicit reward) is worth on labelled pairs.

    Args:
      rewards_Nx2: of the preferred side (column 0) and of the other.
      gold_Nx2: gold scores of both, or None (NaN where single ones are unknown).
      lengths_Nx2: tokens of both completions.
      beta: the Bradley-Terry scale: the model's probability of the label is sigma(beta (r_0 - r_1)).

    Returns:
      JSON values. Accuracy counts a tie as one half; each bin has `pairs`, `accuracy` and its Wilson 95% interval. `calibration_error` is the expected
      calibration error: the mean over pairs of |frequency - probability| in ten equal bins of the probability of the side that the model prefers.
    """
    gap_N = np.asarray(rewards_Nx2[:, 0], np.float64) - rewards_Nx2[:, 1]
    right_N = (gap_N > 0) + 0.5 * (gap_N == 0)
    length_gap_N = np.asarray(lengths_Nx2[:, 0] - lengths_Nx2[:, 1], np.float64)
    result = {
        **_rate(right_N),
        "mean_margin": float(np.mean(gap_N)),
        "by_length_difference": _by_quantile(length_gap_N, right_N),
        **_calibration(special.expit(beta * np.abs(gap_N)), right_N),
        "log_loss": float(np.mean(np.logaddexp(0.0, -beta * gap_N))),
    }
    if gold_Nx2 is not None and np.any(np.isfinite(gold_Nx2)):
        result |= _against_gold(rewards_Nx2, np.asarray(gold_Nx2, np.float64), gap_N, right_N)
    return result


def _against_gold(rewards_Nx2, gold_Nx2, gap_N, right_N) -> dict[str, Any]:
    known_N = np.all(np.isfinite(gold_Nx2), axis=1)
    gold_gap_N = gold_Nx2[known_N, 0] - gold_Nx2[known_N, 1]
    untied = gold_gap_N != 0
    agrees = np.sign(gap_N[known_N][untied]) == np.sign(gold_gap_N[untied])
    reward, gold = rewards_Nx2[known_N].ravel(), gold_Nx2[known_N].ravel()
    varied = np.ptp(reward) > 0 and np.ptp(gold) > 0
    return {
        # Against the gold order, which the label (one rater's, or flipped) need not follow.
        "gold_accuracy": _rate(agrees.astype(np.float64)),
        "gold_correlation": float(stats.pearsonr(reward, gold)[0]) if varied else None,
        "gold_rank_correlation": float(stats.spearmanr(reward, gold)[0]) if varied else None,
        "by_gold_margin": _by_quantile(np.abs(gold_gap_N), right_N[known_N]),
    }


def _rate(right_N: np.ndarray) -> dict[str, Any]:
    if not len(right_N):
        return {"pairs": 0, "accuracy": None, "accuracy_interval": None}
    low, high = wilson(float(np.sum(right_N)), len(right_N))
    return {"pairs": len(right_N), "accuracy": float(np.mean(right_N)), "accuracy_interval": [float(low), float(high)]}


def _by_quantile(values_N: np.ndarray, right_N: np.ndarray) -> list[dict[str, Any]]:
    if not len(values_N):
        return []
    edges = np.unique(np.quantile(values_N, np.linspace(0, 1, _BINS + 1)))
    bins_N = np.clip(np.searchsorted(edges, values_N, side="right") - 1, 0, max(0, len(edges) - 2))
    return [
        {
            "from": float(edges[index]),
            "to": float(edges[min(index + 1, len(edges) - 1)]),
            **_rate(right_N[bins_N == index]),
        }
        for index in np.unique(bins_N)
    ]


def _calibration(confidence_N: np.ndarray, right_N: np.ndarray) -> dict[str, Any]:
    """Of the side that the model prefers: its probability lies in [1/2, 1]."""
    edges = np.linspace(0.5, 1.0, _CALIBRATION_BINS + 1)
    bins_N = np.clip(np.searchsorted(edges, confidence_N, side="right") - 1, 0, _CALIBRATION_BINS - 1)
    rows: Sequence[int] = np.unique(bins_N)
    table = [
        {
            "probability": float(np.mean(confidence_N[bins_N == index])),
            "frequency": float(np.mean(right_N[bins_N == index])),
            "pairs": int(np.sum(bins_N == index)),
        }
        for index in rows
    ]
    error = sum(row["pairs"] * abs(row["probability"] - row["frequency"]) for row in table) / max(1, len(right_N))
    return {"calibration": table, "calibration_error": float(error)}
