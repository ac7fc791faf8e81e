"""Preference losses against derivations that share no code with them, in float64: values to 1e-12, gradients by formula and by differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from align.losses.preference.batch_statistics import BatchStatistics, batch_statistics, running
from align.losses.preference.config import PreferenceConfig, mpo, rpo
from align.losses.preference.evaluate import evaluate
from align.losses.preference.options import LOSSES
from align.losses.preference.pairs import PreferencePairs
from align.sums import Sum
from tests.align.losses import derivations
from tests.align.losses.pair_cases import preference_pairs, with_sums

PAIRS = preference_pairs()
B = len(PAIRS.chosen.policy)

# Losses that are a function of one pair, with options away from their defaults too.
ONE_PAIR = [
    ("sigmoid", {}),
    ("sigmoid", {"label_smoothing": 0.2}),
    ("cdpo", {}),
    ("sigmoid_norm", {}),
    ("sigmoid_norm", {"label_smoothing": 0.3}),
    ("ld_dpo", {}),
    ("ld_dpo", {"ld_alpha": 0.0}),
    ("robust", {}),
    ("robust", {"label_smoothing": 0.3}),
    ("ipo", {}),
    ("ipo", {"reduction": "mean"}),
    ("ipo", {"ld_alpha": 0.3}),
    ("hinge", {}),
    ("bco_pair", {}),
    ("exo", {}),
    ("exo", {"label_smoothing": 0.1}),
    ("nca", {}),
    ("sppo", {}),
    ("apo_zero", {}),
    ("apo_down", {}),
    ("discopop", {}),
    ("discopop", {"temperature": 0.5}),
    ("orpo", {}),
    ("orpo", {"nll_weight": 0.5, "nll_reduction": "sum"}),
    ("simpo", {}),
    ("simpo", {"gamma": 1.2, "label_smoothing": 0.1}),
    ("cpo", {}),
    ("cpo", {"nll_reduction": "mean", "label_smoothing": 0.1}),
    ("unlikelihood", {}),
    ("unlikelihood", {"unlikelihood_weight": 0.25}),
    ("preferred_ft", {}),
    ("preferred_ft", {"nll_reduction": "mean"}),
]
DIVERGENCES = ("forward_kl", "js", "alpha")
WITH_DIVERGENCES = [(name, {}) for name in LOSSES] + [
    (name, {"f_divergence": divergence})
    for name, loss in LOSSES.items()
    if "f_divergence" in loss.options
    for divergence in DIVERGENCES
]
DERIVED = {"cdpo": (derivations.sigmoid, {"label_smoothing": 0.1}), "ld_dpo": (derivations.sigmoid, {"ld_alpha": 0.5})}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def losses(config, pairs=PAIRS, statistics=None):
    outcome = evaluate(jax.tree.map(jnp.asarray, pairs), config, statistics)
    return np.asarray(outcome.losses)


def differentiable(pairs: PreferencePairs, config, statistics=None):
    """The summed loss as a function of the policy's log-probabilities of both sides."""
    pairs = jax.tree.map(jnp.asarray, pairs)

    def function(chosen, rejected):
        moved = pairs._replace(
            chosen=pairs.chosen._replace(policy=chosen), rejected=pairs.rejected._replace(policy=rejected)
        )
        return jnp.sum(evaluate(moved, config, statistics).losses)

    return function


def everything(name: str) -> PreferenceConfig:
    """A configuration of every loss, in a region where the loss is smooth."""
    return PreferenceConfig(name, beta=0.7)


@pytest.mark.parametrize(("name", "options"), ONE_PAIR)
@pytest.mark.parametrize("beta", [0.1, 2.5])
def test_a_loss_is_its_papers_formula(name, options, beta):
    function, defaults = DERIVED.get(name, (getattr(derivations, name, None), {}))
    derived = defaults | options
    ld_alpha = derived.pop("ld_alpha", 1.0)
    expected = [function(derivations.Pair(PAIRS, b, ld_alpha), beta, **derived) for b in range(B)]
    np.testing.assert_allclose(losses(PreferenceConfig(name, beta, **options)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if "f_divergence" in loss.options])
