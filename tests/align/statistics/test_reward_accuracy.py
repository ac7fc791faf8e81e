"""Accuracy, calibration and agreement with gold scores are what they are defined as, on rewards of known quality."""

import numpy as np
import pytest
from scipy import special

from align.statistics import reward_accuracy

LENGTHS = np.array([[5, 3], [4, 4], [2, 6], [7, 1]])


def test_ties_count_half_and_strict_orders_count_fully():
    rewards = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    found = reward_accuracy.report(rewards, None, LENGTHS)
    assert found["accuracy"] == pytest.approx(2.5 / 4)
    assert found["mean_margin"] == pytest.approx(0.25)
    assert "gold_accuracy" not in found


def test_a_model_whose_probabilities_are_true_is_calibrated_and_an_overconfident_one_is_not():
    generator = np.random.default_rng(0)
    gap = generator.normal(size=40_000) * 2
    first_wins = generator.random(40_000) < special.expit(gap)
    # Column 0 is the side that was preferred, whatever the model says.
    labelled = np.where(first_wins, gap, -gap)
    rewards = np.stack([labelled, np.zeros_like(labelled)], axis=1)
    lengths = np.ones((len(gap), 2), int)
    true = reward_accuracy.report(rewards, None, lengths)
    overconfident = reward_accuracy.report(3 * rewards, None, lengths)
    assert true["calibration_error"] < 0.01 < 0.05 < overconfident["calibration_error"]
    assert true["log_loss"] < overconfident["log_loss"]
    assert true["accuracy"] == overconfident["accuracy"]


def test_agreement_with_gold_scores_is_told_apart_from_agreement_with_labels():
    # The label is wrong on the second pair; the rewards follow the gold score exactly.
    gold = np.array([[2.0, 1.0], [0.0, 3.0], [4.0, -1.0], [1.0, 0.5]])
    found = reward_accuracy.report(gold * 2 + 1, gold, LENGTHS)
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["gold_accuracy"]["accuracy"] == 1
    assert found["gold_correlation"] == pytest.approx(1) and found["gold_rank_correlation"] == pytest.approx(1)


def test_every_pair_lies_in_one_bin_of_margin_and_of_length():
    generator = np.random.default_rng(1)
    rewards, gold = generator.normal(size=(200, 2)), generator.normal(size=(200, 2))
    lengths = generator.integers(1, 9, (200, 2))
    found = reward_accuracy.report(rewards, gold, lengths)
    for name in ("by_gold_margin", "by_length_difference"):
        assert sum(row["pairs"] for row in found[name]) == 200
        assert [row["from"] for row in found[name]] == sorted(row["from"] for row in found[name])
    assert sum(row["pairs"] for row in found["calibration"]) == 200
