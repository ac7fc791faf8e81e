"""Approaches 1 and 2, the compute-optimal closed form, and Kaplan's laws, against laws that are known."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws import kaplan, parametric
from analysis.laws.fitting import engine
from analysis.laws.intervals import bootstrap
from analysis.laws.optima import curves, envelope, isoflop, optimal, parabola
from analysis.laws.result import NotFitted, Result
from analysis.laws.tables import sources, table
from tests.analysis import synthetic
from tests.analysis.conftest import noise_free_frame

DEMO_SIZES = (14928, 26232, 56544, 107856, 234048, 359120, 603168)
DEMO_BUDGETS = (6e10, 1e11, 1.7e11, 2.8e11, 4.5e11, 7.4e11, 1.2e12, 2e12)


def demo_design(law: synthetic.KnownLaw, fewest: float, most: float) -> table.RunsTable:
    """The shipped demo's IsoFLOP grid, without noise: its window of tokens stops every budget short of some sizes."""
    points = [(n, flops / 6 / n) for flops in DEMO_BUDGETS for n in DEMO_SIZES]
    rows = [{"params": n, "tokens": d, "loss": law.loss(n, d)} for n, d in points if fewest <= d <= most]
    return table.build(sources.from_frame(pd.DataFrame(rows)))


def value(result, name):
    return {**result.parameters, **result.derived}[name].value


def test_isoflop_exponent_is_right_and_its_bias_is_said(exact):
    """Noise-free and centred grids: the exponent is exact, N_opt is off by a constant factor that is reported and removed."""
    result = isoflop.fit(exact, surface=parametric.fit(exact))
    assert value(result, "a") == pytest.approx(0.58, abs=1e-6)
    assert value(result, "b") == pytest.approx(0.42, abs=1e-6)
    assert value(result, "a_bias_corrected") == pytest.approx(0.58, abs=1e-6)
    assert value(result, "b_bias_corrected") == pytest.approx(0.42, abs=1e-6)
    u = np.linspace(-np.log(8), np.log(8), 8)
    assert np.log1p(value(result, "bias_of_N_opt")) == pytest.approx(parabola.bias_of_centred(0.42, 0.58, u), rel=1e-6)
    assert all(result.details["bias_in_closed_form"])
    assert any("known bias of approach 2" in flag for flag in result.flags)
    assert not any("no IsoFLOP budgets" in flag for flag in result.flags)


def test_isoflop_edge_minima_are_left_out_with_words():
    """Only sizes below the optimum: no parabola has a minimum inside, and no number is given."""
    frame = noise_free_frame()
    keep = frame.groupby("flops")["params"].rank() <= 4
    result = isoflop.fit(table.build(sources.from_frame(frame[keep])))
    assert isinstance(result, NotFitted)
    assert "no minimum inside" in result.reason


def test_isoflop_leaves_out_budgets_whose_lowest_loss_is_at_an_edge():
    """There the vertex lies inside by the parabola's bend alone; with those budgets the exponent is .62 for .58."""
    result = isoflop.fit(demo_design(synthetic.KnownLaw(), 3.5e5, 4.6e6))
    assert value(result, "a") == pytest.approx(0.58, abs=0.01)
    left_out = [flag for flag in result.flags if "its lowest loss is that of its smallest or largest size" in flag]
    assert left_out and "7.40e+11" in left_out[0]


def test_isoflop_reports_the_largest_bias_not_the_mean_of_either_sign():
    law = synthetic.KnownLaw(E=2.097, A=420.0, B=2.6e5, alpha=0.626, beta=0.991)
    runs = demo_design(law, 3e5, 3.3e6)
    result = isoflop.fit(runs, surface=parametric.fit(runs))
    bias = np.expm1(result.details["bias"])
    assert bias.min() < 0 < bias.max(), "a mean of these would hide them"
    assert value(result, "bias_of_N_opt") == pytest.approx(bias[np.argmax(np.abs(bias))])
    assert any(f"off by {100 * bias.min():+.1f}% to {100 * bias.max():+.1f}%" in flag for flag in result.flags)


@pytest.mark.parametrize(("shift", "flagged"), [(0.0, False), (0.03, True)])
def test_a_parabola_that_misses_its_points_is_said(shift, flagged):
    """One run 3% off among noise of 0.5%: its budget is named, and only it."""
    frame = noise_free_frame()
    frame["loss"] *= np.exp(0.002 * np.random.default_rng(0).standard_normal(len(frame)))
    frame.loc[3, "loss"] *= 1 + shift
    runs = table.build(sources.from_frame(frame))
    draws = bootstrap.Draws(0.005 * np.random.default_rng(1).standard_normal((400, len(runs))))
    said = [flag for flag in isoflop.fit(runs, draws).flags if "misses its points" in flag]
    assert bool(said) == flagged
    assert not flagged or ("1.00e+17" in said[0] and "e+18" not in said[0])


