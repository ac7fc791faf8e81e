"""The calibration can tell a right interval from a wrong one, and the default's are right."""

import dataclasses

import numpy as np
import pytest

from analysis.laws.simulation import calibration
from analysis.laws.simulation.calibration import LEVELS, Verdict


def made_up(stretch: float, sweeps: int = 2000, shift: float = 0.0) -> calibration.Summary:
    """Estimates with unit normal errors and intervals `stretch` times as wide as they should be, displaced by `shift`."""
    rng = np.random.default_rng(0)
    quantile_L = stretch * np.array([0.674490, 1.281552, 1.644854, 1.959964])
    verdicts = []
    for estimate in rng.standard_normal(sweeps):
        centre = estimate + shift
        rank = float(np.mean(centre + stretch * rng.standard_normal(400) < 0))
        verdicts.append(
            Verdict("made up", "none", "x", centre - quantile_L, centre + quantile_L, 0.0, estimate, 1.0, rank)
        )
    return calibration.summarise(verdicts)[0]


def test_right_intervals_are_found_right():
    found = made_up(1.0)
    assert found.coverage_L == pytest.approx(LEVELS, abs=0.03)
    assert found.missed_low == pytest.approx(0.05, abs=0.015) and found.missed_high == pytest.approx(0.05, abs=0.015)
    assert found.width == pytest.approx(1) and found.spread == pytest.approx(1, abs=0.05)
    assert found.rank_p > 0.01


@pytest.mark.parametrize(("stretch", "coverage"), [(0.7, 0.75), (1.5, 0.986)])
def test_wrong_widths_are_seen_in_coverage_width_and_ranks(stretch, coverage):
    """The normal distribution's own figures: 1.645 times 0.7 covers 75.0%, times 1.5 covers 98.6%."""
    found = made_up(stretch)
    assert found.coverage_L[LEVELS.index(0.9)] == pytest.approx(coverage, abs=0.025)
    assert found.width == pytest.approx(stretch)
    assert found.rank_p < 1e-6


def test_a_shift_is_seen_in_the_tails():
    found = made_up(1.0, shift=0.5)
    assert found.missed_low > 0.1 > 0.03 > found.missed_high


def test_a_sweep_depends_on_its_number_alone():
    first, again = (calibration.simulate("isoflop", 3, 30, ["default"]) for _ in range(2))
    other = calibration.simulate("isoflop", 4, 30, ["default"])
    assert [item.estimate for item in first] == [item.estimate for item in again]
    assert (first[0].low_L == again[0].low_L).all()
    assert first[0].truth != other[0].truth


def test_every_method_gives_nested_intervals():
    found = calibration.simulate("ladder", 0, 60, list(calibration.METHODS))
    assert {item.method for item in found} == set(calibration.METHODS)
    for item in found:
        assert (np.diff(item.low_L) <= 0).all() and (np.diff(item.high_L) >= 0).all(), item
        assert item.low_L[-1] < item.estimate < item.high_L[-1], item


def test_ideal_width_is_that_of_least_squares():
    """Against the spread of least-squares estimates of a linear problem's worth: noise so small that the law is linear in it."""
    scenario = calibration.SCENARIOS["grid"]
    quiet = dataclasses.replace(scenario, noise=dataclasses.replace(scenario.noise, spread=1e-5))
    rng = np.random.default_rng(0)
    truth = calibration.synthetic.draw_truth(rng)
    theta_P = calibration.synthetic.pseudo_truth(quiet.design, truth)
    x_KxV = np.stack([quiet.design.log_params, quiet.design.log_tokens], axis=1)
    covariance = calibration.least_covariance(quiet.design, quiet.noise, truth, x_KxV, theta_P)
    jacobian = calibration.solve.jacobian(calibration.FORM, theta_P, x_KxV)
    errors = np.linalg.lstsq(jacobian.T, 1e-5 * rng.standard_normal((len(x_KxV), 4000)), rcond=None)[0]
    assert np.sqrt(np.diag(covariance)) == pytest.approx(errors.std(axis=1), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["isoflop", "ladder_trunks"])
def test_default_intervals_cover(name):
    """120 sweeps: between 82% and 97.5% of the 90% intervals hold the truth, for every parameter.

    108 are expected with a standard deviation of 3.3. At 75% a parameter would give 90, eight fewer than are asked for, and pass by luck
    one time in twenty. Intervals are not wide for it: at most 1.8 times the ideal.
    """
    verdicts = [item for number in range(120) for item in calibration.simulate(name, number, 100, ["default"], seed=7)]
    for found in calibration.summarise(verdicts):
        assert 0.82 <= found.coverage_L[LEVELS.index(0.9)] <= 0.975, found.in_words
        assert found.width < 1.8, found.in_words
        assert found.unbounded == 0


def test_unknown_designs_are_named(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["calibration", "--designs=isoflop,pyramid"])
    with pytest.raises(SystemExit) as error:
        calibration.main()
    assert error.value.code == 2
    assert "pyramid unknown; choose from isoflop" in capsys.readouterr().err


def test_the_command_prints_its_table(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["calibration", "--sweeps=2", "--replicates=30", "--designs=grid"])
    calibration.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == calibration.HEADER and len(lines) == 5
    assert lines[1].split()[:3] == ["grid", "default", "alpha"]
