"""Hugging Face directories: what is written is what the library expects, what is read is what was written."""

import dataclasses
import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from scaling.errors import ConfigError, DataError
from scaling.foreign import config_json, hugging_face
from scaling.foreign.architectures import ARCHITECTURES
from scaling.foreign.safetensors_files import INDEX_FILE, SINGLE_FILE
from scaling.models import ladder
from scaling.models.config import TransformerConfig
from tests.scaling.foreign import small_weights
from tests.scaling.foreign.small_weights import FAMILIES, LENGTH, VOCABULARY

# As transformers 5.23 saves models of width 32 with one layer, two heads and the vocabulary 64 (GPT-2: 64 positions).
LLAMA_SHAPES = {
    "lm_head.weight": (64, 32),
    "model.embed_tokens.weight": (64, 32),
    "model.layers.0.input_layernorm.weight": (32,),
    "model.layers.0.mlp.down_proj.weight": (32, 96),
    "model.layers.0.mlp.gate_proj.weight": (96, 32),
    "model.layers.0.mlp.up_proj.weight": (96, 32),
    "model.layers.0.post_attention_layernorm.weight": (32,),
    "model.layers.0.self_attn.k_proj.weight": (16, 32),
    "model.layers.0.self_attn.o_proj.weight": (32, 32),
    "model.layers.0.self_attn.q_proj.weight": (32, 32),
    "model.layers.0.self_attn.v_proj.weight": (16, 32),
    "model.norm.weight": (32,),
}
GPT2_SHAPES = {
    "transformer.h.0.attn.c_attn.bias": (96,),
    "transformer.h.0.attn.c_attn.weight": (32, 96),
    "transformer.h.0.attn.c_proj.bias": (32,),
    "transformer.h.0.attn.c_proj.weight": (32, 32),
    "transformer.h.0.ln_1.bias": (32,),
    "transformer.h.0.ln_1.weight": (32,),
    "transformer.h.0.ln_2.bias": (32,),
    "transformer.h.0.ln_2.weight": (32,),
    "transformer.h.0.mlp.c_fc.bias": (128,),
    "transformer.h.0.mlp.c_fc.weight": (32, 128),
    "transformer.h.0.mlp.c_proj.bias": (32,),
    "transformer.h.0.mlp.c_proj.weight": (128, 32),
    "transformer.ln_f.bias": (32,),
    "transformer.ln_f.weight": (32,),
    "transformer.wpe.weight": (64, 32),
    "transformer.wte.weight": (64, 32),
}
NEOX_SHAPES = {
    "embed_out.weight": (64, 32),
    "gpt_neox.embed_in.weight": (64, 32),
    "gpt_neox.final_layer_norm.bias": (32,),
    "gpt_neox.final_layer_norm.weight": (32,),
    "gpt_neox.layers.0.attention.dense.bias": (32,),
    "gpt_neox.layers.0.attention.dense.weight": (32, 32),
    "gpt_neox.layers.0.attention.query_key_value.bias": (96,),
    "gpt_neox.layers.0.attention.query_key_value.weight": (96, 32),
    "gpt_neox.layers.0.input_layernorm.bias": (32,),
    "gpt_neox.layers.0.input_layernorm.weight": (32,),
    "gpt_neox.layers.0.mlp.dense_4h_to_h.bias": (32,),
    "gpt_neox.layers.0.mlp.dense_4h_to_h.weight": (32, 128),
    "gpt_neox.layers.0.mlp.dense_h_to_4h.bias": (128,),
    "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": (128, 32),
    "gpt_neox.layers.0.post_attention_layernorm.bias": (32,),
    "gpt_neox.layers.0.post_attention_layernorm.weight": (32,),
}