@pytest.mark.parametrize(
    ("divergence", "options"),
    [
        ("forward_kl", {}),
        ("js", {}),
        ("alpha", {}),
        ("alpha", {"alpha": 0.3}),
        ("alpha", {"alpha": 0.3, "alpha_convention": "cressie_read"}),
    ],
)
def test_a_score_is_the_derivative_of_the_divergence(loss, divergence, options):
    config = PreferenceConfig(loss, 0.2, f_divergence=divergence, **options)
    # Ratios of probabilities that the plain formulas can still exponentiate.
    mild, expected = preference_pairs(scale=0.2), []
    for b in range(B):
        pair = derivations.Pair(mild, b, 0.5 if loss == "ld_dpo" else 1.0)
        arguments = (divergence, options.get("alpha", 0.5), options.get("alpha_convention", "wang"))
        pair.s_w, pair.s_l = (derivations.f_prime(s, *arguments) for s in (pair.s_w, pair.s_l))
        function, derived = DERIVED.get(loss, (getattr(derivations, loss, None), {}))
        expected.append(function(pair, 0.2, **{key: value for key, value in derived.items() if key != "ld_alpha"}))
    np.testing.assert_allclose(losses(config, mild), expected, rtol=1e-11, atol=1e-11)


def test_alpha_divergences_run_from_reverse_to_forward_kl_and_the_conventions_are_mirrors():
    at = lambda **options: losses(PreferenceConfig("sigmoid", 0.2, **options))  # noqa: E731
    np.testing.assert_allclose(at(f_divergence="alpha", alpha=0.0), at(), rtol=1e-12)
    np.testing.assert_allclose(at(f_divergence="alpha", alpha=1.0), at(f_divergence="forward_kl"), rtol=1e-12)
    mirrored = at(f_divergence="alpha", alpha=0.7, alpha_convention="cressie_read")
    np.testing.assert_allclose(mirrored, at(f_divergence="alpha", alpha=0.3), rtol=1e-12)


def test_kto_judges_each_side_against_the_mismatched_pairs():
    log_ratios = [sum(t[0] - t[1] for t in derivations.tokens(PAIRS.mismatched, b)) for b in range(B)]
    for sign in (1.0, -1.0):
        shifted = PAIRS.mismatched._replace(
            policy=sign * PAIRS.mismatched.policy, reference=sign * PAIRS.mismatched.reference
        )
        z0 = max(0.0, sign * float(np.mean(log_ratios)))
        config = PreferenceConfig("kto", 0.3, desirable_weight=1.2, undesirable_weight=0.9)
        expected = [derivations.kto(derivations.Pair(PAIRS, b), 0.3, z0, 1.2, 0.9) for b in range(B)]
        np.testing.assert_allclose(losses(config, PAIRS._replace(mismatched=shifted)), expected, rtol=1e-12)


def test_no_gradient_flows_through_the_reference_point_of_kto():
    function = differentiable(PAIRS, PreferenceConfig("kto", 0.3))

    # With a reference point above 0, where the clip does not stop the gradient by itself.
    likelier = PAIRS.mismatched.reference + 0.1
    assert (
        batch_statistics(
            PAIRS._replace(mismatched=PAIRS.mismatched._replace(policy=likelier)), PreferenceConfig("kto")
        ).kl.mean
        > 0
    )

    def of_mismatched(policy):
        moved = PAIRS._replace(mismatched=PAIRS.mismatched._replace(policy=policy))
        return differentiable(moved, PreferenceConfig("kto", 0.3))(PAIRS.chosen.policy, PAIRS.rejected.policy)

    assert not np.any(np.nan_to_num(jax.grad(of_mismatched)(jnp.asarray(likelier))))
    assert np.any(np.nan_to_num(jax.grad(function)(jnp.asarray(PAIRS.chosen.policy), PAIRS.rejected.policy)))


def test_bco_shifts_by_the_mean_reward_of_both_sides_and_the_mean_runs():
    derived = [derivations.Pair(PAIRS, b) for b in range(B)]
    shift = 0.3 * float(np.mean([[p.s_w, p.s_l] for p in derived]))
    expected = [derivations.bco(p, 0.3, shift) for p in derived]
    np.testing.assert_allclose(losses(PreferenceConfig("bco", 0.3)), expected, rtol=1e-12)

    other = preference_pairs(seed=1, pairs=3)
    state = Sum(jnp.zeros(()), jnp.zeros(()))
    for batch in (PAIRS, other):
        state = running(state, batch_statistics(batch, PreferenceConfig("bco", 0.3)).reward)
    rewards = [s for p in (PAIRS, other) for b in range(len(p.chosen.policy)) for s in _log_ratios(p, b)]
    np.testing.assert_allclose(state.mean, 0.3 * np.mean(rewards), rtol=1e-12)
    shifted = losses(PreferenceConfig("bco", 0.3), PAIRS, BatchStatistics(reward=state))
    np.testing.assert_allclose(shifted, [derivations.bco(p, 0.3, float(state.mean)) for p in derived], rtol=1e-12)


