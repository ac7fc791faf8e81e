"""Configurations of preference losses: what is refused, what compiles, and that they load without JAX."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.losses.preference.catalogue import FUNCTIONS
from align.losses.preference.config import PreferenceConfig, PreferenceMixture, mpo
from align.losses.preference.evaluate import evaluate
from align.losses.preference.options import LOSSES
from scaling.errors import ConfigError
from tests.align.losses.pair_cases import preference_pairs
from tests.conftest import PROJECT_ROOT

PAIRS = preference_pairs()
B = len(PAIRS.chosen.policy)


@pytest.mark.parametrize("config", [PreferenceConfig("kto"), PreferenceConfig("sigmoid", f_divergence="js"), mpo()])
def test_losses_compile_with_their_configuration_as_a_constant(config):
    with jax.enable_x64(True):
        pairs = jax.tree.map(jnp.asarray, preference_pairs())
        compiled = jax.jit(evaluate, static_argnums=1)(pairs, config)
        for found, expected in zip(compiled, evaluate(pairs, config), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("module", ["align.losses.preference.config", "align.rl.controller_config"])
def test_configurations_load_without_jax(module):
    code = f"import sys, {module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False).returncode == 0


def test_the_catalogue_and_the_options_name_the_same_losses():
    assert set(FUNCTIONS) == set(LOSSES)
    fields = {field.name for field in dataclasses.fields(PreferenceConfig)}
    assert all(set(loss.options) <= fields for loss in LOSSES.values())
    assert all(loss.source for loss in LOSSES.values())


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: PreferenceConfig("dpo"), "loss"),
        (lambda: PreferenceConfig("sigmoid", beta=0.0), "beta"),
        (lambda: PreferenceConfig("sigmoid", beta=float("nan")), "beta"),
        (lambda: PreferenceConfig("sigmoid", gamma=1.0), "gamma"),
        (lambda: PreferenceConfig("simpo", ld_alpha=0.5), "ld_alpha"),
        (lambda: PreferenceConfig("kto", f_divergence="js"), "f_divergence"),
        (lambda: PreferenceConfig("sigmoid", f_divergence="total_variation"), "f_divergence"),
        (lambda: PreferenceConfig("sigmoid", alpha=0.5), "alpha"),
        (lambda: PreferenceConfig("cdpo", label_smoothing=0.7), "label_smoothing"),
        (lambda: PreferenceConfig("robust", label_smoothing=0.5), "label_smoothing"),
        (lambda: PreferenceConfig("exo", label_smoothing=0.0), "label_smoothing"),
        (lambda: PreferenceConfig("ipo", reduction="median"), "reduction"),
        (lambda: PreferenceConfig("discopop", temperature=0.0), "temperature"),
        (lambda: PreferenceMixture((PreferenceConfig(),), (1.0, 2.0)), "terms"),
        (lambda: PreferenceMixture((PreferenceConfig(),), (-1.0,)), "weights"),
    ],
)
def test_a_configuration_that_cannot_run_is_refused_by_the_name_of_its_field(make, field):
    with pytest.raises(ConfigError, match=field):
        make()


def test_pairs_that_lack_what_a_loss_reads_are_refused():
    bare = PAIRS._replace(chosen=PAIRS.chosen._replace(reference=None), mismatched=None)
    with pytest.raises(ConfigError, match="reference"):
        evaluate(bare, PreferenceConfig("sigmoid"))
    with pytest.raises(ConfigError, match="mismatched"):
        evaluate(PAIRS._replace(mismatched=None), PreferenceConfig("kto"))
    with pytest.raises(ConfigError, match="soft labels"):
        evaluate(PAIRS._replace(probability=np.ones(B)), PreferenceConfig("ipo"))
    unaligned = PAIRS._replace(chosen=PAIRS.chosen._replace(log_alignment=None))
    with pytest.raises(ConfigError, match="log_alignment"):
        evaluate(unaligned, PreferenceConfig("sigmoid", wpo="aligned"))
    with jax.enable_x64(True):
        evaluate(bare, PreferenceConfig("simpo"))
