"""Hyper-parameters by rule: each factor has its stated power, and leaving one out changes nothing."""

import pytest

from scaling.errors import ConfigError
from scaling.optim import rules


def test_the_rate_is_a_power_of_width_batch_and_horizon():
    at = dict(width=64, base=0.004, batch_size=8, reference_batch_size=8, tokens=10**6, reference_tokens=10**6)
    assert rules.peak_learning_rate(**at) == 0.004
    assert rules.peak_learning_rate(**at | {"width": 256}) == pytest.approx(0.002)
    assert rules.peak_learning_rate(**at | {"batch_size": 32}) == pytest.approx(0.008)
    assert rules.peak_learning_rate(**at | {"tokens": 10**7}) == pytest.approx(0.004 * 10**-0.32)
    assert rules.peak_learning_rate(**at | {"tokens": 10**7, "tokens_exponent": 0.0}) == 0.004


def test_without_references_only_the_width_counts():
    assert rules.peak_learning_rate(128, 0.004, exponent=-1.0) == 0.002


@pytest.mark.parametrize("half", [{"tokens": 10**6}, {"reference_tokens": 10**6}, {"batch_size": 8}])
def test_half_a_rule_is_refused(half):
    with pytest.raises(ConfigError, match="give both of them, or none"):
        rules.peak_learning_rate(64, 0.004, **half)


def test_a_batch_grows_as_the_root_of_the_horizon_in_whole_multiples():
    batch = dict(sequence_length=128, base_tokens=4096, reference_tokens=10**6)
    assert rules.batch_sequences(10**6, **batch) == 32
    assert rules.batch_sequences(4 * 10**6, **batch) == 64
    assert rules.batch_sequences(10**4, **batch) == 4
