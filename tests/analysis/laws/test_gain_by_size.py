"""The gain at a fixed KL against model size, from planted laws."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws import gain_by_size
from analysis.laws.errors import TableError

SIZES = np.repeat([1e5, 4e5, 1.6e6, 6.4e6], 3)


def planted(form, rng, noise=0.02):
    gain = 0.8 * (SIZES / 8e5) ** 0.25 if form == "power" else 0.8 + 0.15 * np.log(SIZES / 8e5)
    return pd.DataFrame({"params": SIZES, "gain": gain + noise * rng.standard_normal(len(SIZES))})


@pytest.mark.parametrize(("form", "slope"), [("power", 0.25), ("logarithmic", 0.15)])
def test_the_planted_form_is_preferred_and_its_slope_returns(form, slope):
    best, other = gain_by_size.fit(planted(form, np.random.default_rng(0)))
    assert best.form == form and best.error < other.error and best.rising_p < 1e-3
    assert best.slope.value == pytest.approx(slope, rel=0.15) and best.gain.value == pytest.approx(0.8, rel=0.03)
    value, low, high = best.predict([1e5, 6.4e6])
    truth = planted(form, np.random.default_rng(0), 0.0)["gain"].iloc[[0, -1]]
    assert (low < truth).all() and (truth < high).all() and (low < value).all()


@pytest.mark.slow
def test_intervals_of_the_slope_cover():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(500):
        low, high = next(
            law for law in gain_by_size.fit(planted("power", rng, 0.06)) if law.form == "power"
        ).slope.interval
        held += low <= 0.25 <= high
    assert 0.86 <= held / 500 <= 0.95


def test_a_gain_below_zero_leaves_the_logarithmic_form_alone():
    frame = planted("logarithmic", np.random.default_rng(2)).assign(gain=lambda frame: frame["gain"] - 0.6)
    assert [law.form for law in gain_by_size.fit(frame)] == ["logarithmic"]


def test_two_sizes_are_no_law():
    with pytest.raises(TableError, match="2 sizes"):
        gain_by_size.fit(pd.DataFrame({"params": [1.0, 1.0, 2.0], "gain": [1.0, 1.1, 1.2]}))
