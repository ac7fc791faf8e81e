"""Which samples are kept for fine-tuning."""

import numpy as np
import pytest

from align.statistics import rejection_sampling
from scaling.errors import DataError


def test_the_best_of_every_prompt_are_kept_the_earlier_among_equals():
    score = np.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    kept = rejection_sampling.top(score, 2)
    assert kept.tolist() == [[False, True, True, False], [True, True, False, False]]


def test_a_threshold_may_leave_a_prompt_with_none_and_never_adds():
    score = np.array([[1.0, 3.0], [0.0, 0.5]])
    assert rejection_sampling.top(score, 2, threshold=1.0).tolist() == [[True, True], [False, False]]
    assert rejection_sampling.top(score, 1, threshold=1.0).tolist() == [[False, True], [False, False]]


def test_copies_of_a_completion_are_kept_once():
    score, identity = np.array([[5.0, 5.0, 4.0, 1.0]]), np.array([[7, 7, 8, 9]])
    assert rejection_sampling.top(score, 2, identity_PxN=identity).tolist() == [[True, False, True, False]]


def test_a_share_of_all_samples_gives_easy_prompts_more():
    score = np.array([[10.0, 9.0, 8.0, 7.0], [1.0, 2.0, 3.0, 4.0]])
    threshold = rejection_sampling.quantile_threshold(score, 0.5)
    assert rejection_sampling.top(score, 4, threshold).sum(axis=1).tolist() == [4, 1]


def test_nan_and_impossible_counts_are_refused():
    with pytest.raises(DataError, match="1 scores are NaN"):
        rejection_sampling.top(np.array([[np.nan, 1.0]]), 1)
    with pytest.raises(DataError, match="3 of 2"):
        rejection_sampling.top(np.zeros((1, 2)), 3)
