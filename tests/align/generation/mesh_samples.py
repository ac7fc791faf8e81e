"""Samples on meshes of eight simulated devices, for test_meshes.py: prints one JSON object."""

import dataclasses
import json

import jax
import numpy as np

from align.generation.sampler import generate, row_keys
from align.generation.sampling_config import SamplingConfig
from scaling import mesh as meshes
from scaling.models import ladder
from scaling.models.transformer import Transformer
from scaling.run_config import ExecutionConfig
from tests.scaling.models.small_models import perturbed, random_tokens

RUNS = (((1, 1, 1), "unroll"), ((8, 1, 1), "scan"), ((2, 2, 2), "unroll"), ((2, 2, 2), "scan"), ((1, 4, 2), "scan"))
# Heads, key heads and vocabulary divide by two, rows by eight.
CONFIG = dataclasses.replace(ladder.llama(64, 64, max_length=64, kv_heads=2), depth=2)


def main() -> dict[str, dict]:
    prompts = random_tokens(CONFIG, 8, 6)
    lengths = np.asarray([6, 1, 3, 4, 5, 2, 6, 4], np.int32)
    keys = row_keys(0, np.arange(8), np.zeros(8))
    sampling = SamplingConfig(max_new_tokens=10, temperature=0.9, top_k=40, top_p=0.95)
    results = {}
    for shape, layers in RUNS:
        mesh = meshes.make_mesh(ExecutionConfig(*shape), jax.devices()[: np.prod(shape)])
        parameters = jax.device_put(perturbed(CONFIG), meshes.parameter_shardings(mesh, CONFIG))
        model = Transformer(CONFIG, layers=layers)
        generation = jax.device_get(
            jax.block_until_ready(generate(model, parameters, prompts, lengths, keys, sampling, 2, mesh))
        )
        results[f"{'x'.join(map(str, shape))} {layers}"] = {
            "tokens": generation.sequences.tokens.tolist(),
            "lengths": generation.sequences.lengths.tolist(),
            "log_probs": generation.log_probs.tolist(),
            "query_shard": list(parameters["layers"]["attention"]["query"].sharding.shard_shape((2, 64, 2, 32))),
        }
    return results


if __name__ == "__main__":
    print("RESULT " + json.dumps(main()))