@pytest.mark.parametrize(
    ("config", "name", "shapes"),
    [
        (ladder.llama(32, 64, 64, kv_heads=1), "LlamaForCausalLM", LLAMA_SHAPES),
        (ladder.kaplan_gpt(32, 64, 64), "GPT2LMHeadModel", GPT2_SHAPES),
        (ladder.neox(32, 64, 64), "GPTNeoXForCausalLM", NEOX_SHAPES),
    ],
    ids=["llama", "gpt2", "neox"],
)
def test_an_export_has_the_names_and_shapes_of_the_library(tmp_path, config, name, shapes):
    small_weights.write(tmp_path / "hf", dataclasses.replace(config, depth=1))
    assert {key: value.shape for key, value in load_file(tmp_path / "hf" / SINGLE_FILE).items()} == shapes
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["architectures"] == [name]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_export_that_is_imported_again_is_identical(tmp_path, name):
    weights = small_weights.write(tmp_path / "hf", FAMILIES[name])
    small_weights.assert_identical(small_weights.read(tmp_path / "hf"), weights)


@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(FAMILIES["llama"], activation="geglu", biases=True, head_dim=10, rope_theta=5e5),
        dataclasses.replace(FAMILIES["kaplan_gpt"], mlp_dim=40, norm_epsilon=1e-6),
        dataclasses.replace(FAMILIES["neox"], residual="serial", rope_fraction=0.5, rope_theta=123.0, mlp_dim=40),
    ],
    ids=["llama", "gpt2", "neox"],
)
def test_every_field_that_an_architecture_can_express_comes_back(tmp_path, config):
    weights = small_weights.write(tmp_path / "hf", config)
    small_weights.assert_identical(small_weights.read(tmp_path / "hf"), weights)


def test_rotary_fields_of_transformers_4_alone(tmp_path):
    """Published directories have rope_theta or rotary_pct at the top level and no rope_parameters."""
    config = dataclasses.replace(FAMILIES["neox"], rope_theta=5e5, rope_fraction=0.5)
    weights = small_weights.write(tmp_path / "hf", config)
    small_weights.edit_config(tmp_path / "hf", rope_parameters=None)
    small_weights.assert_identical(small_weights.read(tmp_path / "hf"), weights)


def test_gpt_neox_interleaves_query_key_and_value_per_head(tmp_path):
    """Row (head, which of the three, feature) of the fused matrix, by hand: head 1's keys follow head 1's queries."""
    weights = small_weights.write(tmp_path / "hf", FAMILIES["neox"])
    fused = load_file(tmp_path / "hf" / SINGLE_FILE)["gpt_neox.layers.1.attention.query_key_value.weight"]
    key = weights.parameters["layers/attention/key"]  # [L, D, H, Q], Q = 16
    np.testing.assert_array_equal(fused[48 + 16 : 48 + 32], key[1, :, 1, :].T)


def test_gpt2_concatenates_query_key_and_value(tmp_path):
    weights = small_weights.write(tmp_path / "hf", FAMILIES["kaplan_gpt"])
    fused = load_file(tmp_path / "hf" / SINGLE_FILE)["transformer.h.1.attn.c_attn.weight"]
    np.testing.assert_array_equal(fused[:, 32:64], weights.parameters["layers/attention/key"][1].reshape(32, 32))


def test_shards_with_an_index(tmp_path):
    weights = small_weights.write(tmp_path / "hf", FAMILIES["llama"])
    shard(tmp_path / "hf")
    small_weights.assert_identical(small_weights.read(tmp_path / "hf"), weights)
    with hugging_face.opened(tmp_path / "hf") as model:
        assert sorted(model.source()["files"]) == ["a.safetensors", "b.safetensors", "config.json", INDEX_FILE]


def test_half_precision_is_widened_without_a_change(tmp_path):
    """bfloat16 is the type of most published weights, and NumPy does not know it by itself."""
    small_weights.write(tmp_path / "hf", FAMILIES["llama"])
    path = tmp_path / "hf" / SINGLE_FILE
    rounded = {name: value.astype(ml_dtypes.bfloat16) for name, value in load_file(path).items()}
    save_file(rounded, path)
    with hugging_face.opened(tmp_path / "hf") as model:
        assert model.types == ("BF16",)
        embedding = model.weights().parameters["embedding/tokens"]
    np.testing.assert_array_equal(embedding, rounded["model.embed_tokens.weight"].astype(np.float32))


