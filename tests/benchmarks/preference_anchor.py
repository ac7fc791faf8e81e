"""The outside anchor of preference_speed.py: TRL's DPO and reward trainers on a Llama with random weights.

Run at the root of the project by an interpreter that has torch, transformers and trl 1.16: python -m tests.benchmarks.preference_anchor SHAPE. Reads one JSON
object a line, {"stage": "dpo live", "pairs": 8, "prompt": 128, "completion": 128, "steps": 3}, and answers each with one line, tokens per second of processor
time in the trainer's own loop. It stays alive between requests, so that rounds can alternate.
"""

import contextlib
import copy
import json
import sys
import tempfile
import time

import numpy as np
import torch
import transformers

from tests.align import trl_trainers

# A step that is not counted: memory is allocated, moments are made.
_WARM_UP = 1


class Stopwatch(transformers.TrainerCallback):
    """Processor time at the end of every step."""

    def __init__(self):
        self.times = []

    def on_step_end(self, *_, **__):
        self.times.append(time.process_time())


def build(kind, width: int, depth: int, heads: int, mlp_dim: int, vocab_size: int):
    """A model of `kind` (a class of transformers)."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocab_size, hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, num_key_value_heads=heads,
        intermediate_size=mlp_dim, max_position_embeddings=2048, tie_word_embeddings=False, bos_token_id=None,
        eos_token_id=trl_trainers.EOS_ID, pad_token_id=trl_trainers.PAD_ID, num_labels=1,
    )  # fmt: skip
    return kind(config).float()


def pairs_of(count: int, prompt: int, completion: int):
    """Random pairs that fill their rows."""
    random = np.random.default_rng(0)
    prompts = random.integers(3, 259, (count, prompt))
    chosen, rejected = random.integers(3, 259, (2, count, completion))
    chosen[:, -1] = rejected[:, -1] = trl_trainers.EOS_ID
    return trl_trainers.dataset(list(prompts), list(chosen), list(rejected))


def rate(shape: dict[str, int], stage: str, pairs: int, prompt: int, completion: int, steps: int) -> float:
    """Tokens per CPU second over `steps` steps."""
    steps += _WARM_UP
    data = pairs_of(pairs * steps, prompt, completion)
    with tempfile.TemporaryDirectory() as output:
        settings = {"per_device_train_batch_size": pairs, "max_steps": steps, "learning_rate": 1e-4, "output": output}
        if stage == "reward":
            trainer = trl_trainers.reward(build(transformers.LlamaForSequenceClassification, **shape), data, **settings)
        else:
            model = build(transformers.LlamaForCausalLM, **shape)
            cached = stage == "dpo cached"
            reference = None if cached else copy.deepcopy(model)
            trainer = trl_trainers.dpo(model, reference, data, precompute_ref_log_probs=cached, **settings)
        stopwatch = Stopwatch()
        trainer.add_callback(stopwatch)
        trainer.train()
    counted = stopwatch.times[_WARM_UP - 1 :]
    return (len(counted) - 1) * 2 * pairs * (prompt + completion) / (counted[-1] - counted[0])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        # The trainers print what they log.
        with contextlib.redirect_stdout(sys.stderr):
            answer = rate(json.loads(sys.argv[1]), **json.loads(line))
        print(answer, flush=True)