def test_methods_say_what_is_resampled(ladder):
    """Approaches 1 and 2 add noise to what was measured; a law that is refitted adds it to its own values."""
    draws = bootstrap.Draws(np.zeros((30, len(ladder))))
    assert "Gaussian noise, shared within trunks, added to the measured losses" in draws.method_of_readings
    assert "added to the fitted law" in draws.method
    assert isoflop.fit(ladder, draws).parameters["a"].method == draws.method_of_readings
    assert parametric.fit(ladder, draws).parameters["alpha"].method == draws.method


def test_isoflop_snaps_actual_flops():
    """FLOPs a few percent around the nominal budget still form one slice; D is taken from the runs."""
    frame = noise_free_frame()
    rng = np.random.default_rng(0)
    frame["tokens"] *= np.exp(rng.uniform(-0.03, 0.03, len(frame)))
    frame["flops"] = 6 * frame["params"] * frame["tokens"]
    frame["loss"] = synthetic.KnownLaw().loss(frame["params"], frame["tokens"])
    found, interpolated = isoflop.slices(table.build(sources.from_frame(frame)))
    assert len(found) == 6 and not interpolated
    assert all(len(part.log_params) == 8 for part in found)


def dense_ladder() -> table.RunsTable:
    """Twelve sizes at nine token budgets each, without noise."""
    law = synthetic.KnownLaw()
    rows = [
        {"params": n, "tokens": d, "loss": law.loss(n, d)}
        for n in np.geomspace(1e5, 1e8, 12)
        for d in np.geomspace(3e5, 3e9, 9)
    ]
    return table.build(sources.from_frame(pd.DataFrame(rows)))


def test_ladders_without_budgets_are_interpolated_and_labelled():
    result = isoflop.fit(dense_ladder())
    assert isinstance(result, Result)
    assert "read off each size's loss" in result.flags[0]
    assert value(result, "a") == pytest.approx(0.58, abs=0.08)


def test_envelope_recovers_the_exponent():
    """Where twelve sizes hand over to each other, noise-free: the truth, and the frontier of the loss too."""
    result = envelope.fit(dense_ladder())
    assert value(result, "a") == pytest.approx(0.58, abs=0.01)
    assert value(result, "a") + value(result, "b") == pytest.approx(1.0, abs=0.01)
    law = parametric.fit(dense_ladder())
    at = optimal.optimum(law.theta[None], np.log(1e15))
    assert result.predict(flops=1e15).value[0] == pytest.approx(np.exp(at.log_loss[0]), rel=0.01)


@pytest.mark.parametrize("window", [(3e5, 3.3e6), (3.5e5, 4.6e6)])
@pytest.mark.parametrize(
    "law",
    [
        synthetic.KnownLaw(),
        synthetic.KnownLaw(E=2.097, A=420.0, B=2.6e5, alpha=0.626, beta=0.991),
        synthetic.KnownLaw(A=150.0, B=1200.0, alpha=0.5, beta=0.54),
        synthetic.KnownLaw(A=500.0, B=3e5, alpha=0.65, beta=0.98),
    ],
)
def test_envelope_of_the_demo_is_right_or_not_fitted(law, window):
    """A size that wins because no other was trained to that compute must not bend the exponent (.56 for .61 without this)."""
    result = envelope.fit(demo_design(law, *window))
    if isinstance(result, NotFitted):
        assert "the design decides" in result.reason
    else:
        assert value(result, "a") == pytest.approx(law.beta / (law.alpha + law.beta), abs=0.01)


def test_envelope_is_fitted_where_the_demo_sees_enough():
    result = envelope.fit(
        demo_design(synthetic.KnownLaw(E=2.097, A=420.0, B=2.6e5, alpha=0.626, beta=0.991), 3e5, 3.3e6)
    )
    assert isinstance(result, Result)
    assert result.certificate.about == "the loss frontier" and result.certificate.identifiability == "weak"
    assert any("smallest or the largest trained to it" in flag for flag in result.flags)


def test_an_end_of_a_curve_is_no_change_of_the_best_size():
    """Two sizes that never meet (one stops where the other starts to be trained) show no optimum."""
    law = synthetic.KnownLaw()
    grid = [(n, c) for n, low in ((1e5, 1e12), (1e6, 4e13), (1e7, 1.6e15)) for c in np.geomspace(low, 32 * low, 5)]
    rows = [{"params": n, "tokens": c / 6 / n, "loss": law.loss(n, c / 6 / n)} for n, c in grid]
    result = envelope.fit(table.build(sources.from_frame(pd.DataFrame(rows))))
    assert isinstance(result, NotFitted) and "change 0 times" in result.reason


def test_replicates_without_an_optimum_are_rejected_and_counted(monkeypatch):
    """A loss frontier that the optimiser left unfinished gives no number to the interval."""
    minimise = engine.minimise

    def unfinished(*arguments, **options):
        found = minimise(*arguments, **options)
        if len(found.theta) == 40:
            found.gradient_relative[:3] = 1.0
        return found

    monkeypatch.setattr(engine, "minimise", unfinished)
    runs = dense_ladder()
    draws = bootstrap.Draws(0.002 * np.random.default_rng(0).standard_normal((40, len(runs))))
    result = envelope.fit(runs, draws)
    assert np.isnan(result.replicates[:, 4:]).all(axis=1).sum() == 3
    assert any("no optimum in 3 of 40 replicates: rejected" in flag for flag in result.flags)


