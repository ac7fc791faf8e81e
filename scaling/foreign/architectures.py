"""The architectures of Hugging Face's transformers that equal one of ours, tensor by tensor.

Names and layouts are those of the model files of the transformers library (`models/llama`, `models/gpt2`,
`models/gpt_neox`): linear layers store [out, in], GPT-2's Conv1D stores [in, out]. Rotary features pair i with i + R/2
there as in :mod:`scaling.models.positions`, so that queries and keys need no permutation.
"""

import dataclasses

from scaling.foreign.layouts import Tensor
from scaling.models.config import Activation, Initialisation, TransformerConfig


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One architecture of the transformers library.

    Attributes:
      name: the class, as `architectures` of config.json names it.
      model_type: as config.json names it.
      family, initialisation: what an imported model is given.
      prefix: of the base model's tensors; some published files leave it out.
      embedding, head: names of the token table and of the untied head.
      buffers: pattern of tensors that hold no weights (old versions saved masks and frequencies).
      activation_field, default_activation: of config.json.
      activations: our names by those of config.json that are exactly equal; an export writes the first that fits.
      default_tied: what an absent `tie_word_embeddings` means.
      tensors: every tensor that such a model can have.
    """

    name: str
    model_type: str
    family: str
    initialisation: Initialisation
    prefix: str
    embedding: str
    head: str
    buffers: str
    activation_field: str
    default_activation: str
    activations: dict[str, Activation]
    default_tied: bool
    tensors: tuple[Tensor, ...]


def mismatches(architecture: Architecture, config: TransformerConfig) -> list[str]:
    """The fields of a configuration that the architecture cannot express, each with what it needs; empty when it can.

    `family`, `initialisation` and `z_loss` do not change what a trained model computes, so they are not asked for.
    """
    needs = _NEEDS[architecture.name] | {"activation": tuple(dict.fromkeys(architecture.activations.values()))}
    unmet = [
        f"TransformerConfig.{field} {getattr(config, field)!r} (needs {' or '.join(map(repr, allowed))})"
        for field, allowed in needs.items()
        if getattr(config, field) not in allowed
    ]
    if config.positions == "rope" and int(config.head_dim * config.rope_fraction) % 2:
        unmet.append(
            f"TransformerConfig.rope_fraction {config.rope_fraction} of head_dim {config.head_dim} "
            "(needs an even number of features)"
        )
    if architecture is not LLAMA and config.kv_heads != config.heads:
        unmet.append(f"TransformerConfig.kv_heads {config.kv_heads} (needs heads, which is {config.heads})")
    if architecture is not LLAMA and config.heads * config.head_dim != config.width:
        unmet.append(f"TransformerConfig.head_dim {config.head_dim} (needs width / heads)")
    return unmet


_NEEDS = {
    "LlamaForCausalLM": {
        "norm": ("rmsnorm",),
        "norm_position": ("pre",),
        "positions": ("rope",),
        "rope_fraction": (1.0,),
        "residual": ("serial",),
    },
    "GPT2LMHeadModel": {
        "norm": ("layernorm",),
        "norm_position": ("pre",),
        "positions": ("learned",),
        "residual": ("serial",),
        "biases": (True,),
    },
    "GPTNeoXForCausalLM": {
        "norm": ("layernorm",),
        "norm_position": ("pre",),
        "positions": ("rope",),
        "biases": (True,),
    },
}

# Spellings of 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), which is jax.nn.gelu's default.
_TANH_GELU = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")


def _with_bias(
    name: str, paths: tuple[str, ...], ours: str, foreign: str, bias_ours: str, bias_foreign: str
) -> list[Tensor]:
    """A layer's projection and its bias."""
    biases = tuple(f"{path}_bias" for path in paths)
    return [
        Tensor(f"{name}.weight", paths, ours, foreign),
        Tensor(f"{name}.bias", biases, bias_ours, bias_foreign),
    ]


def _norm(name: str, path: str) -> list[Tensor]:
    return [Tensor(f"{name}.weight", (f"{path}/scale",), "d", "d"), Tensor(f"{name}.bias", (f"{path}/bias",), "d", "d")]


def _attention(*names: str) -> tuple[str, ...]:
    return tuple(f"layers/attention/{name}" for name in names)


def _llama_layer(layer: str) -> list[Tensor]:
    return [
        *_norm(f"{layer}.input_layernorm", "layers/attention_norm"),
        *_with_bias(f"{layer}.self_attn.q_proj", _attention("query"), "dhq", "hq d", "hq", "hq"),
        *_with_bias(f"{layer}.self_attn.k_proj", _attention("key"), "dkq", "kq d", "kq", "kq"),
        *_with_bias(f"{layer}.self_attn.v_proj", _attention("value"), "dkq", "kq d", "kq", "kq"),
        *_with_bias(f"{layer}.self_attn.o_proj", _attention("output"), "hqd", "d hq", "d", "d"),
        *_norm(f"{layer}.post_attention_layernorm", "layers/feed_forward_norm"),
        *_with_bias(f"{layer}.mlp.gate_proj", ("layers/feed_forward/gate",), "df", "f d", "f", "f"),
        *_with_bias(f"{layer}.mlp.up_proj", ("layers/feed_forward/up",), "df", "f d", "f", "f"),
        *_with_bias(f"{layer}.mlp.down_proj", ("layers/feed_forward/down",), "fd", "d f", "d", "d"),
    ]


