"""The bias of IsoFLOP parabolas: measured on whole laws, in closed form, and what it does to exponents."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws import parametric
from analysis.laws.optima import isoflop, parabola
from analysis.laws.tables import sources, table
from tests.analysis import synthetic

LAWS = {
    "demo": synthetic.KnownLaw(),
    "chinchilla": synthetic.KnownLaw(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28),
    "epoch": synthetic.KnownLaw(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658),
    "lopsided": synthetic.KnownLaw(E=1.5, A=900.0, B=40.0, alpha=0.465, beta=0.155),
}
BUDGETS = np.geomspace(1e17, 1e21, 6)


def log_optimum(law: synthetic.KnownLaw, flops):
    """ln N_opt on C = 6·N·D."""
    both = law.alpha + law.beta
    return (np.log(law.alpha * law.A / (law.beta * law.B)) + law.beta * np.log(flops / 6)) / both


def sweep(law: synthetic.KnownLaw, u_BxS: np.ndarray) -> table.RunsTable:
    """Exact losses at sizes exp(u) times the optimum of each budget."""
    rows = []
    for flops, u_S in zip(BUDGETS, u_BxS, strict=True):
        params = np.exp(log_optimum(law, flops) + u_S)
        tokens = flops / (6 * params)
        rows.append(
            pd.DataFrame({"params": params, "tokens": tokens, "flops": flops, "loss": law.loss(params, tokens)})
        )
    return table.build(sources.from_frame(pd.concat(rows, ignore_index=True)))


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_measured_bias_is_the_closed_form(law, width):
    """Noise-free sweeps over five decades: every vertex is off by the closed form to 1e-6, so the exponents are exact."""
    u_S = np.linspace(-np.log(width), np.log(width), 9)
    result = isoflop.fit(sweep(law, np.tile(u_S, (len(BUDGETS), 1))))
    measured = result.details["points"].log_params[0] - log_optimum(law, BUDGETS)
    assert measured == pytest.approx(parabola.bias_of_centred(law.alpha, law.beta, u_S), abs=1e-6)
    assert abs(measured[0]) > 1e-3
    assert result.parameters["a"].value == pytest.approx(law.beta / (law.alpha + law.beta), abs=1e-9)
    assert result.parameters["b"].value == pytest.approx(law.alpha / (law.alpha + law.beta), abs=1e-9)


@pytest.mark.parametrize(
    ("alpha", "beta", "width", "percent"),
    [(0.34, 0.28, 8, 3.0), (0.34, 0.28, 16, 5.4), (0.465, 0.155, 8, 16), (0.465, 0.155, 16, 30)],
)
def test_closed_form_gives_the_figures_of_two_published_laws(alpha, beta, width, percent):
    """Up to how many sizes share the width; the expansion for narrow grids agrees where the grid is narrow."""
    u_S = np.linspace(-np.log(width), np.log(width), 9)
    assert 100 * np.expm1(parabola.bias_of_centred(alpha, beta, u_S)) == pytest.approx(percent, rel=0.25)
    narrow = u_S / 20
    expansion = (alpha - beta) / 6 * np.sum(narrow**4) / np.sum(narrow**2)
    assert parabola.bias_of_centred(alpha, beta, narrow) == pytest.approx(expansion, rel=1e-3)


def test_equal_exponents_have_no_bias():
    u_S = np.linspace(-3, 3, 7)
    assert parabola.bias_of_centred(0.35, 0.35, u_S) == pytest.approx(0, abs=1e-12)


def test_closed_form_and_numbers_agree_and_each_has_its_grids():
    """A centred grid that is moved by 1e-5 is no longer centred: the numerical bias continues the closed form."""
    u_S = np.array([-2.0, -1.1, -0.3, 0.3, 1.1, 2.0])
    closed = parabola.bias_of_centred(0.34, 0.28, u_S)
    numerical = parabola.bias(0.34, 0.28, u_S + 1e-5)
    assert parabola.is_centred(u_S) and not parabola.is_centred(u_S + 1e-5)
    assert numerical == pytest.approx(closed, abs=1e-5) and numerical != closed
    assert parabola.bias(0.34, 0.28, u_S) == closed
    assert parabola.bias(0.28, 0.34, -u_S) == pytest.approx(-closed, rel=1e-12)
    with pytest.raises(ValueError, match="symmetrically"):
        parabola.bias_of_centred(0.34, 0.28, u_S + 1e-5)


def test_a_grid_whose_centre_drifts_bends_the_exponent_and_the_correction_straightens_it():
    """Centres that move by a factor of two over the sweep: a is off by more than .001 and is right again when corrected."""
    law = LAWS["chinchilla"]
    u_S, centre_B = np.linspace(-np.log(16), np.log(16), 9), np.linspace(-0.35, 0.35, len(BUDGETS))
    runs = sweep(law, centre_B[:, None] + u_S)
    result = isoflop.fit(runs, surface=parametric.fit(runs))
    truth = law.beta / (law.alpha + law.beta)
    assert abs(result.parameters["a"].value - truth) > 0.001
    assert result.derived["a_bias_corrected"].value == pytest.approx(truth, abs=1e-6)
    assert result.derived["b_bias_corrected"].value == pytest.approx(1 - truth, abs=1e-6)
    assert not any(result.details["bias_in_closed_form"])
    expected = [parabola.bias(law.alpha, law.beta, centre + u_S) for centre in centre_B]
    assert result.details["bias"] == pytest.approx(np.array(expected), abs=1e-5)