def test_the_published_gpt2_files(tmp_path):
    """They lack the base model's prefix, keep causal masks beside the weights, and may repeat the tied head."""
    weights = small_weights.write(tmp_path / "hf", FAMILIES["kaplan_gpt"])
    path = tmp_path / "hf" / SINGLE_FILE
    tensors = {name.removeprefix("transformer."): value for name, value in load_file(path).items()}
    tensors["h.0.attn.bias"] = np.ones((1, 1, LENGTH, LENGTH), np.float32)
    tensors["lm_head.weight"] = tensors["wte.weight"].copy()
    save_file(tensors, path)
    small_weights.assert_identical(small_weights.read(tmp_path / "hf"), weights)
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, path)
    with pytest.raises(DataError, match="lm_head.weight differs from the embedding"):
        small_weights.read(tmp_path / "hf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "lacks the tensor model.norm.weight"),
        (
            lambda tensors: tensors.update({"model.norm.weight": np.ones(31, np.float32)}),
            r"tensor model.norm.weight has shape \(31,\), config.json says \(32,\)",
        ),
        (lambda tensors: tensors.update(adapter=np.ones(3, np.float32)), "tensor adapter has no place"),
        (
            lambda tensors: tensors.update({"model.norm.weight": np.ones(32, np.int8)}),
            "tensor model.norm.weight has type I8",
        ),
    ],
    ids=["missing", "shape", "unknown", "type"],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, change, message):
    small_weights.write(tmp_path / "hf", FAMILIES["llama"])
    tensors = load_file(tmp_path / "hf" / SINGLE_FILE)
    change(tensors)
    save_file(tensors, tmp_path / "hf" / SINGLE_FILE)
    with pytest.raises(DataError, match=message):
        small_weights.read(tmp_path / "hf")


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("llama", {"architectures": ["MistralForCausalLM"]}, "architectures is .*MistralForCausalLM"),
        ("llama", {"architectures": None}, "architectures is None"),
        ("llama", {"hidden_size": None}, "lacks the field hidden_size"),
        ("llama", {"hidden_size": "32"}, "hidden_size is '32'"),
        ("llama", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("llama", {"mlp_bias": True}, "mlp_bias is True"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "rope_parameters is .*llama3"),
        ("llama", {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling is"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("kaplan_gpt", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ("neox", {"hidden_act": "gelu"}, "exact GELU.*--accept_tanh_gelu"),
        ("neox", {"attention_bias": False}, "attention_bias is False"),
    ],
)
def test_what_has_no_equivalent_is_refused_by_its_field(tmp_path, name, fields, message):
    small_weights.write(tmp_path / "hf", FAMILIES[name])
    small_weights.edit_config(tmp_path / "hf", **fields)
    with pytest.raises((ConfigError, DataError), match=message):
        small_weights.read(tmp_path / "hf")


def test_an_accepted_approximation_is_on_record(tmp_path):
    small_weights.write(tmp_path / "hf", FAMILIES["neox"])
    small_weights.edit_config(tmp_path / "hf", hidden_act="gelu")
    with hugging_face.opened(tmp_path / "hf", accept_tanh_gelu=True) as model:
        assert model.config == FAMILIES["neox"]
        assert "hidden_act 'gelu'" in model.source()["approximations"][0]


def test_damaged_directories(tmp_path):
    with pytest.raises(DataError, match="config.json does not exist"):
        small_weights.read(tmp_path)
    small_weights.write(tmp_path / "hf", FAMILIES["llama"])
    path = tmp_path / "hf" / SINGLE_FILE
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="model.safetensors is truncated"):
        small_weights.read(tmp_path / "hf")
    path.unlink()
    with pytest.raises(DataError, match="neither model.safetensors nor model.safetensors.index.json"):
        small_weights.read(tmp_path / "hf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: (path / "b.safetensors").unlink(), "b.safetensors does not exist"),
        (lambda path: edit_index(path, "model.norm.weight", "a.safetensors"), "lacks the tensor model.norm.weight"),
        (lambda path: edit_index(path, "model.norm.weight", "../b.safetensors"), "outside the directory"),
        (lambda path: (path / INDEX_FILE).write_text("{}"), "is not an index"),
    ],
)
def test_damaged_shards(tmp_path, change, message):
    small_weights.write(tmp_path / "hf", FAMILIES["llama"])
    shard(tmp_path / "hf")
    change(tmp_path / "hf")
    with pytest.raises(DataError, match=message):
        small_weights.read(tmp_path / "hf")


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("llama", {"norm_position": "post"}, "LlamaForCausalLM: TransformerConfig.norm_position 'post'"),
        ("llama", {"norm": "layernorm"}, "TransformerConfig.norm 'layernorm'"),
        ("llama", {"rope_fraction": 0.5}, "TransformerConfig.rope_fraction 0.5"),
        ("kaplan_gpt", {"positions": "sinusoidal"}, "TransformerConfig.positions 'sinusoidal'"),
        ("kaplan_gpt", {"biases": False}, "TransformerConfig.biases False"),
        ("kaplan_gpt", {"kv_heads": 1}, "TransformerConfig.kv_heads 1"),
        ("neox", {"activation": "geglu"}, "TransformerConfig.activation 'geglu'"),
        ("neox", {"head_dim": 8}, "TransformerConfig.head_dim 8"),
        ("neox", {"rope_fraction": 0.2}, "TransformerConfig.rope_fraction 0.2"),
    ],
)
def test_models_without_an_equivalent_are_not_exported(name, fields, message):
    with pytest.raises(ConfigError, match=message):
        config_json.write(dataclasses.replace(FAMILIES[name], **fields))