def test_envelope_without_curves_is_not_fitted():
    frame = noise_free_frame().assign(params=lambda f: f["params"] * 1.05 ** np.arange(len(f)))
    result = envelope.fit(table.build(sources.from_frame(frame)))
    assert isinstance(result, NotFitted) and "token budget" in result.reason


def test_closed_form_optimum_is_the_minimum(exact):
    law = parametric.fit(exact)
    best = optimal.allocate(law, exact, (1e21,))[0]
    n = best.params.value * np.exp(np.linspace(-0.2, 0.2, 41))
    losses = np.exp(law.log_loss(n, 1e21 / (6 * n)))
    assert int(np.argmin(losses)) == 20
    assert best.loss.value == pytest.approx(losses[20], rel=1e-12)
    assert best.tokens.value == pytest.approx(1e21 / (6 * best.params.value), rel=1e-12)
    assert best.beyond == pytest.approx(10, rel=1e-6)


def test_optimum_under_another_flop_convention_spends_exactly_the_budget(ladder):
    """With the attention counted, cost is no longer 6·N·D: the optimum lies on the budget and is the minimum along it."""
    other = ladder.under(table.Conventions("total", "6nd_head_attention"))
    law, cost = parametric.fit(other), optimal.cost_of(other)
    assert not cost.six_n
    at = optimal.optimum(law.theta[None], np.log(1e13), cost)
    assert float((cost(at.log_params) + at.log_tokens)[0]) == pytest.approx(np.log(1e13), abs=1e-12)
    n = at.log_params[0] + np.linspace(-0.5, 0.5, 101)
    losses = law.log_loss(np.exp(n), np.exp(np.log(1e13) - cost(n)))
    assert abs(int(np.argmin(losses)) - 50) <= 1


def test_kaplan_joint_law_returns_its_parameters():
    """Exact data from Kaplan's L(N, D) with the published constants (alpha_N .076, alpha_D .103, N_c 6.4e13, D_c 1.8e13)."""
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e9, 7), np.geomspace(1e8, 1e11, 6)))
    loss = ((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103
    result = kaplan.fit_nd(
        table.build(sources.from_frame(pd.DataFrame({"params": n, "tokens": d, "loss": loss}))), bootstrap.NO_DRAWS, 0.9
    )
    assert value(result, "alpha_N") == pytest.approx(0.076, rel=1e-7)
    assert value(result, "alpha_D") == pytest.approx(0.103, rel=1e-7)
    assert np.exp(value(result, "log_N_c")) == pytest.approx(6.4e13, rel=1e-5)
    assert np.exp(value(result, "log_D_c")) == pytest.approx(1.8e13, rel=1e-5)


def test_kaplan_single_laws_take_the_right_runs_and_admit_their_regime(ladder):
    surface = parametric.fit(ladder)
    laws = {law.name: law for law in kaplan.fit_all(ladder, bootstrap.NO_DRAWS, 0.9, surface)}
    by_n = ladder.frame[ladder.frame["run_id"].isin(laws["kaplan_n"].run_ids)]
    assert len(by_n) == 7 and (by_n["tokens"] == by_n.groupby("params")["tokens"].transform("max")).all()
    assert any("does not reach the law's regime" in flag for flag in laws["kaplan_n"].flags)
    assert any("L(C_min)" in flag for flag in laws["kaplan_c"].flags)
    frontier = ladder.frame[ladder.frame["run_id"].isin(laws["kaplan_c"].run_ids)].sort_values("flops")
    assert (np.diff(frontier["loss"]) <= 0).all()


def test_kaplan_single_law_on_its_own_ground():
    """Data in abundance: L(N) with offset returns the size exponent of the surface."""
    law = synthetic.KnownLaw(B=0.0)
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e5, 1e9, 8), np.geomspace(1e10, 1e12, 3)))
    runs = table.build(sources.from_frame(pd.DataFrame({"params": n, "tokens": d, "loss": law.loss(n, d)})))
    result = kaplan.fit_axis(runs, kaplan.AXES[0], bootstrap.NO_DRAWS, 0.9, offset=True)
    assert value(result, "alpha_N") == pytest.approx(0.42, rel=1e-6)
    assert value(result, "E") == pytest.approx(1.9, rel=1e-6)


def test_uneven_curves_do_not_amplify_noise():
    """Two points that all but coincide would send a cubic anywhere between its other points: the reading stays bounded."""
    law, rng = synthetic.KnownLaw(), np.random.default_rng(0)
    tokens = np.array([1e8, 3e9, 3.2e9, 1e11])
    rows = [{"params": n, "tokens": d, "loss": law.loss(n, d)} for n in (1e6, 1e7, 1e8) for d in tokens]
    line = curves.size_curves(table.build(sources.from_frame(pd.DataFrame(rows))))[0]
    for log_flops in rng.uniform(line.log_flops[0], line.log_flops[-1], 50):
        weights = line.reading(log_flops)
        assert weights.sum() == pytest.approx(1.0)
        assert np.linalg.norm(weights) <= 1.06
