"""Alarms of over-optimisation: their false-alarm rate on fresh healthy runs, and that they find what they are for."""

import numpy as np
import pytest

from align.statistics import alarms, recorded_runs
from align.statistics.alarm_calibration import of_recorded, simulated
from scaling.errors import DataError
from tests.analysis.alignment import runs as recorded


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
    for kl, distance in ((0.25, 1.0), (9.0, 3.0)):
        shorter = alarms.length_drift(rows(kl=[kl] * 12, length=[30.0] * 6 + [15.0] * 6))
        assert shorter[-1] == pytest.approx(np.log(2) / distance)


def test_six_measurements_say_nothing_however_large_the_change():
    """Real PPO on a gold score itself changed its lengths by a third over four measurements: that a policy learns is no alarm."""
    length = [40.0, 36.0, 33.0, 30.0, 28.0, 26.0]
    silent = alarms.check(
        rows(kl=[float(step) ** 2 for step in range(6)], length=length, disagreement=[0.1] * 2 + [0.9] * 4)
    )
    assert [item.at for item in silent] == [None] * 3
    raised = alarms.check(rows(kl=[1.0] * 8, length=[*length, 25.0, 25.0], disagreement=[0.1] * 2 + [0.9] * 6))
    assert {item.name: item.at for item in raised} == {
        "ensemble_disagreement": 6, "kl_acceleration": None, "length_drift": 6,
    }  # fmt: skip


def test_recorded_runs_are_healthy_on_gold_and_spoilt_past_their_peak(tmp_path):
    """The table counts by the number of measurements: lengths of the spoilt run double late, so eight measurements do not show it and sixteen do."""
    steps = np.arange(16)
    gold = {"ppo on gold": 0.1 * steps, "ppo": 0.5 - 0.01 * (steps - 6.0) ** 2, "rloo": 0.1 * steps}
    lengths = {"ppo on gold": [30.0] * 16, "ppo": [30.0] * 9 + [60.0] * 7, "rloo": [30.0] * 16}
    for method, values in gold.items():
        measured = [
            recorded.row(int(step), 0.3 * step, float(value), length=length)
            for step, value, length in zip(steps, values, lengths[method], strict=True)
        ]
        recorded.write(tmp_path, method, {}, 0, measured, kind="ppo", name=method)
    found = recorded_runs.read(str(tmp_path))
    assert {run.name: run.state for run in found} == {"ppo on gold": "healthy", "ppo": "spoilt", "rloo": "unclear"}
    table = list(of_recorded(found))
    assert table[0] == "3 runs: 1 healthy, 1 spoilt, 1 unclear"
    drift = [line.split() for line in table if line.startswith("length_drift")]
    assert [(line[1], line[3:6], line[8:11]) for line in drift] == [
        ("8", ["0", "of", "1,"], ["0", "of", "1,"]), ("12", ["0", "of", "1,"], ["1", "of", "1,"]), ("16", ["0", "of", "1,"], ["1", "of", "1,"]),
    ]  # fmt: skip
    assert sum("not measured" in line for line in table if line.startswith("ensemble_disagreement")) == 3
    with pytest.raises(DataError, match="no finished run of PPO"):
        recorded_runs.read(str(tmp_path / "nothing"))
