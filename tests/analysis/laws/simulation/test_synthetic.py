"""Synthetic sweeps are what they say: designs, truths and noise."""

import numpy as np
import pytest

from analysis.laws import parametric
from analysis.laws.intervals import noise
from analysis.laws.simulation import synthetic
from analysis.laws.simulation.synthetic import NoiseModel


def test_isoflop_budgets_are_equal_and_sizes_surround_the_frontier():
    design = synthetic.isoflop(budgets=4, sizes=5, lowest=1e18, highest=1e21, spread=8)
    flops = np.exp(design.log_compute).reshape(4, 5)
    assert flops == pytest.approx(np.repeat([[1e18], [1e19], [1e20], [1e21]], 5, axis=1), rel=1e-12)
    ratio = np.exp(design.log_tokens - design.log_params).reshape(4, 5)
    assert ratio[:, 2] == pytest.approx(20)
    assert ratio[:, 0] == pytest.approx(20 * 64)


def test_a_grid_crosses_every_size_with_every_horizon():
    design = synthetic.grid(sizes=4, horizons=3)
    assert len(set(np.round(design.log_params, 9))) == 4 and len(set(np.round(design.log_tokens, 9))) == 3
    assert len(set(zip(np.round(design.log_params, 9), np.round(design.log_tokens, 9), strict=True))) == 12


def test_branches_share_their_trunk_and_repeated_seeds_are_replicates():
    design = synthetic.ladder(trunks=6, branches=4, repeated=2)
    assert len(design) == 28 and design.cluster.max() == 9
    table = design.with_losses(np.zeros(28))
    assert [len(rows) for rows in noise.replicates(table)] == [3, 3]
    assert list(table.log("params")) == pytest.approx(design.log_params)
    assert (table.codes("cluster")[:4] == table.codes("cluster")[0]).all()


def test_losses_keep_the_order_of_the_design():
    design = synthetic.ladder(repeated=1)
    y_K = np.random.default_rng(0).normal(1.0, 0.1, len(design))
    assert design.with_losses(y_K).log("loss") == pytest.approx(y_K, rel=1e-12)


@pytest.mark.parametrize("design", [synthetic.isoflop(), synthetic.ladder(), synthetic.scattered()])
def test_a_fit_without_noise_returns_the_truth(design):
    truth = synthetic.draw_truth(np.random.default_rng(1))
    law = parametric.fit(design.with_losses(truth.log_loss(design)))
    assert law.theta == pytest.approx(synthetic.pseudo_truth(design, truth), rel=1e-6)
    assert law.parameters["alpha"].value == pytest.approx(truth.alpha, rel=1e-7)


def test_another_form_has_a_closest_law_that_misses_it():
    design, rng = synthetic.isoflop(), np.random.default_rng(1)
    truth = synthetic.draw_truth(rng, outer=0.6)
    law = parametric.fit(design.with_losses(truth.log_loss(design)))
    assert np.max(np.abs(law.details["residual"])) > 1e-4
    assert law.parameters["alpha"].value == pytest.approx(synthetic.pseudo_truth(design, truth)[3], rel=0.05)


@pytest.mark.parametrize("heavy", [False, True])
def test_noise_has_its_spread_and_its_share(heavy):
    """Standard deviation, and correlation between branches of a trunk, over many draws."""
    design, rng = synthetic.ladder(trunks=4, branches=3), np.random.default_rng(0)
    truth, model = synthetic.draw_truth(rng), NoiseModel(0.01, shared=0.6, heavy=heavy)
    draws = np.stack([model.draw(design, truth, rng) for _ in range(4000)])
    assert np.std(draws) == pytest.approx(0.01, rel=0.05)
    correlation = np.corrcoef(draws.T)
    assert correlation[0, 1] == pytest.approx(0.6, abs=0.05)
    assert correlation[0, 3] == pytest.approx(0, abs=0.06)
    kurtosis = np.mean((draws / np.std(draws)) ** 4)
    assert (kurtosis > 3.3) == heavy


def test_noise_that_depends_on_the_loss_grows_with_it():
    design = synthetic.isoflop()
    truth = synthetic.draw_truth(np.random.default_rng(0))
    scale = NoiseModel(0.01, by_loss=True).scale(design, truth)
    assert np.corrcoef(scale, np.exp(truth.log_loss(design)))[0, 1] == pytest.approx(1)
    assert scale.mean() == pytest.approx(0.01)
