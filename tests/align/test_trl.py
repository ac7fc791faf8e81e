"""TRL, an implementation from outside, computes the same losses and gradients.

Set PLUMBLINE_TRL_PYTHON to an interpreter that has trl 1.16 (`pip install trl==1.16.0`); it is not among our dependencies. Everything is in float64 and
agrees to 1e-9, but for TRL's alpha divergence, which exists in float32 only.
"""

import json
import os
import pathlib
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.losses import reward
from align.losses.preference.config import PreferenceConfig, PreferenceMixture
from align.losses.preference.evaluate import evaluate
from align.losses.preference.pairs import Completions, PreferencePairs
from align.rl.kl import token_kl
from align.rl.policy_loss import policy_loss, sequence_policy_loss
from align.rl.token_weights import token_weights
from tests.align.losses.pair_cases import completions

INTERPRETER = os.environ.get("PLUMBLINE_TRL_PYTHON", "")
SCRIPT = pathlib.Path(__file__).with_name("trl_peer.py")
PAIRS = 7
LIMIT = 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INTERPRETER, reason="PLUMBLINE_TRL_PYTHON names no interpreter with trl"),
]


def dpo(loss, beta=0.3, **fields):
    return {"trainer": "dpo", "fields": {"loss_types": [loss], "loss_weights": [1.0], "beta": beta} | fields}


def cpo(loss, beta, **fields):
    return {
        "trainer": "cpo",
        "fields": {"loss_type": loss, "beta": beta, "cpo_alpha": 0.0, "simpo_gamma": 0.5} | fields,
    }


def config(loss, beta=0.3, **options):
    return PreferenceConfig(loss, beta, **options)


TOKENS = {"nll_reduction": "tokens"}
MIXTURE = PreferenceMixture((config("sigmoid"), config("bco_pair"), config("preferred_ft", **TOKENS)), (0.8, 0.2, 1.0))

# Name: what TRL is asked, and our loss.
PREFERENCE = {
    "sigmoid": (dpo("sigmoid"), config("sigmoid")),
    "hinge": (dpo("hinge"), config("hinge")),
    "ipo": (dpo("ipo"), config("ipo", reduction="mean")),
    "exo": (dpo("exo_pair", label_smoothing=1e-3), config("exo")),
    "nca": (dpo("nca_pair"), config("nca")),
    "robust": (dpo("robust", label_smoothing=0.1), config("robust")),
    "bco_pair": (dpo("bco_pair"), config("bco_pair")),
    "sppo": (dpo("sppo_hard"), config("sppo")),
    "aot": (dpo("aot", label_smoothing=0.1), config("aot", label_smoothing=0.1)),
    "aot_unpaired": (dpo("aot_unpaired"), config("aot_unpaired")),
    "apo_zero": (dpo("apo_zero"), config("apo_zero")),
    "apo_down": (dpo("apo_down"), config("apo_down")),
    "discopop": (dpo("discopop"), config("discopop")),
    "discopop_warm": (dpo("discopop", discopop_tau=0.5), config("discopop", temperature=0.5)),
    "preferred_ft": (dpo("sft"), config("preferred_ft", **TOKENS)),
    "sigmoid_norm": (dpo("sigmoid_norm"), config("sigmoid_norm")),
    "ld_dpo": (dpo("sigmoid", ld_alpha=0.4), config("ld_dpo", ld_alpha=0.4)),
    "ld_aot": (dpo("aot", ld_alpha=0.4), config("aot", ld_alpha=0.4)),
    "forward_kl": (dpo("sigmoid", f_divergence_type="forward_kl"), config("sigmoid", f_divergence="forward_kl")),
    "js_hinge": (dpo("hinge", f_divergence_type="js_divergence"), config("hinge", f_divergence="js")),
    "js_norm": (dpo("sigmoid_norm", f_divergence_type="js_divergence"), config("sigmoid_norm", f_divergence="js")),
    "alpha": (
        dpo("sigmoid", f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.3) | {"single": True},
        config("sigmoid", f_divergence="alpha", alpha=0.3, alpha_convention="cressie_read"),
    ),
    "wpo": (dpo("sigmoid", use_weighting=True), config("sigmoid", wpo="aligned")),
    "mpo": (
        {"trainer": "dpo"}
        | {"fields": {"loss_types": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0], "beta": 0.3}},
        MIXTURE,
    ),
    "kto": (
        {"trainer": "kto", "fields": {"beta": 0.3, "desirable_weight": 1.2, "undesirable_weight": 0.8}},
        config("kto", desirable_weight=1.2, undesirable_weight=0.8),
    ),
    "cpo": (cpo("sigmoid", 0.3, cpo_alpha=0.7), config("cpo", nll_weight=0.7, **TOKENS)),
    "cpo_smoothed": (cpo("sigmoid", 0.3, label_smoothing=0.1), config("cpo", nll_weight=0.0, label_smoothing=0.1)),
    "simpo": (cpo("simpo", 2.0), config("simpo", 2.0)),
    "orpo": ({"trainer": "orpo", "fields": {"beta": 0.3}}, config("orpo", **TOKENS)),
}
REWARD = {f"reward_{margin}_{centring}": (margin, centring) for margin in (False, True) for centring in (None, 0.01)}
# Name: TRL's trainer and fields, how we weigh tokens, our other options.
POLICY = {
    "grpo": ("grpo", {"loss_type": "grpo"}, "sequences", {}),
    "bnpo": ("grpo", {"loss_type": "bnpo", "beta": 0.1}, "tokens", {}),
    "dapo": ("grpo", {"loss_type": "dapo", "epsilon_high": 0.28}, "tokens", {"clip_high": 0.28}),
    "dr_grpo": ("grpo", {"loss_type": "dr_grpo"}, "constant", {}),
    "luspo": ("grpo", {"loss_type": "luspo", "beta": 0.1}, "sum", {}),
    "dual_clip": ("grpo", {"loss_type": "bnpo"}, "tokens", {"dual_clip": 1.5}),
    "rloo": ("rloo", {}, None, {}),
}


