"""What a run costs: known coefficients come back, branches are timed by their own steps, and FLOPs stand in where no times are recorded."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws.optima.optimal import SIX_N
from analysis.laws.planning import run_cost
from analysis.laws.tables import sources, table
from tests.analysis import synthetic


def test_known_coefficients_come_back():
    """Seconds = 12 + 3e-9 · N^0.7 · D exactly: overhead, scale and exponent to six digits."""
    rng = np.random.default_rng(0)
    log_n, log_d = rng.uniform(10, 16, 30), rng.uniform(13, 18, 30)
    seconds = 12 + 3e-9 * np.exp(0.7 * log_n + log_d)
    found = run_cost.fit_seconds(log_n, log_d, seconds, SIX_N)
    assert found.overhead == pytest.approx(12, rel=1e-6)
    assert found.exponent == pytest.approx(0.7, abs=1e-6)
    assert np.exp(found.log_scale) == pytest.approx(3e-9, rel=1e-5)
    assert found(np.log([1e6]), np.log([1e8]))[0] == pytest.approx(12 + 3e-9 * 1e6**0.7 * 1e8, rel=1e-6)


def test_runs_that_were_held_up_do_not_bend_the_price():
    """Three of thirty runs took five times as long; the exponent stays within 0.05."""
    rng = np.random.default_rng(1)
    log_n, log_d = rng.uniform(10, 16, 30), rng.uniform(13, 18, 30)
    seconds = 12 + 3e-9 * np.exp(0.7 * log_n + log_d)
    seconds[:3] *= 5
    assert run_cost.fit_seconds(log_n, log_d, seconds, SIX_N).exponent == pytest.approx(0.7, abs=0.05)


def test_branches_are_timed_by_their_own_steps(tmp_path):
    """Trunks and branches of one machine: a branch's seconds belong to its decay, a quarter of its tokens."""
    records = synthetic.ladder(0)
    for item in records:
        own = 0.25 if item["kind"] == "branch" else 1.0
        item["own_flops"] = {name: own * value for name, value in item["flops"].items() if value}
        item["device_seconds"] = 2.0 + 1e-9 * item["parameters"]["total"] ** 0.8 * own * item["tokens"]
    found = run_cost.price_of(table.load(str(synthetic.write(tmp_path, records))))
    assert found.unit == "s" and found.runs == len(records)
    assert found.exponent == pytest.approx(0.8, abs=1e-3)
    assert found.overhead == pytest.approx(2.0, rel=1e-2)


def test_flops_stand_in_for_times(exact):
    """A table without times: a run costs 6ND, and the words say so."""
    found = run_cost.price_of(exact)
    assert found.unit == "FLOPs" and "no times are recorded" in found.in_words()
    assert found(np.log([1e8]), np.log([2e9]))[0] == pytest.approx(6 * 1e8 * 2e9)


def test_times_of_a_table_from_elsewhere_are_used():
    """A CSV with device_seconds is priced by them."""
    law = synthetic.KnownLaw()
    frame = pd.DataFrame([{"params": n, "tokens": d} for n in (1e6, 3e6, 1e7) for d in (1e8, 3e8, 1e9)])
    frame["loss"] = law.loss(frame["params"], frame["tokens"])
    frame["device_seconds"] = 5 + 1e-12 * frame["params"] ** 0.9 * frame["tokens"]
    assert run_cost.price_of(table.build(sources.from_frame(frame))).unit == "s"
