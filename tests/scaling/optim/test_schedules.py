"""Learning-rate schedules: the published shapes, on the run's true horizon."""

import math

import pytest

from scaling.errors import ConfigError
from scaling.optim import schedules
from scaling.optim.config import ScheduleConfig

BATCH_TOKENS = 10


def rates(horizon: int, **fields) -> list[float]:
    config = ScheduleConfig(peak=2.0, **fields)
    return [schedules.learning_rate(config, step, horizon, BATCH_TOKENS) for step in range(horizon)]


def test_cosine_follows_its_equation_and_ends_at_the_final_fraction():
    values = rates(100, name="cosine", warmup_tokens=0, final_fraction=0.1)
    for step in (0, 25, 50, 99):
        assert values[step] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 100))))
    assert schedules.learning_rate(ScheduleConfig(peak=2.0), 10_000, 100, BATCH_TOKENS) == pytest.approx(0.2)


def test_linear_falls_evenly():
    values = rates(10, name="linear", final_fraction=0.0)
    differences = [a - b for a, b in zip(values, values[1:], strict=False)]
    assert differences == pytest.approx([0.2] * 9)


def test_inverse_square_root_halves_when_the_step_quadruples():
    values = rates(1000, name="inverse_square_root", warmup_tokens=100)
    assert values[400] / values[100] == pytest.approx(0.5)


def test_wsd_is_flat_until_its_decay_and_never_negative():
    values = rates(100, name="wsd", warmup_tokens=50, decay_fraction=0.2, final_fraction=0.0)
    assert values[5:80] == [2.0] * 75
    assert all(a > b > 0 for a, b in zip(values[80:], values[81:], strict=False))


def test_a_branch_and_its_trunk_have_the_rates_of_the_run_alone():
    config = ScheduleConfig(name="wsd", warmup_tokens=50)
    start = schedules.decay_start(config, 60)
    for step in range(start):
        trunk = schedules.learning_rate(config, step, 100, BATCH_TOKENS)
        assert trunk == schedules.learning_rate(config, step, 60, BATCH_TOKENS)


def test_warmup_is_capped_by_the_horizon():
    """A warm-up longer than the run was one cause of Kaplan's exponent (Porian et al. 2024)."""
    config = ScheduleConfig(warmup_tokens=10_000, warmup_max_fraction=0.25)
    assert schedules.warmup_steps(config, 40, BATCH_TOKENS) == 10
    assert schedules.learning_rate(config, 0, 40, BATCH_TOKENS) < schedules.learning_rate(config, 9, 40, BATCH_TOKENS)


@pytest.mark.parametrize("fields", [{"peak": 0.0}, {"decay_fraction": 1.5}, {"final_fraction": -0.1}])
def test_impossible_values_are_refused(fields):
    with pytest.raises(ConfigError):
        ScheduleConfig(**fields)
