"""Frontiers: exact ones return, choosing settings by noise is prevented, Pareto sets are monotone."""

import numpy as np
import pandas as pd
import pytest

from align.statistics import best_of_n
from analysis.alignment import frontier, measurements
from analysis.alignment.proxies import AXES
from tests.analysis.alignment import runs


def table(rows):
    """Rows of (method, setting, seed, distance, gain) as a frame of measurements."""
    frame = pd.DataFrame(rows, columns=["method", "setting", "seed", "distance", "gain"])
    run = frame["method"] + frame["setting"] + frame["seed"].astype(str)
    return frame.assign(
        run_id=run,
        kl=frame["distance"] ** 2,
        gold=frame["gain"] + 0.5,
        gold_error=0.02,
        step=frame.index,
        n=np.nan,
        kind="ppo",
        proxy=np.nan,
        **{axis: np.nan for axis in AXES},
    )


def test_the_exact_frontier_of_three_outcomes_returns_and_bounds_best_of_n(tmp_path):
    """pi* = ref·exp(r/beta)/Z at many beta is the exact frontier: E[r] - beta·KL = beta·ln Z on every point, and best-of-n by the gold reward lies below it."""
    reference, reward = np.array([0.7, 0.2, 0.1]), np.array([0.0, 1.0, 2.0])
    start = float(reference @ reward)
    optimal = []
    for step, beta in enumerate(np.geomspace(20.0, 0.2, 40)):
        weight = reference * np.exp(reward / beta)
        policy = weight / weight.sum()
        kl = float(policy @ np.log(policy / reference))
        assert policy @ reward - beta * kl == pytest.approx(beta * np.log(weight.sum()))
        optimal.append(runs.row(step + 1, 0.0, float(policy @ reward), kl_exact=kl))
    runs.write(tmp_path, "optimal", {}, 0, [runs.row(0, 0.0, start), *optimal])
    chosen = []
    for n in (1, 2, 4, 8, 16):
        policy = best_of_n.distribution(reference, reward, n)
        chosen.append(runs.row(0, 0.0, float(policy @ reward), n=n, kl_exact=best_of_n.kl_exact(reference, reward, n)))
    runs.write(tmp_path, "best_of_n", {}, 0, chosen, kind="best_of_n")
    frame = measurements.read([str(tmp_path)]).frame
    found = {item.method: item for item in frontier.of_panel(frame, 0.9)}
    assert len(found["optimal"].pareto) == 41 and list(found) == ["optimal", "best_of_n"]
    exact = frame[frame["method"] == "optimal"]
    for _, row in found["best_of_n"].pareto.iterrows():
        assert row["gain"] <= frontier.interpolated(exact, np.array([row["distance"]]))[0] + 2e-3


def test_settings_are_chosen_on_other_seeds_so_that_noise_gains_nothing():
    """Five settings of pure noise, three seeds, 150 studies: chosen on the mean that is reported they would seem to gain 0.67; chosen on others, nothing."""
    rng = np.random.default_rng(0)
    chosen, flattered = [], []
    for _ in range(150):
        rows = [("ppo", f"s{e}", seed, 1.0, rng.standard_normal()) for e in range(5) for seed in range(3)]
        frame = table(rows)
        chosen.append(frontier.by_seed(frame, np.array([1.0]))[1].mean())
        flattered.append(frame.groupby("setting")["gain"].mean().max())
    assert abs(np.mean(chosen)) < 4 * np.std(chosen) / np.sqrt(150) < 0.25 and np.mean(flattered) > 0.5


def test_the_better_setting_is_chosen_at_each_distance():
    rows = [("dpo", "a", seed, d, 1.0 * d) for seed in (0, 1) for d in (0.0, 1.0)]
    rows += [("dpo", "b", seed, d, 0.5 * d) for seed in (0, 1) for d in (0.0, 3.0)]
    _, gain = frontier.by_seed(table(rows), np.array([0.5, 2.0, 4.0]))
    np.testing.assert_allclose(gain[:, :2], [[0.5, 1.0]] * 2)
    assert np.isnan(gain[:, 2]).all()


def test_a_pareto_set_rises_in_both_and_holds_no_beaten_policy():
    rows = [("ppo", "", 0, d, gain) for d, gain in ((0.0, 0.0), (1.0, 0.5), (2.0, 0.4), (3.0, 0.9), (4.0, 0.2))]
    best = frontier.pareto(table(rows))
    assert best["gain"].tolist() == [0.0, 0.5, 0.9] and best["distance"].is_monotonic_increasing


def test_bands_are_t_intervals_over_seeds_and_cover():
    """The mean gain of four noisy seeds: 90% intervals hold the truth in about 90% of studies."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(150):
        rows = [
            ("ppo", "", seed, d, d * (1 + own))
            for seed, own in enumerate(0.2 * rng.standard_normal(4))
            for d in (0.0, 1.0, 2.0)
        ]
        low, high = frontier.of_panel(table(rows), 0.9)[0].area.interval
        held += low <= 1.0 <= high
    assert 0.83 <= held / 150 <= 0.96


def test_one_seed_has_no_band_and_says_so():
    rows = [("ppo", setting, 0, d, d) for setting in "ab" for d in (0.0, 1.0)]
    found = frontier.of_panel(table(rows), 0.9)[0]
    assert found.area.interval is None and np.isnan(found.curves[0].low_G).all()
    assert any("flatters" in flag for flag in found.flags) and any("no band" in flag for flag in found.flags)