def test_a_new_field_of_the_architecture_cannot_be_lost_in_silence():
    """Whoever adds a field to TransformerConfig decides here how config_json and architectures.mismatches treat it."""
    in_config_json = (
        "vocab_size width depth heads kv_heads head_dim mlp_dim max_length norm_epsilon rope_theta tied".split()
    )
    constrained = "norm norm_position activation positions rope_fraction residual biases".split()
    without_effect_on_outputs = "family z_loss initialisation".split()
    known = {*in_config_json, *constrained, *without_effect_on_outputs}
    assert {field.name for field in dataclasses.fields(TransformerConfig)} == known


def test_the_tables_cover_every_family_and_size():
    """Every ladder model finds its own architecture, whose table holds each of its parameters once."""
    for family in (ladder.llama, ladder.kaplan_gpt, ladder.neox):
        for width in (16, 32, 128, 768):
            for tied in (False, True):
                architecture, _ = config_json.write(family(width, VOCABULARY, tied=tied))
                assert ARCHITECTURES[architecture.name].family == family(width, VOCABULARY).family


def shard(path):
    """Splits a directory's only file into two, with an index."""
    tensors = load_file(path / SINGLE_FILE)
    names = sorted(tensors)
    weight_map = {name: "ab"[index % 2] + ".safetensors" for index, name in enumerate(names)}
    weight_map["model.norm.weight"] = "b.safetensors"
    for file in ("a.safetensors", "b.safetensors"):
        save_file({name: tensors[name] for name in names if weight_map[name] == file}, path / file)
    (path / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (path / SINGLE_FILE).unlink()


def edit_index(path, tensor, file):
    index = json.loads((path / INDEX_FILE).read_text())
    index["weight_map"][tensor] = file
    (path / INDEX_FILE).write_text(json.dumps(index))
