"""Fits that never moved: recognised in published numbers, and in one that is made to stall here."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit

from analysis.laws.optima import stalled_fits


@pytest.fixture(scope="module")
def published(shared_data):
    return pd.read_csv(shared_data / "porian2024" / "published_fits.csv")


def test_nine_published_fits_never_left_their_start_and_four_ran_to_zero(published):
    """Of the 15 weighted loss fits of Porian et al. 2024; the smallest loss of the tables is about 2.6 nats."""
    verdicts = [
        stalled_fits.judge(
            {"A": row.loss_A, "E": row.loss_E, "alpha": row.loss_alpha},
            stalled_fits.PORIAN_STARTS, stalled_fits.loss_floor(2.6),
        )
        for row in published.itertuples()
    ]  # fmt: skip
    assert sum(not verdict.moved for verdict in verdicts) == 9
    collapsed = [
        row.dataset for row, verdict in zip(published.itertuples(), verdicts, strict=True) if verdict.collapsed
    ]
    assert collapsed == ["owt2"] * 4
    assert "never left its start (A = 148.413, E = 1, alpha = 0.1)" in verdicts[0].flags[0]
    assert sum(not verdict.flags for verdict in verdicts) == 2


def test_a_fit_stalls_by_inverse_variances_for_deviations_and_moves_without(shared_data):
    """scipy's curve_fit on published optima: with sigma = 1/std² it returns its start and reports success, with sigma = std it moves."""
    pairs = pd.read_csv(shared_data / "porian2024" / "optimal_pairs.csv").dropna()
    pairs = pairs[(pairs["table"] == "summary_df") & (pairs["param_count"] == "kaplan")]
    pairs = pairs[(pairs["flops"] > 1e16) & (pairs["flops"] < 5e17)]

    def law(flops, a, e, alpha):
        return np.logaddexp(a - alpha * np.log(flops), e)

    def fitted(sigma):
        found = curve_fit(
            law,
            pairs["flops"],
            np.log(pairs["loss"]),
            p0=[5.0, 0.0, 0.1],
            sigma=sigma,
            method="trf",
            ftol=1e-6,
            xtol=1e-6,
        )[0]
        return {"A": float(np.exp(found[0])), "E": float(np.exp(found[1])), "alpha": float(found[2])}

    deviation = pairs["loss_star_logstd"].to_numpy()
    assert not stalled_fits.judge(fitted(deviation**-2.0), stalled_fits.PORIAN_STARTS).moved
    assert stalled_fits.judge(fitted(deviation), stalled_fits.PORIAN_STARTS).moved


def test_one_parameter_on_its_start_is_a_coincidence():
    """A fit has not stalled while any parameter moved; and nothing is said of a fit without fault."""
    verdict = stalled_fits.judge({"E": 1.0, "alpha": 0.2871}, {"E": [1.0], "alpha": [0.1, 0.2]}, {"E": 0.03})
    assert verdict.moved and verdict.flags == ()
    with pytest.raises(KeyError):
        stalled_fits.judge({"E": 1.0}, {"alpha": [0.1]})
