"""Every form: one curve in centred and in natural coordinates, derivatives by JAX, and the parameters that made its data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting import objectives, solve
from analysis.laws.forms import catalogue, data_constrained, over_optimisation, skaling
from analysis.laws.forms.form import evaluate
from analysis.laws.intervals import bootstrap, likelihood

# One theta a form that lies inside its bounds, in centred coordinates.
INSIDE = {
    "chinchilla_parametric": [-1.0, -0.8, 0.6, 0.34, 0.4],
    "kaplan_n": [1.1, 0.08], "kaplan_d": [1.1, 0.1], "kaplan_c": [1.1, 0.05], "kaplan_c_min": [1.1, 0.05],
    "kaplan_n_offset": [0.3, 0.4, 0.3], "kaplan_d_offset": [0.3, 0.4, 0.3],
    "kaplan_c_offset": [0.3, 0.4, 0.2], "kaplan_c_min_offset": [0.3, 0.4, 0.2],
    "kaplan_nd": [9.0, 8.5, 0.74, 0.103], "kaplan_ns": [0.6, -0.5, 0.08, 0.76],
    "skaling": [-0.5, 0.5, 0.5, 0.6, 0.3, 0.7], "gamma_form": [-0.5, 0.5, 0.5, 0.6, 0.3, 0.7],
    "over_training": [-1.0, -0.8, 0.6, 0.17], "data_by_size": [-1.0, -0.8, 0.6, 0.34, 0.5, 0.2], "broken_power_law": [0.1, 0.4, 0.2, 0.15, 0.5, 0.4],
    "data_constrained": [-1.0, -0.8, 0.6, 0.34, 0.4, 2.0, 1.5],
    "frontier": [-0.3, 0.6, 0.15], "frontier_without_floor": [1.0, 0.05], "sigmoid_of_loss": [3.0, 2.5, 0.25, 0.95],
    "over_optimisation_best_of_n": [1.2, 0.1], "over_optimisation_rl": [1.2, 0.4],
    "over_optimisation_direct_alignment": [0.3, 0.15],
}  # fmt: skip
FORMS = list(catalogue.FORMS.values())


def points(form, count=60, seed=0):
    """Logarithms of variables around a centre that is far from zero."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2.0, 2.0, (count, len(form.variables)))
    if form.variables == data_constrained.VARIABLES:
        # Unique tokens never exceed tokens.
        x[:, 2] = x[:, 1] - rng.uniform(0.0, 3.0, count)
    if form.name.startswith(("sigmoid", "over_optimisation")):
        return np.log(rng.uniform(1.5, 4.0, (count, 1))), np.zeros(1)
    centre = rng.uniform(15.0, 22.0, len(form.variables))
    if form.variables == data_constrained.VARIABLES:
        centre[2] = centre[1]
    return x, centre


