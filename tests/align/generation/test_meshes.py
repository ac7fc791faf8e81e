"""Data, fsdp and tensor parallel sampling on eight simulated devices; export for accelerators from a CPU."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.generation.sampler import generate
from align.generation.sampling_config import SamplingConfig
from tests import simulated_devices
from tests.align.generation.small_policy import EOS, MODEL, PROMPT_LENGTHS, keys, parameters, prompts


@pytest.mark.slow
def test_samples_do_not_depend_on_the_mesh():
    """Eight rows of different lengths, filtered sampling: the tokens of one device on every mesh, in both forms of the layers."""
    printed = simulated_devices.output_of("-m", "tests.align.generation.mesh_samples")
    found = json.loads(printed.rpartition("RESULT ")[2])
    alone = found["1x1x1 unroll"]
    assert len(set(map(tuple, alone["tokens"]))) == 8
    for name, samples in found.items():
        assert samples["tokens"] == alone["tokens"] and samples["lengths"] == alone["lengths"], name
        np.testing.assert_allclose(samples["log_probs"], alone["log_probs"], rtol=1e-4, atol=1e-5, err_msg=name)
    assert found["2x2x2 scan"]["query_shard"] == [2, 32, 1, 32], "a mesh that is ignored would pass too"


@pytest.mark.slow
@pytest.mark.parametrize("layers", ["unroll", "scan"])
def test_the_whole_program_exports_for_tpu_and_gpu(layers):
    """Prefill, the decoding loop, filters, stop sequences and keys lower for accelerators without one at hand."""
    config = SamplingConfig(max_new_tokens=8, temperature=0.8, top_k=20, top_p=0.9, stop_sequences=((3, 4), (5,)))
    model = MODEL.clone(layers=layers)
    program = jax.jit(functools.partial(generate, model, config=config, eos_id=EOS))

    def call(parameters, prompts, lengths, keys):
        return tuple(jax.tree.leaves(program(parameters, prompts, lengths, keys)))

    arguments = jax.tree.map(jnp.asarray, (parameters(), prompts(), PROMPT_LENGTHS, keys()))
    exported = jax.export.export(jax.jit(call), platforms=("tpu", "cuda"))(*arguments)
    assert exported.platforms == ("tpu", "cuda")
    assert [leaf.shape for leaf in exported.out_avals][0] == (4, 16)
    assert "while" in exported.mlir_module()