def _gpt2_layer(layer: str) -> list[Tensor]:
    return [
        *_norm(f"{layer}.ln_1", "layers/attention_norm"),
        *_with_bias(f"{layer}.attn.c_attn", _attention("query", "key", "value"), "dhq", "d nhq", "hq", "nhq"),
        *_with_bias(f"{layer}.attn.c_proj", _attention("output"), "hqd", "hq d", "d", "d"),
        *_norm(f"{layer}.ln_2", "layers/feed_forward_norm"),
        *_with_bias(f"{layer}.mlp.c_fc", ("layers/feed_forward/up",), "df", "d f", "f", "f"),
        *_with_bias(f"{layer}.mlp.c_proj", ("layers/feed_forward/down",), "fd", "f d", "d", "d"),
    ]


def _neox_layer(layer: str) -> list[Tensor]:
    fused = _attention("query", "key", "value")
    return [
        *_norm(f"{layer}.input_layernorm", "layers/attention_norm"),
        *_with_bias(f"{layer}.attention.query_key_value", fused, "dhq", "hnq d", "hq", "hnq"),
        *_with_bias(f"{layer}.attention.dense", _attention("output"), "hqd", "d hq", "d", "d"),
        *_norm(f"{layer}.post_attention_layernorm", "layers/feed_forward_norm"),
        *_with_bias(f"{layer}.mlp.dense_h_to_4h", ("layers/feed_forward/up",), "df", "f d", "f", "f"),
        *_with_bias(f"{layer}.mlp.dense_4h_to_h", ("layers/feed_forward/down",), "fd", "d f", "d", "d"),
    ]


def _embedding(name: str, path: str, letter: str) -> Tensor:
    return Tensor(name, (f"embedding/{path}",), f"{letter}d", f"{letter} d")


def _head(name: str) -> Tensor:
    return Tensor(name, ("head/kernel",), "dv", "v d")


LLAMA = Architecture(
    name="LlamaForCausalLM",
    model_type="llama",
    family="llama",
    initialisation="llama",
    prefix="model.",
    embedding="model.embed_tokens.weight",
    head="lm_head.weight",
    buffers=r".*\.rotary_emb\.inv_freq",
    activation_field="hidden_act",
    default_activation="silu",
    activations={"silu": "swiglu", "swish": "swiglu"} | dict.fromkeys(_TANH_GELU, "geglu"),
    default_tied=False,
    tensors=(
        _embedding("model.embed_tokens.weight", "tokens", "v"),
        *_llama_layer("model.layers.{layer}"),
        *_norm("model.norm", "final_norm"),
        _head("lm_head.weight"),
    ),
)

GPT2 = Architecture(
    name="GPT2LMHeadModel",
    model_type="gpt2",
    family="kaplan_gpt",
    initialisation="gpt2",
    prefix="transformer.",
    embedding="transformer.wte.weight",
    head="lm_head.weight",
    buffers=r".*\.attn\.(masked_)?bias",
    activation_field="activation_function",
    default_activation="gelu_new",
    activations=dict.fromkeys(("gelu_new", *_TANH_GELU), "gelu"),
    default_tied=True,
    tensors=(
        _embedding("transformer.wte.weight", "tokens", "v"),
        _embedding("transformer.wpe.weight", "positions", "t"),
        *_gpt2_layer("transformer.h.{layer}"),
        *_norm("transformer.ln_f", "final_norm"),
        _head("lm_head.weight"),
    ),
)

NEOX = Architecture(
    name="GPTNeoXForCausalLM",
    model_type="gpt_neox",
    family="neox",
    initialisation="neox",
    prefix="gpt_neox.",
    embedding="gpt_neox.embed_in.weight",
    head="embed_out.weight",
    buffers=r".*\.attention\.(masked_bias|bias|rotary_emb\.inv_freq)",
    activation_field="hidden_act",
    default_activation="gelu",
    activations=dict.fromkeys(_TANH_GELU, "gelu"),
    default_tied=False,
    tensors=(
        _embedding("gpt_neox.embed_in.weight", "tokens", "v"),
        *_neox_layer("gpt_neox.layers.{layer}"),
        *_norm("gpt_neox.final_layer_norm", "final_norm"),
        _head("embed_out.weight"),
    ),
)

ARCHITECTURES = {architecture.name: architecture for architecture in (LLAMA, GPT2, NEOX)}
