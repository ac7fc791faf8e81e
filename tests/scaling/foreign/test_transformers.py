"""The transformers library, an implementation from outside, computes the same logits, in both directions.

Set PLUMBLINE_TORCH_PYTHON to an interpreter that has torch, transformers (5 or later) and safetensors; they are not
among our dependencies.
"""

import os
import pathlib
import subprocess

import numpy as np
import pytest

from scaling.foreign.weights import Weights
from scaling.models.parameters import nested
from scaling.models.transformer import Transformer
from tests.scaling.foreign import small_weights
from tests.scaling.foreign.small_weights import FAMILIES, LENGTH, VOCABULARY
from tests.scaling.models.small_models import logits_of, whole_rows

INTERPRETER = os.environ.get("PLUMBLINE_TORCH_PYTHON", "")
SCRIPT = pathlib.Path(__file__).with_name("transformers_reference.py")
EQUAL_MODELS = ("llama", "llama_tied", "gpt2", "gpt2_untied", "neox", "neox_serial_tied")

# Of the largest logit: both sides compute in float32.
TOLERANCE = 2e-5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INTERPRETER, reason="PLUMBLINE_TORCH_PYTHON names no interpreter with transformers"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Models of both sides with the library's logits beside them."""
    root = tmp_path_factory.mktemp("transformers")
    np.save(root / "tokens.npy", tokens())
    (root / "ours").mkdir()
    for name, config in FAMILIES.items():
        small_weights.write(root / "ours" / name, config)
    result = subprocess.run([INTERPRETER, SCRIPT, root], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return root


def tokens():
    return np.random.default_rng(0).integers(0, VOCABULARY, (2, LENGTH)).astype(np.int32)


def largest_difference(weights: Weights, path: pathlib.Path) -> float:
    """Of our logits from the library's, relative to the largest logit."""
    theirs = np.load(path / "logits.npy")
    ours = logits_of(Transformer(weights.config))(nested(weights.parameters), tokens(), *whole_rows(tokens()))
    difference = float(np.max(np.abs(np.asarray(ours) - theirs)))
    print(f"{path.parent.name}/{path.name}: {difference:.2e} of {np.max(np.abs(theirs)):.1f}")
    return difference / float(np.max(np.abs(theirs)))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_library_computes_what_we_export(root, name):
    assert largest_difference(small_weights.random_weights(FAMILIES[name]), root / "ours" / name) < TOLERANCE


@pytest.mark.parametrize("name", EQUAL_MODELS)
def test_we_compute_what_we_import(root, name):
    path = root / "theirs" / name
    assert largest_difference(small_weights.read(path), path) < TOLERANCE


def test_accepting_the_tanh_gelu_is_an_approximation(root):
    """The reason for asking: the logits are near, and not equal."""
    path = root / "theirs" / "neox_exact_gelu"
    assert 10 * TOLERANCE < largest_difference(small_weights.read(path, accept_tanh_gelu=True), path) < 1e-2
