"""Logits by the transformers library, for test_transformers.py; runs in an interpreter that has torch and transformers.

    python transformers_reference.py ROOT

reads ROOT/tokens.npy, loads every model under ROOT/ours, makes those of MODELS under ROOT/theirs, and leaves logits.npy
beside each.
"""

import pathlib
import sys

import numpy as np
import torch
import transformers

SIZES = {"vocab_size": 61, "bos_token_id": None, "eos_token_id": None}
ROTARY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 24}
PARTIAL = {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}

# Everything that may vary does, so that a field which is read wrongly shows.
MODELS = {
    "llama": transformers.LlamaConfig(
        **SIZES,
        **ROTARY,
        intermediate_size=80,
        num_key_value_heads=1,
        head_dim=12,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        attention_bias=True,
        mlp_bias=True,
    ),
    "llama_tied": transformers.LlamaConfig(**SIZES, **ROTARY, intermediate_size=80, tie_word_embeddings=True),
    "gpt2": transformers.GPT2Config(
        **SIZES, n_embd=32, n_layer=2, n_head=4, n_positions=24, n_inner=72, layer_norm_epsilon=1e-3
    ),
    "gpt2_untied": transformers.GPT2Config(
        **SIZES, n_embd=32, n_layer=2, n_head=2, n_positions=24, tie_word_embeddings=False
    ),
    "neox": transformers.GPTNeoXConfig(
        **SIZES, **ROTARY, intermediate_size=72, hidden_act="gelu_new", rope_parameters=PARTIAL, layer_norm_eps=1e-3
    ),
    "neox_serial_tied": transformers.GPTNeoXConfig(
        **SIZES,
        **ROTARY,
        intermediate_size=72,
        hidden_act="gelu_new",
        use_parallel_residual=False,
        tie_word_embeddings=True,
    ),
    "neox_exact_gelu": transformers.GPTNeoXConfig(**SIZES, **ROTARY, intermediate_size=72, hidden_act="gelu"),
}


def main(root: pathlib.Path) -> None:
    """Writes all logits."""
    tokens = torch.from_numpy(np.load(root / "tokens.npy")).long()
    for path in sorted((root / "ours").iterdir()):
        model, report = transformers.AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
        wrong = {name: keys for name, keys in report.items() if keys}
        if wrong:
            raise SystemExit(f"{path.name}: {wrong}")
        save_logits(path, model, tokens)
    for name, config in MODELS.items():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            # The library's own start has biases of 0 and scales of 1, which would hide exchanged tensors.
            parameter.data += 0.2 * torch.randn_like(parameter)
        model.save_pretrained(root / "theirs" / name)
        save_logits(root / "theirs" / name, model, tokens)


def save_logits(path: pathlib.Path, model, tokens) -> None:
    """Runs a model in float32 without dropout."""
    with torch.no_grad():
        np.save(path / "logits.npy", model.float().eval()(tokens).logits.numpy())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
