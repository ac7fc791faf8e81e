"""PPO's parts and BCO agree to 1e-9 with the last TRL that had them.

Set PLUMBLINE_TRL_PPO_PYTHON to an interpreter that has it (`pip install trl==0.11.4 "transformers<4.47"`); it is not among our dependencies.
"""

import os
import pathlib
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.losses.preference.batch_statistics import running
from align.losses.preference.contrastive import bco
from align.rl import controllers, kl
from align.rl.controller_config import ControllerConfig
from align.rl.gae import gae
from align.rl.policy_loss import entropy, policy_loss
from align.rl.rewards import token_rewards
from align.rl.value_loss import value_loss
from align.rl.whitening import whiten
from align.sums import Sum

INTERPRETER = os.environ.get("PLUMBLINE_TRL_PPO_PYTHON", "")
SCRIPT = pathlib.Path(__file__).with_name("trl_ppo_peer.py")
ROWS, LENGTH, VOCABULARY = 9, 8, 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INTERPRETER, reason="PLUMBLINE_TRL_PPO_PYTHON names no interpreter with trl 0.11"),
]


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(21)
    shape = (ROWS, LENGTH)
    old = -rng.exponential(1.0, shape)
    return {
        "mask": (np.arange(LENGTH)[None, :] < rng.integers(1, LENGTH + 1, ROWS)[:, None]).astype(np.int64),
        "old_log_probs": old,
        "log_probs": old + 0.3 * rng.normal(size=shape),
        "reference_log_probs": old + 0.3 * rng.normal(size=shape),
        "old_values": rng.normal(size=shape),
        "values": rng.normal(size=shape),
        "scores": rng.normal(size=ROWS),
        "logits": rng.normal(size=(*shape, VOCABULARY)),
        "reference_logits": rng.normal(size=(*shape, VOCABULARY)),
        "measured_kl": np.array([2.0, 6.5, 9.0, 5.0, 6.0]),
        "chosen": rng.normal(size=(3, 4)),
        "rejected": rng.normal(size=(3, 4)),
    }


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    root = tmp_path_factory.mktemp("trl_ppo")
    np.savez(root / "inputs.npz", **inputs())
    result = subprocess.run([INTERPRETER, SCRIPT, root], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return np.load(root / "outputs.npz")


@pytest.fixture
def ours():
    with jax.enable_x64(True):
        yield {name: jnp.asarray(array) for name, array in inputs().items()}


def agree(value, expected, mask=None):
    value, expected = np.asarray(value), np.asarray(expected)
    if mask is not None:
        value, expected = value[mask.astype(bool)], expected[mask.astype(bool)]
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("estimator", "name"), [("k1", "kl"), ("k2", "mse")])
def test_token_rewards(theirs, ours, estimator, name):
    token_kl = kl.token_kl(ours["log_probs"], ours["reference_log_probs"], ours["mask"], estimator)
    rewards = token_rewards(ours["scores"], token_kl, ours["mask"], 0.3)
    agree(rewards, theirs[f"rewards/{name}"], ours["mask"])


def test_exact_kl_and_entropy(theirs, ours):
    agree(kl.exact_token_kl(ours["logits"], ours["reference_logits"]), theirs["exact_kl"])
    agree(entropy(ours["logits"]), theirs["entropy"])


def test_advantages_and_returns(theirs, ours):
    advantages, returns = gae(theirs["rewards/kl"], ours["old_values"], ours["mask"], discount=0.97, trace=0.9)
    agree(returns, theirs["returns"], ours["mask"])
    agree(whiten(advantages, ours["mask"], variance="unbiased"), theirs["advantages"], ours["mask"])


@pytest.mark.parametrize("shift", [True, False])
def test_whitening(theirs, ours, shift):
    whitened = whiten(ours["values"], ours["mask"], variance="unbiased", shift_mean=shift)
    agree(whitened, theirs[f"whitened/{shift}"], ours["mask"])


def test_policy_and_value_losses(theirs, ours):
    fixed = (ours["old_log_probs"], jnp.asarray(theirs["advantages"]), ours["mask"])

    def of_policy(log_probs):
        loss = policy_loss(log_probs, *fixed)
        return loss.loss.mean, loss

    def of_value(values):
        loss = value_loss(values, ours["old_values"], jnp.asarray(theirs["returns"]), ours["mask"])
        return 0.1 * loss.loss.mean, loss

    (policy, found), gradient = jax.value_and_grad(of_policy, has_aux=True)(ours["log_probs"])
    agree([policy, found.clipped.mean], [theirs["policy_loss"], theirs["policy_clipped"]])
    agree(gradient, theirs["policy_gradient"])
    (value, found), gradient = jax.value_and_grad(of_value, has_aux=True)(ours["values"])
    agree([value, found.clipped.mean], [theirs["value_loss"], theirs["value_clipped"]])
    agree(gradient, theirs["value_gradient"])
    assert 0 < theirs["policy_clipped"] < 1 and 0 < theirs["value_clipped"] < 1


def test_the_adaptive_controller(theirs, ours):
    config = ControllerConfig("adaptive", beta=0.2, target=6.0, horizon=1000.0)
    state, path = controllers.initial(config), []
    for measured in ours["measured_kl"]:
        state = controllers.updated(config, state, measured, 64)
        path.append(state.beta)
    agree(path, theirs["controller"])


def test_bco_with_its_running_shift(theirs, ours):
    state = Sum(jnp.zeros(()), jnp.zeros(()))
    for batch in range(len(ours["chosen"])):
        sides = jnp.stack([ours["chosen"][batch], ours["rejected"][batch]])
        state = running(state, Sum.over(0.3 * sides))
        losses = lambda both, shift=state.mean: jnp.sum(bco(both[0], both[1], 0.3, shift))  # noqa: E731
        agree(bco(*sides, 0.3, state.mean), np.sum(np.split(theirs[f"bco/{batch}"], 2), axis=0))
        agree(jax.grad(losses)(sides), theirs[f"bco_gradient/{batch}"])