def _log_ratios(pairs, b):
    pair = derivations.Pair(pairs, b)
    return pair.s_w, pair.s_l


def test_aot_compares_sorted_quantiles():
    derived = [derivations.Pair(PAIRS, b) for b in range(B)]
    policy, reference = sorted(p.logp_w - p.logp_l for p in derived), sorted(p.ref_w - p.ref_l for p in derived)
    expected = [derivations.smoothed(0.3 * (a - b), 0.1) for a, b in zip(policy, reference, strict=True)]
    np.testing.assert_allclose(losses(PreferenceConfig("aot", 0.3, label_smoothing=0.1)), expected, rtol=1e-12)
    chosen, rejected = sorted(p.s_w for p in derived), sorted(p.s_l for p in derived)
    expected = [derivations.smoothed(0.3 * (a - b), 0.0) for a, b in zip(chosen, rejected, strict=True)]
    np.testing.assert_allclose(losses(PreferenceConfig("aot_unpaired", 0.3)), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["plain", "aligned"])
def test_wpo_weighs_a_pair_by_how_likely_the_policy_is_to_write_it(kind):
    plain = losses(PreferenceConfig("sigmoid", 0.3))
    weights = [derivations.wpo_weight(derivations.Pair(PAIRS, b), kind == "aligned") for b in range(B)]
    np.testing.assert_allclose(losses(PreferenceConfig("sigmoid", 0.3, wpo=kind)), weights * plain, rtol=1e-12)


def test_the_token_mean_of_the_likelihood_is_that_of_the_batch():
    config = PreferenceConfig("preferred_ft", nll_reduction="tokens")
    rows = [derivations.tokens(PAIRS.chosen, b) for b in range(B)]
    expected = -sum(t[0] for row in rows for t in row) / sum(len(row) for row in rows)
    np.testing.assert_allclose(np.mean(losses(config)), expected, rtol=1e-12)


def test_mixtures_are_weighted_sums():
    p = [derivations.Pair(PAIRS, b) for b in range(B)]
    shift = 0.1 * float(np.mean([[x.s_w, x.s_l] for x in p]))
    nll = np.array([-x.logp_w / x.n_w for x in p])
    dpo = np.array([derivations.sigmoid(x, 0.1) for x in p])
    np.testing.assert_allclose(losses(rpo(nll_weight=0.7)), dpo + 0.7 * nll, rtol=1e-12)
    expected = 0.8 * dpo + 0.2 * np.array([derivations.bco(x, 0.1, shift) for x in p]) + nll
    np.testing.assert_allclose(losses(mpo()), expected, rtol=1e-12)


def test_soft_labels_are_the_mean_over_both_labels():
    probability = np.linspace(0.1, 0.9, B)
    soft = losses(PreferenceConfig("sigmoid"), PAIRS._replace(probability=probability))
    swapped = PAIRS._replace(chosen=PAIRS.rejected, rejected=PAIRS.chosen)
    hard, flipped = losses(PreferenceConfig("sigmoid")), losses(PreferenceConfig("sigmoid"), swapped)
    np.testing.assert_allclose(soft, probability * hard + (1 - probability) * flipped, rtol=1e-12)