def test_every_form_is_tried():
    assert INSIDE.keys() == catalogue.FORMS.keys()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_cites_its_source_and_names_what_it_prints(form):
    theta = np.array([INSIDE[form.name]])
    assert "arXiv:" in form.source and form.equation
    for reading in {**form.natural, **form.derived}.values():
        assert np.isfinite(reading(theta)).all() and reading(theta).shape == (1,)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_moving_the_centre_leaves_the_curve(form):
    """theta over ln(X/centre) and its move to ln X describe one curve: to rounding."""
    x, centre = points(form)
    theta = np.array([INSIDE[form.name]])
    np.testing.assert_allclose(
        evaluate(form, form.uncentred(theta, centre), x + centre), evaluate(form, theta, x), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_jax_differentiates_what_numpy_evaluates(form):
    """The same equation in both libraries: equal values, and JAX's gradient against differences of numpy's values."""
    x, _ = points(form, 12)
    theta = np.array(INSIDE[form.name])
    with jax.enable_x64(True):

        def value(theta_P, x_V):
            return form.value(tuple(theta_P), tuple(x_V), jnp)

        values, gradient = jax.vmap(jax.value_and_grad(value), (None, 0))(jnp.asarray(theta), jnp.asarray(x))
    np.testing.assert_allclose(values, evaluate(form, theta[None], x)[0], rtol=1e-12)
    np.testing.assert_allclose(np.asarray(gradient).T, solve.jacobian(form, theta, x), rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_engine_finds_the_parameters_that_made_the_data(form):
    """Exact responses, starts of the form's own: theta returns, to what the conditioning of each form allows."""
    x, _ = points(form, 120)
    x -= fitting.centre_of(form, x)
    theta = np.array(INSIDE[form.name])
    y = evaluate(form, theta[None], x)[0]
    objective = objectives.least_squares() if form.name.startswith(("sigmoid", "over")) else objectives.HUBER
    found = solve.solve(form, x, y, np.ones(len(y)), objective)
    np.testing.assert_allclose(found.theta, theta, rtol=2e-5, atol=2e-6)
    assert found.certificate.gradient_relative < 1e-7


def test_skaling_and_the_gamma_form_are_one_surface():
    """E + A(N^-α + R·D^-β)^κ read as E + (A'/N^α + B'/D^β)^γ."""
    theta = np.array([INSIDE["skaling"]])
    own = {name: float(reading(theta)[0]) for name, reading in skaling.GAMMA.natural.items()}
    n, d = np.exp(0.7), np.exp(-0.4)
    loss = own["E"] + (own["A"] / n ** own["alpha"] + own["B"] / d ** own["beta"]) ** own["gamma"]
    assert np.log(loss) == pytest.approx(evaluate(skaling.FORM, theta, np.log([[n, d]]))[0, 0], rel=1e-12)


PUBLISHED = (6.255414, 7.3049974, 0.6254804, 0.3526596, 0.3526596)
STARS = np.log([[15.387756, 5.309743]])


def test_data_constrained_law_prints_the_published_losses():
    """Muennighoff et al.'s own examples (README of their repository), to all the digits that they print."""
    law = data_constrained.with_fixed(*PUBLISHED)
    for (params, tokens, unique), loss in {
        (6.34e9, 242e9, 25e9): 2.2256440889984477,
        (8.67e9, 178e9, 25e9): 2.2269634075087867,
    }.items():
        found = np.exp(evaluate(law, STARS, np.log([[params, tokens, unique]]))[0, 0])
        assert found == pytest.approx(loss, rel=1e-12)


def test_the_published_repetition_constants_are_one_point_of_a_ridge(shared_data):
    """182 runs: the published (15.4, 5.3) is not the optimum, the optimum (95.4, 1.71) is hardly better, and the fit says that
    neither is identified."""
    raw = np.genfromtxt(shared_data / "datablations" / "fit_182.csv", delimiter=",", names=True)
    x = np.log(np.stack([raw["N"], raw["D_total"], raw["U_unique"]], axis=1))
    y, law = np.log(raw["loss"]), data_constrained.with_fixed(*PUBLISHED)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), 200).astype(float)
    found = fitting.fit_form(law, x, y, bootstrap.Draws(np.zeros((200, len(y))), weights))
    assert likelihood.huber_sum(evaluate(law, STARS, x) - y, np.ones((1, 1)), 1e-3)[0] == pytest.approx(
        0.0158259366, rel=1e-7
    )
    assert found.objective == pytest.approx(0.0158046625, rel=1e-8)
    np.testing.assert_allclose(np.exp(found.theta), [95.37, 1.706], rtol=1e-3)
    assert found.certificate.identifiability == "none" and not found.certificate.trusted
    assert any("ridge" in flag for flag in found.flags) and any("unbounded above" in flag for flag in found.flags)


def test_best_of_n_kl_and_peaks():
    """KL of best-of-n at the values of Gao et al.'s range, and both peaks where the derivative vanishes."""
    np.testing.assert_allclose(over_optimisation.best_of_n_kl([16, 1000, 60000]), [1.8351, 5.9088, 10.0021], atol=5e-5)
    theta = np.array([[1.2, 0.3]])
    for form in (over_optimisation.BEST_OF_N, over_optimisation.RL):
        peak, height = (form.derived[name](theta)[0] for name in ("peak_distance", "peak_reward"))
        around = evaluate(form, theta, np.log(peak * np.array([[0.99], [1.0], [1.01]])))[0]
        assert around[1] == pytest.approx(height) and around[1] > max(around[0], around[2])
