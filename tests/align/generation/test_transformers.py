"""The transformers library's `generate`, an implementation from outside, completes prompts greedily with the same tokens.

Set PLUMBLINE_TORCH_PYTHON to an interpreter that has torch, transformers (5 or later) and safetensors; they are not
among our dependencies.
"""

import dataclasses
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from align.generation.completions import complete
from align.generation.sampling_config import SamplingConfig
from scaling.models.parameters import nested
from scaling.models.transformer import Transformer
from tests.align.generation.small_policy import completions
from tests.scaling.foreign import small_weights

INTERPRETER = os.environ.get("PLUMBLINE_TORCH_PYTHON", "")
SCRIPT = pathlib.Path(__file__).with_name("transformers_samples.py")
NEW_TOKENS = 16
LLAMAS = {
    name: dataclasses.replace(config, max_length=64)
    for name, config in small_weights.FAMILIES.items()
    if name in ("llama", "llama_tied", "neox")
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INTERPRETER, reason="PLUMBLINE_TORCH_PYTHON names no interpreter with transformers"),
]


def test_the_library_completes_greedily_as_we_do(tmp_path):
    """Ten prompts of 1 to 12 tokens in one padded batch of ours, one at a time there; an EOS that some of them reach."""
    random = np.random.default_rng(0)
    prompts = [random.integers(0, small_weights.VOCABULARY, length).tolist() for length in random.integers(1, 13, 10)]
    (tmp_path / "models").mkdir()
    weights = {name: small_weights.write(tmp_path / "models" / name, config) for name, config in LLAMAS.items()}
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=NEW_TOKENS)

    def ours(name, eos_id):
        parameters = nested(weights[name].parameters)
        return complete(Transformer(LLAMAS[name]), parameters, prompts, greedy, eos_id, seed=0, batch_size=10)

    endless = [token for row in completions(ours("llama", None)) for token in row]
    eos_id = int(np.bincount(endless).argmax())
    request = {"prompts": prompts, "eos_id": eos_id, "new_tokens": NEW_TOKENS}
    (tmp_path / "prompts.json").write_text(json.dumps(request))
    result = subprocess.run([INTERPRETER, SCRIPT, tmp_path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert ours("llama", eos_id).ended.any()
    for name in LLAMAS:
        theirs = json.loads((tmp_path / "models" / name / "completions.json").read_text())
        assert completions(ours(name, eos_id)) == theirs, name