def test_the_gradient_of_dpo_is_its_papers():
    """-beta sig(-beta h) at every token of the chosen, its negative at the rejected, 0 elsewhere (eq. 7's gradient)."""
    beta = 0.3
    function = differentiable(PAIRS, PreferenceConfig("sigmoid", beta))
    of_chosen, of_rejected = jax.grad(function, (0, 1))(
        jnp.asarray(PAIRS.chosen.policy), jnp.asarray(PAIRS.rejected.policy)
    )
    for b in range(B):
        pair = derivations.Pair(PAIRS, b)
        weight = -beta * derivations.sig(-beta * (pair.s_w - pair.s_l))
        np.testing.assert_allclose(of_chosen[b], weight * PAIRS.chosen.mask[b], rtol=1e-12)
        np.testing.assert_allclose(of_rejected[b], -weight * PAIRS.rejected.mask[b], rtol=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_are_those_of_finite_differences(name):
    """For every loss but those whose other inputs move with the policy behind a stopped gradient: their statistics are held."""
    config = everything(name)
    statistics = batch_statistics(PAIRS, config)
    clean = PAIRS._replace(
        chosen=PAIRS.chosen._replace(policy=np.nan_to_num(PAIRS.chosen.policy)),
        rejected=PAIRS.rejected._replace(policy=np.nan_to_num(PAIRS.rejected.policy)),
    )
    function = differentiable(clean, config, statistics)
    check_grads(function, (clean.chosen.policy, clean.rejected.policy), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("name", "options"), WITH_DIVERGENCES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_margins_of_twenty_thousand_nats_stay_finite(name, options, dtype):
    extremes = np.array([20_000, -20_000, 0, -1e-9, -20_000, 88.7], dtype)
    others = np.array([-20_000, 20_000, 0, -20_000, -20_000, -20_000], dtype)
    # Log-probabilities above 0 do not exist, but log-ratios do: only losses with a reference see them.
    if not LOSSES[name].needs_reference:
        extremes, others = np.minimum(extremes, 0), np.minimum(others, 0)
    pairs = with_sums(extremes, others)
    config = PreferenceConfig(name, 0.1, **options)
    function = differentiable(pairs, config)
    value, gradients = jax.value_and_grad(function, (0, 1))(pairs.chosen.policy, pairs.rejected.policy)
    assert value.dtype == dtype
    assert np.all(np.isfinite(evaluate(pairs, config).losses))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


def test_at_the_reference_dpo_loses_ln_2_with_weight_one_half_and_no_accuracy():
    start = PAIRS._replace(
        chosen=PAIRS.chosen._replace(policy=PAIRS.chosen.reference),
        rejected=PAIRS.rejected._replace(policy=PAIRS.rejected.reference),
    )
    outcome = evaluate(start, PreferenceConfig("sigmoid", 0.3))
    np.testing.assert_allclose(outcome.losses, np.log(2), rtol=1e-15)
    np.testing.assert_array_equal(outcome.correct, 0)
    gradient = jax.grad(differentiable(start, PreferenceConfig("sigmoid", 0.3)))(
        start.chosen.policy, start.rejected.policy
    )
    np.testing.assert_allclose(gradient, -0.15 * PAIRS.chosen.mask, rtol=1e-12)


def test_cdpo_is_least_where_the_margin_is_the_logit_of_the_label_noise():
    margin = np.log(0.9 / 0.1)
    around = with_sums(np.array([margin - 0.01, margin, margin + 0.01]) / 0.5, np.zeros(3))
    low, least, high = losses(PreferenceConfig("cdpo", 0.5), around)
    assert least < low and least < high


@pytest.mark.parametrize("name", ["sigmoid", "cdpo", "robust", "sigmoid_norm"])
def test_the_robust_loss_is_unbiased_under_flips_and_the_others_are_symmetric(name):
    """l(w, l) and l(l, w) are the loss at h and at -h; robust DPO's mean over flips of rate e is the clean DPO loss."""
    config = PreferenceConfig(name, 0.3)
    swapped = PAIRS._replace(chosen=PAIRS.rejected, rejected=PAIRS.chosen)
    there, back = losses(config), losses(config, swapped)
    if name == "robust":
        np.testing.assert_allclose(0.9 * there + 0.1 * back, losses(PreferenceConfig("sigmoid", 0.3)), rtol=1e-12)
        return
    e = config.option("label_smoothing")
    h = np.array(
        [[p.s_w / p.n_w - p.s_l / p.n_l, p.s_w - p.s_l] for p in (derivations.Pair(PAIRS, b) for b in range(B))]
    )
    h = h[:, 0] if name == "sigmoid_norm" else h[:, 1]
    np.testing.assert_allclose(there - back, -(1 - 2 * e) * 0.3 * h, rtol=1e-10, atol=1e-12)


MARGIN_LOSSES = ["sigmoid", "cdpo", "robust", "ipo", "hinge", "exo", "discopop", "aot"]


@pytest.mark.parametrize("name", MARGIN_LOSSES)
def test_a_shift_of_the_reference_common_to_both_sides_changes_nothing(name):
    def shifted(side):
        return side._replace(reference=side.reference + 3.0 / np.sum(side.mask, axis=1, keepdims=True))

    moved = PAIRS._replace(chosen=shifted(PAIRS.chosen), rejected=shifted(PAIRS.rejected))
    np.testing.assert_allclose(losses(everything(name), moved), losses(everything(name)), rtol=1e-9)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_follow_a_permutation_of_the_pairs(name):
    order = np.random.default_rng(3).permutation(B)
    permuted = jax.tree.map(lambda leaf: leaf[order], PAIRS)
    expected = losses(everything(name))
    if name in ("aot", "aot_unpaired"):
        np.testing.assert_allclose(losses(everything(name), permuted), expected, rtol=1e-12)
    else:
        np.testing.assert_allclose(losses(everything(name), permuted), expected[order], rtol=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_padding_is_never_read(name):
    def wider(side):
        widths = ((0, 0), (2, 5))
        policy, reference, alignment = (
            np.pad(array, widths, constant_values=np.inf) for array in (side.policy, side.reference, side.log_alignment)
        )
        return side._replace(
            policy=policy, reference=reference, log_alignment=alignment, mask=np.pad(side.mask, widths)
        )

    padded = PreferencePairs(wider(PAIRS.chosen), wider(PAIRS.rejected), None, wider(PAIRS.mismatched))
    np.testing.assert_allclose(losses(everything(name), padded), losses(everything(name)), rtol=1e-12)
    gradient = jax.grad(differentiable(padded, everything(name)))(padded.chosen.policy, padded.rejected.policy)
    assert np.all(np.isfinite(gradient)) and np.all(gradient[~padded.chosen.mask.astype(bool)] == 0)


@pytest.mark.parametrize(
    "config", [*(everything(name) for name in sorted(LOSSES) if not LOSSES[name].couples_batch), mpo()]
)
def test_micro_batches_add_up_to_the_batch(config):
    """With the batch's statistics, merged from the parts, every pair has the loss that it has in the whole batch."""
    if isinstance(config, PreferenceConfig) and "nll_reduction" in LOSSES[config.loss].options:
        config = dataclasses.replace(config, nll_reduction="tokens")
    parts = [
        jax.tree.map(lambda leaf, part=part: leaf[part], PAIRS) for part in (slice(0, 1), slice(1, 4), slice(4, B))
    ]
    statistics = batch_statistics(parts[0], config)
    for part in parts[1:]:
        statistics = statistics.merged(batch_statistics(part, config))
    together = np.concatenate([losses(config, part, statistics) for part in parts])
    np.testing.assert_allclose(together, losses(config), rtol=1e-12)


def test_float32_input_stays_float32():
    with jax.enable_x64(False):
        single = jax.tree.map(lambda leaf: leaf.astype(np.float32) if leaf.dtype == np.float64 else leaf, PAIRS)
        for name in LOSSES:
            outcome = evaluate(jax.tree.map(jnp.asarray, single), everything(name))
            assert {leaf.dtype for leaf in outcome} == {jnp.dtype("float32")}


def test_log_probabilities_of_both_sides_are_told_and_carry_no_gradient():
    """Sums over the tokens of each completion; with the mixture's first term or alone, and whatever the loss makes of them."""
    config = PreferenceConfig("simpo", 2.0)

    def told(policy):
        pairs = jax.tree.map(jnp.asarray, PAIRS)
        outcome = evaluate(pairs._replace(chosen=pairs.chosen._replace(policy=policy)), config)
        return outcome.chosen_log_probs, outcome.rejected_log_probs

    found = told(jnp.asarray(PAIRS.chosen.policy))
    for side, sums in zip((PAIRS.chosen, PAIRS.rejected), found, strict=True):
        expected = [row[mask.astype(bool)].sum() for row, mask in zip(side.policy, side.mask, strict=True)]
        np.testing.assert_allclose(sums, expected, rtol=1e-12)
    gradient = jax.grad(lambda policy: sum(map(jnp.sum, told(policy))))(jnp.asarray(PAIRS.chosen.policy))
    np.testing.assert_array_equal(gradient, 0)


def test_implicit_rewards_are_what_each_loss_compares():
    p = [derivations.Pair(PAIRS, b) for b in range(B)]
    for name, expected in {
        "sigmoid": [x.s_w for x in p],
        "simpo": [x.logp_w / x.n_w for x in p],
        "orpo": [x.logp_w / x.n_w for x in p],
        "cpo": [x.logp_w for x in p],
        "preferred_ft": [x.logp_w for x in p],
    }.items():
        rewards = evaluate(PAIRS, PreferenceConfig(name, 0.3)).chosen_rewards
        np.testing.assert_allclose(rewards, 0.3 * np.array(expected), rtol=1e-12)
