"""What surrounds the preference losses: mismatched completions, compiled use, and configuration without JAX."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.losses.preference.config import PreferenceConfig, mpo
from align.losses.preference.evaluate import evaluate
from align.losses.preference.mismatched import mismatched
from align.sequences import Sequences
from scaling.errors import DataError
from tests.align.losses.pair_cases import preference_pairs
from tests.conftest import PROJECT_ROOT


def test_mismatched_completions_stand_behind_the_prompt_before_them():
    prompts, completions = [[1, 2], [3], [4, 5, 6]], [[11, 12, 13], [21], [31, 32]]
    rows = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    tokens = np.array([row + [99] * (6 - len(row)) for row in rows], np.int32)
    lengths = np.array([len(row) for row in rows], np.int32)
    found = mismatched(Sequences(tokens, np.array([2, 1, 3], np.int32), lengths))
    for b, expected in enumerate([[1, 2, 21], [3, 31, 32], [4, 5, 6, 11, 12, 13]]):
        assert list(found.tokens[b][: found.lengths[b]]) == expected
        assert not np.any(found.tokens[b][found.lengths[b] :])
    narrow = mismatched(Sequences(tokens[:, :5], np.array([2, 1, 3], np.int32), lengths))
    assert list(narrow.tokens[2]) == [4, 5, 6, 11, 12] and narrow.lengths[2] == 5
    with pytest.raises(DataError, match="one"):
        mismatched(Sequences(tokens[:1], np.array([2], np.int32), lengths[:1]))


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
