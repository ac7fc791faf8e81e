"""Pearce and Song's transformation against brute force, against their simulation, and against their published constants."""

import numpy as np
import pytest

from analysis.laws import parametric
from analysis.laws.accounting import embedding
from analysis.laws.errors import TableError
from analysis.laws.intervals import bootstrap
from analysis.laws.optima import lowest_size, training_curves
from analysis.laws.tables import table
from tests.analysis import synthetic

EPOCH = synthetic.KnownLaw(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
CHINCHILLA = synthetic.KnownLaw(E=1.6934, A=406.4, B=410.7, alpha=0.3392, beta=0.2849)
# Their range of compute, which holds Kaplan et al.'s models of 768 to 1.5e9 parameters without embeddings.
RANGE = (10**12.95, 10**20.7)
# Hoffmann et al. 2022, table A9: parameters in millions and width.
CHINCHILLA_MODELS = np.array([
    (44, 512), (57, 576), (74, 640), (90, 640), (106, 640), (117, 768), (140, 768), (163, 768), (175, 896), (196, 896), (217, 896),
    (251, 1024), (278, 1024), (306, 1024), (425, 1280), (489, 1280), (509, 1408), (552, 1280), (587, 1408), (632, 1536), (664, 1408),
    (724, 1536), (816, 1536), (893, 1792), (1018, 1792), (1143, 1792), (1266, 2048), (1424, 2176), (1429, 2048), (1593, 2048),
    (1609, 2176), (1731, 2304), (1794, 2176), (2007, 2304), (2283, 2304), (2298, 2560), (2639, 2560), (2980, 2560), (3530, 2688),
    (3802, 2816), (4084, 2944), (4516, 3072), (6796, 3584), (9293, 4096), (11452, 4352), (12295, 4608), (12569, 4608), (13735, 4864),
    (14494, 4992), (16183, 5120),
], float)  # fmt: skip


def theta(law: synthetic.KnownLaw) -> np.ndarray:
    return np.array([[np.log(law.A), np.log(law.B), np.log(law.E), law.alpha, law.beta]])


@pytest.mark.parametrize(
    ("law", "published", "asymptote"), [(EPOCH, 0.78, 0.51), (CHINCHILLA, 0.74, 0.46)], ids=["epoch", "chinchilla"]
)
def test_kaplans_range_has_the_published_exponent(law, published, asymptote):
    """0.78 and 0.74 for the two sets of constants where Kaplan et al. measured 0.73; 0.51 and 0.46 for large models."""
    share = embedding.PEARCE_SONG
    assert embedding.exponent_between(theta(law), share, *RANGE)[0] == pytest.approx(published, abs=0.006)
    assert embedding.exponent_between(theta(law), share, 1e28, 1e32)[0] == pytest.approx(asymptote, abs=0.005)


@pytest.mark.parametrize(("law", "published"), [(EPOCH, 0.78), (CHINCHILLA, 0.74)], ids=["epoch", "chinchilla"])
def test_their_simulation_is_repeated_by_approach_1(law, published):
    """20 sizes, their losses over compute without embeddings, the best at each compute: the slope to its published digits."""
    n_e = np.logspace(2.9, 9.2, 20)
    # Their script takes widths from an aspect ratio of 39.2 and a vocabulary of 32,000.
    n_t = n_e + 32e3 * (n_e / (12 / 39.2)) ** (1 / 3)
    log_flops = np.linspace(*np.log(RANGE), 1000)
    curves = []
    for small, total in zip(n_e, n_t, strict=True):
        tokens = np.exp(log_flops) / (6 * small)
        curves.append(
            training_curves.TrainingCurve(np.log(small), log_flops, np.log(tokens), np.log(law.loss(total, tokens)))
        )
    found = lowest_size.fit_curves(curves, 0, np.random.default_rng(0)).parameters["a"].value
    assert found == pytest.approx(published, abs=0.005)
    # The closed form is that frontier without its stairs.
    assert embedding.exponent_between(theta(law), embedding.PEARCE_SONG, *RANGE)[0] == pytest.approx(found, abs=0.007)


@pytest.mark.parametrize(
    "share", [embedding.PEARCE_SONG, embedding.EmbeddingShare(3000.0, 0.5)], ids=["cube root", "square root"]
)
def test_the_closed_form_is_the_minimum_along_a_budget(share):
    """Brute force over N_E at fixed 6·N_E·D, for three computes and two exponents of the embeddings."""
    for log_flops in np.log([1e14, 1e18, 1e22]):
        best = embedding.optimum(theta(EPOCH), share, np.array([log_flops]))[0, 0]
        log_n = best + np.linspace(-0.5, 0.5, 100001)
        losses = EPOCH.loss(np.exp(share.log_total(log_n)), np.exp(log_flops - np.log(6) - log_n))
        assert log_n[np.argmin(losses)] == pytest.approx(best, abs=1e-3)


def test_the_local_exponent_is_the_slope_and_has_both_limits():
    """Against central differences; beta/(alpha/3 + beta) where embeddings are everything, beta/(alpha + beta) where nothing."""
    log_n, step = np.linspace(5, 25, 9), 1e-5
    share = embedding.PEARCE_SONG
    ahead, back = (embedding.log_flops_of(theta(EPOCH), share, log_n + sign * step) for sign in (1, -1))
    assert embedding.local_exponent(theta(EPOCH), share, log_n) == pytest.approx(2 * step / (ahead - back), rel=1e-7)
    first, last = embedding.local_exponent(theta(EPOCH), share, np.array([-30.0, 90.0]))[0]
    assert first == pytest.approx(EPOCH.beta / (EPOCH.alpha / 3 + EPOCH.beta), rel=1e-6)
    assert last == pytest.approx(EPOCH.beta / (EPOCH.alpha + EPOCH.beta), rel=1e-6)


def test_omega_of_the_chinchilla_models():
    """47,491 comes with a free exponent of .339; a cube root alone has 52,960. Both are fits of ln N_T at a vocabulary of 32,000."""
    total, width = CHINCHILLA_MODELS.T
    total, non_embedding = 1e6 * total, 1e6 * total - 32e3 * width
    free = embedding.share_of(total, non_embedding, delta=None)
    assert free.omega == pytest.approx(47491, abs=1) and free.delta == pytest.approx(0.3393, abs=1e-4)
    cube_root = embedding.share_of(total, non_embedding)
    assert cube_root.omega == pytest.approx(52960, abs=1) and cube_root.delta == 1 / 3
    assert cube_root.misfit > free.misfit and not cube_root.flags


def test_the_law_of_a_table_gives_kaplans_exponent_with_its_interval(ladder):
    """The ladder of the tests, whose embeddings dominate: steeper without them than the closed form with them, replicate by replicate."""
    noise = 0.003 * np.random.default_rng(0).standard_normal((60, len(ladder)))
    law = parametric.fit(ladder, bootstrap.Draws(noise))
    share = embedding.share_of_table(ladder, delta=None)
    by_convention = ladder.under(table.Conventions("non_embedding"))
    assert np.exp(share.log_total(by_convention.log("params"))) == pytest.approx(
        ladder.frame["params"].to_numpy(), rel=0.1
    )
    flops = by_convention.frame["flops"]
    found = embedding.kaplan_exponent(law, share, flops.min(), flops.max())
    assert found.value > law.derived["a"].value + 0.05
    assert found.interval[0] < found.value < found.interval[1] and found.method == law.parameters["alpha"].method
    with pytest.raises(ValueError, match="must ascend"):
        embedding.kaplan_exponent(law, share, 1e12, 1e12)


def test_counts_that_cannot_give_omega_are_refused(exact):
    with pytest.raises(TableError, match="more total than non-embedding"):
        embedding.share_of(np.array([1e6, 2e6]), np.array([1e6, 1.5e6]))
    with pytest.raises(TableError, match="has no params_non_embedding"):
        embedding.share_of_table(exact)


def test_sizes_without_a_common_shape_are_flagged():
    """Embeddings that follow no power of the size: the misfit is said."""
    n_e = np.geomspace(1e6, 1e9, 6)
    wild = embedding.share_of(n_e + 5e4 * n_e ** (1 / 3) * np.array([0.3, 3, 0.3, 3, 0.3, 3]), n_e)
    assert "no common shape" in wild.flags[0]