def same_width_pairs() -> PreferencePairs:
    rng = np.random.default_rng(11)
    chosen, rejected = (completions(rng, PAIRS, 10, scale=0.4) for _ in range(2))
    return PreferencePairs(chosen, rejected, None, completions(rng, 2 * PAIRS, 10, scale=0.4))


def rollout() -> dict[str, np.ndarray]:
    """Completions of several lengths, from a policy that has moved far enough for every clip to bind somewhere."""
    rng = np.random.default_rng(12)
    mask = (np.arange(8)[None, :] < rng.integers(2, 9, 12)[:, None]).astype(np.int64)
    old = -rng.exponential(1.0, mask.shape)
    moved = {"log_probs": old + 0.4 * rng.normal(size=mask.shape), "old_log_probs": old}
    reference = old + 0.3 * rng.normal(size=mask.shape)
    return moved | {"reference_log_probs": reference, "completion_mask": mask, "advantages": rng.normal(size=12)}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """TRL's values and gradients of every case."""
    root, pairs = tmp_path_factory.mktemp("trl"), same_width_pairs()
    rng = np.random.default_rng(13)
    arrays = {
        f"{side}/{name}": getattr(getattr(pairs, side), name)
        for side in ("chosen", "rejected", "mismatched")
        for name in Completions._fields
    }
    arrays |= {"rewards": rng.normal(size=(2, PAIRS)), "reward_margin": rng.uniform(0, 1, PAIRS)} | rollout()
    np.savez(root / "inputs.npz", **arrays)
    cases = {name: {"kind": "preference"} | case for name, (case, _) in PREFERENCE.items()}
    cases |= {name: {"kind": "reward", "margin": m, "centring": c} for name, (m, c) in REWARD.items()}
    for name, (trainer, fields, _, options) in POLICY.items():
        cases[name] = {"kind": "policy", "trainer": trainer, "fields": fields, "delta": options.get("dual_clip")}
    (root / "cases.json").write_text(json.dumps(cases))
    result = subprocess.run([INTERPRETER, SCRIPT, root], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return arrays, np.load(root / "outputs.npz")


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def agree(ours: dict, theirs, name: str, tolerance: float = 1e-9) -> None:
    for key, value in ours.items():
        expected = np.nan_to_num(theirs[f"{name}/{key}"])
        assert key == "value" or np.any(expected != 0)
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance, err_msg=f"{name} {key}")


@pytest.mark.parametrize("name", PREFERENCE)
def test_preference_losses(theirs, name):
    pairs = jax.tree.map(jnp.asarray, same_width_pairs())

    def loss(chosen, rejected):
        moved = pairs._replace(
            chosen=pairs.chosen._replace(policy=chosen), rejected=pairs.rejected._replace(policy=rejected)
        )
        return jnp.mean(evaluate(moved, PREFERENCE[name][1]).losses)

    value, (chosen, rejected) = jax.value_and_grad(loss, (0, 1))(pairs.chosen.policy, pairs.rejected.policy)
    ours = {"value": value, "chosen": chosen} | ({} if name == "preferred_ft" else {"rejected": rejected})
    agree(ours, theirs[1], name, 2e-5 if name == "alpha" else 1e-9)


@pytest.mark.parametrize("name", REWARD)
def test_reward_losses(theirs, name):
    margin, centring = REWARD[name]
    arrays, outputs = theirs

    def loss(rewards):
        options = {"margin_B": arrays["reward_margin"] if margin else 0.0, "centring": centring or 0.0}
        return jnp.mean(reward.bradley_terry(rewards[0], rewards[1], **options))

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(arrays["rewards"]))
    agree({"value": value, "rewards": gradient}, outputs, name)


@pytest.mark.parametrize("name", POLICY)
def test_policy_losses(theirs, name):
    arrays, outputs = theirs
    _, fields, normalisation, options = POLICY[name]
    mask, old, advantages_B = (arrays[key] for key in ("completion_mask", "old_log_probs", "advantages"))

    def loss(log_probs):
        if name == "rloo":
            return sequence_policy_loss(log_probs, old, jnp.asarray(advantages_B), mask).loss.mean
        weights = token_weights(mask, normalisation, max_length=LIMIT, dtype=log_probs.dtype)
        advantages_BxT = jnp.broadcast_to(advantages_B[:, None], mask.shape)
        surrogate = policy_loss(log_probs, old, advantages_BxT, mask, weights=weights, **options).loss.mean
        penalty_BxT = token_kl(log_probs, arrays["reference_log_probs"], mask, "k3")
        return surrogate + fields.get("beta", 0.0) * weights.of(penalty_BxT).mean

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(arrays["log_probs"]))
    agree({"value": value, "log_probs": gradient}, outputs, name)
