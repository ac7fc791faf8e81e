"""Alarms of over-optimisation: their false-alarm rate on fresh healthy runs, and that they find what they are for."""

import numpy as np
import pytest

from align.statistics import alarms
from align.statistics.alarm_calibration import simulated
from scaling.errors import DataError


def runs(over_optimised, count, seed):
    rng = np.random.default_rng(seed)
    return [simulated(over_optimised, rng) for _ in range(count)]


@pytest.mark.parametrize("name", list(alarms.STATISTICS))
def test_an_alarm_is_seldom_false_and_finds_over_optimisation(name):
    """1,000 fresh healthy runs: at most 4% raise it (2% are meant), and not none; of 200 over-optimised ones at least 80% do."""
    false = alarms.alarm_rate(name, runs(False, 1000, 11), alarms.THRESHOLDS[name])
    assert 0.003 <= false.value <= 0.04 and false.interval[0] < false.value < false.interval[1]
    assert alarms.alarm_rate(name, runs(True, 200, 12), alarms.THRESHOLDS[name]).value >= 0.8


def test_thresholds_from_ones_own_runs_hold_on_fresh_ones():
    threshold = alarms.calibrate("length_drift", runs(False, 1000, 1), rate=0.05)
    assert 0.025 <= alarms.alarm_rate("length_drift", runs(False, 1000, 2), threshold).value <= 0.085
    with pytest.raises(DataError, match="10 healthy runs"):
        alarms.calibrate("length_drift", runs(False, 10, 1), rate=0.05)


def rows(**columns):
    count = len(next(iter(columns.values())))
    return [{"step": 10 * index, **{name: values[index] for name, values in columns.items()}} for index in range(count)]


def test_steady_and_slowing_policies_do_not_accelerate_and_a_runaway_one_does():
    """√KL linear in steps has statistic 0; one that doubles its speed has ln 2 or more."""
    steps = np.arange(12.0)
    steady = alarms.kl_acceleration(rows(kl=(0.3 * steps) ** 2))
    np.testing.assert_allclose(steady[6:], 0.0, atol=1e-9)
    assert np.isnan(steady[:6]).all()
    slowing = alarms.kl_acceleration(rows(kl=(1 - np.exp(-steps / 4)) ** 2))
    assert (slowing[6:] < 0).all()
    runaway = np.where(steps > 6, 0.3 * steps + 0.6 * (steps - 6), 0.3 * steps)
    assert np.nanmax(alarms.kl_acceleration(rows(kl=runaway**2))) > np.log(2)


def test_exact_kl_is_taken_and_what_was_not_measured_is_silent():
    steps = np.arange(12.0)
    found = alarms.kl_acceleration(rows(kl=[9.0] * 12, kl_exact=list((0.3 * steps) ** 2)))
    np.testing.assert_allclose(found[6:], 0.0, atol=1e-9)
    silent = alarms.check(rows(kl=[0.0] * 12))
    assert [item.at for item in silent] == [None] * 3 and np.isnan(silent[0].statistic_T).all()


def test_one_noisy_measurement_is_halved_and_a_lasting_change_is_dated():
    length = [30.0] * 12
    length[8:] = [60.0] * 4
    found = next(item for item in alarms.check(rows(kl=[1.0] * 12, length=length)) if item.name == "length_drift")
    assert (
        found.at == 8
        and found.statistic_T[8] == pytest.approx(np.log(1.5))
        and found.statistic_T[9] == pytest.approx(np.log(2))
    )
    shorter = alarms.length_drift(rows(length=[30.0] * 6 + [15.0] * 6))
    assert shorter[-1] == pytest.approx(np.log(2))
