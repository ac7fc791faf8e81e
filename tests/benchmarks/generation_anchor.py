"""The outside anchor of generation_speed.py: Hugging Face `generate` with its KV cache on a Llama with random weights.

Run by an interpreter that has torch and transformers, with the shape of the model as its argument. Reads one JSON object a line,
{"batch_size": 8, "prompt": 128, "new_tokens": 128, "seconds": 5}, and answers each with one line, tokens per second of processor time. It stays alive
between requests, so that rounds can alternate.
"""

import json
import sys
import time

import torch
import transformers


def build(width: int, depth: int, heads: int, mlp_dim: int, vocab_size: int):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocab_size, hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, num_key_value_heads=heads,
        intermediate_size=mlp_dim, max_position_embeddings=2048, tie_word_embeddings=False, bos_token_id=None, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config).float().eval()


def rate(model, batch_size: int, prompt: int, new_tokens: int, seconds: float) -> float:
    """New tokens per CPU second, sampling from the whole distribution."""
    tokens = torch.randint(3, model.config.vocab_size, (batch_size, prompt))

    def generate():
        sampled = model.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            max_new_tokens=new_tokens, min_new_tokens=new_tokens,
        )  # fmt: skip
        assert sampled.shape == (batch_size, prompt + new_tokens)

    with torch.no_grad():
        generate()
        calls, started = 0, time.process_time()
        while time.process_time() - started < seconds:
            generate()
            calls += 1
        return calls * batch_size * new_tokens / (time.process_time() - started)


if __name__ == "__main__":
    torch.set_num_threads(1)
    benchmarked = build(**json.loads(sys.argv[1]))
    for line in sys.stdin:
        print(rate(benchmarked, **json.loads(line)), flush=True)
