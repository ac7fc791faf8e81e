"""config.json of the transformers library to and from :class:`TransformerConfig`.

A field that changes what the model computes and that we have no equivalent for is refused, never ignored. Both
generations of the rotary fields are read and written: `rope_theta`, `rotary_pct` at the top level (transformers 4) and
the group `rope_parameters` (transformers 5).
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

from scaling import gin_files
from scaling.errors import ConfigError, DataError
from scaling.foreign.architectures import ARCHITECTURES, GPT2, LLAMA, NEOX, Architecture, mismatches
from scaling.models.config import TransformerConfig

CONFIG_FILE = "config.json"

_EXACT_GELU = ("gelu", "gelu_python")

ValueT = TypeVar("ValueT")


@dataclasses.dataclass(frozen=True)
class Description:
    """What a config.json describes.

    Attributes:
      architecture: of the transformers library.
      config: our equal.
      approximations: in words, where the user accepted that it is not equal.
    """

    architecture: Architecture
    config: TransformerConfig
    approximations: tuple[str, ...] = ()


def read(directory: pathlib.Path, accept_tanh_gelu: bool = False) -> Description:
    """Reads the config.json of a directory.

    Args:
      directory: of a Hugging Face model.
      accept_tanh_gelu: compute exact GELU (x Phi(x)) by its tanh approximation, the only GELU that our models have.

    Raises:
      DataError: there is no config.json, or it is not a JSON object.
      ConfigError: the architecture is unknown, a field is missing or of a wrong type, or our models lack its value.
    """
    fields = _Fields.of(directory / CONFIG_FILE)
    architecture = _architecture(fields)
    if fields.values.get("quantization_config"):
        raise fields.refusal("quantization_config", "convert a directory of unquantised weights")
    activation, approximations = _activation(fields, architecture, accept_tanh_gelu)
    shape = _READERS[architecture.name](fields)
    config = TransformerConfig(
        family=architecture.family,
        initialisation=architecture.initialisation,
        vocab_size=fields.integer("vocab_size"),
        activation=activation,
        tied=fields.boolean("tie_word_embeddings", architecture.default_tied),
        **shape,
    )
    return Description(architecture, gin_files.checked(config), approximations)


def write(config: TransformerConfig) -> tuple[Architecture, dict[str, Any]]:
    """The architecture that equals a configuration, and its config.json.

    Raises:
      ConfigError: no architecture does; names the fields that stand in the way of the nearest.
    """
    unmet = {name: mismatches(architecture, config) for name, architecture in ARCHITECTURES.items()}
    name = min(unmet, key=lambda name: len(unmet[name]))
    if unmet[name]:
        raise ConfigError(
            f"the model has no equivalent in Hugging Face's {name}: {'; '.join(unmet[name])}",
            "export a model of the families llama, kaplan_gpt or neox",
        )
    architecture = ARCHITECTURES[name]
    activation = next(name for name, ours in architecture.activations.items() if ours == config.activation)
    shared = {
        "architectures": [name],
        "model_type": architecture.model_type,
        "vocab_size": config.vocab_size,
        architecture.activation_field: activation,
        "tie_word_embeddings": config.tied,
        "torch_dtype": "float32",
        # A model says nothing about ids; the library's defaults would name some that other vocabularies do not have.
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    return architecture, shared | _WRITERS[name](config)


def _architecture(fields: "_Fields") -> Architecture:
    names = fields.values.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or names[0] not in ARCHITECTURES:
        raise fields.refusal("architectures", f"convert one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[names[0]]


def _activation(fields: "_Fields", architecture: Architecture, accept_tanh_gelu: bool) -> tuple[str, tuple[str, ...]]:
    field = architecture.activation_field
    name = fields.text(field, architecture.default_activation)
    if name in architecture.activations:
        return architecture.activations[name], ()
    if name not in _EXACT_GELU:
        raise fields.refusal(field, f"convert a model with one of {', '.join(architecture.activations)}", name)
    if not accept_tanh_gelu:
        raise ConfigError(
            f"{fields.path}: {field} is {name!r}, the exact GELU, but our models compute its tanh approximation",
            "pass --accept_tanh_gelu to convert it all the same; each activation then differs by up to 5e-4",
        )
    return architecture.activations["gelu_new"], (f"{field} {name!r} is computed as the tanh approximation of GELU",)


def _read_llama(fields: "_Fields") -> dict[str, Any]:
    width, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    theta, fraction = _rotary(fields, "rope_theta", "partial_rotary_factor", 1.0)
    if fraction != 1.0:
        raise fields.refusal("partial_rotary_factor", "convert a model that rotates whole heads", fraction)
    biases = fields.boolean("attention_bias", False)
    if fields.boolean("mlp_bias", False) != biases:
        raise fields.refusal("mlp_bias", "convert a model whose mlp_bias and attention_bias are equal")
    return dict(
        width=width,
        depth=fields.integer("num_hidden_layers"),
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", heads),
        head_dim=fields.integer("head_dim", width // heads),
        mlp_dim=fields.integer("intermediate_size"),
        max_length=fields.integer("max_position_embeddings", 2048),
        norm="rmsnorm",
        positions="rope",
        rope_theta=theta,
        residual="serial",
        biases=biases,
        norm_epsilon=fields.number("rms_norm_eps", 1e-6),
    )


def _write_llama(config: TransformerConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.max_length,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": config.biases,
        "mlp_bias": config.biases,
    }


def _read_gpt2(fields: "_Fields") -> dict[str, Any]:
    fields.require("scale_attn_weights", True)
    fields.require("scale_attn_by_inverse_layer_idx", False)
    fields.require("add_cross_attention", False)
    width, heads = fields.integer("n_embd"), fields.integer("n_head")
    return dict(
        width=width,
        depth=fields.integer("n_layer"),
        mlp_dim=fields.integer("n_inner", 4 * width),
        max_length=fields.integer("n_positions"),
        norm="layernorm",
        positions="learned",
        residual="serial",
        biases=True,
        norm_epsilon=fields.number("layer_norm_epsilon", 1e-5),
        **_equal_heads(fields, width, heads),
    )


def _write_gpt2(config: TransformerConfig) -> dict[str, Any]:
    return {
        "n_embd": config.width,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_inner": config.mlp_dim,
        "n_positions": config.max_length,
        "layer_norm_epsilon": config.norm_epsilon,
        # Ours were trained without dropout; the library's default is 0.1.
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def _read_neox(fields: "_Fields") -> dict[str, Any]:
    fields.require("attention_bias", True)
    width, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    theta, fraction = _rotary(fields, "rotary_emb_base", "rotary_pct", 0.25)
    if int(width // heads * fraction) % 2:
        raise fields.refusal("rotary_pct", "convert a model that rotates an even number of features", fraction)
    return dict(
        width=width,
        depth=fields.integer("num_hidden_layers"),
        mlp_dim=fields.integer("intermediate_size"),
        max_length=fields.integer("max_position_embeddings", 2048),
        norm="layernorm",
        positions="rope",
        rope_theta=theta,
        rope_fraction=fraction,
        biases=True,
        residual="parallel" if fields.boolean("use_parallel_residual", True) else "serial",
        norm_epsilon=fields.number("layer_norm_eps", 1e-5),
        **_equal_heads(fields, width, heads),
    )


def _write_neox(config: TransformerConfig) -> dict[str, Any]:
    rotary = {"rope_theta": config.rope_theta, "partial_rotary_factor": config.rope_fraction}
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.max_length,
        "layer_norm_eps": config.norm_epsilon,
        "rotary_emb_base": config.rope_theta,
        "rotary_pct": config.rope_fraction,
        "rope_parameters": {"rope_type": "default", **rotary},
        "use_parallel_residual": config.residual == "parallel",
        "attention_bias": True,
    }


_READERS: dict[str, Callable[["_Fields"], dict[str, Any]]] = {
    LLAMA.name: _read_llama,
    GPT2.name: _read_gpt2,
    NEOX.name: _read_neox,
}
_WRITERS: dict[str, Callable[[TransformerConfig], dict[str, Any]]] = {
    LLAMA.name: _write_llama,
    GPT2.name: _write_gpt2,
    NEOX.name: _write_neox,
}


def _equal_heads(fields: "_Fields", width: int, heads: int) -> dict[str, int]:
    if width % heads:
        raise ConfigError(f"{fields.path}: {heads} heads do not divide a width of {width}", "correct config.json")
    return dict(heads=heads, kv_heads=heads, head_dim=width // heads)


def _rotary(fields: "_Fields", theta_field: str, fraction_field: str, default_fraction: float) -> tuple[float, float]:
    """Base and rotated fraction of the rotary positions, from the group of transformers 5 or the fields of 4."""
    group_field = "rope_parameters" if fields.values.get("rope_parameters") else "rope_scaling"
    group = fields.values.get(group_field) or {}
    if not isinstance(group, dict):
        raise fields.refusal(group_field, "correct config.json")
    kind = group.get("rope_type", group.get("type", "default"))
    known = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
    if kind != "default" or group.keys() - known:
        raise fields.refusal(group_field, "convert a model with plain rotary positions; scaled ones have no equivalent")
    of_group = _Fields(fields.path, group)
    theta = of_group.number("rope_theta", fields.number(theta_field, 10_000.0))
    return theta, of_group.number("partial_rotary_factor", fields.number(fraction_field, default_fraction))


@dataclasses.dataclass(frozen=True)
class _Fields:
    """The fields of a config.json; errors name the file and the field."""

    path: pathlib.Path
    values: dict[str, Any]

    @classmethod
    def of(cls, path: pathlib.Path) -> "_Fields":
        try:
            values = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(f"{path} does not exist", "name a Hugging Face model directory") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not JSON ({error})", "fetch the directory again") from error
        if not isinstance(values, dict):
            raise DataError(f"{path} is not a JSON object", "fetch the directory again")
        return cls(path, values)

    def integer(self, name: str, default: int | None = None) -> int:
        value = self._value(name, default, "a positive integer", lambda value: type(value) is int)
        if value < 1:
            raise self.refusal(name, "correct config.json; it must be a positive integer")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        return float(self._value(name, default, "a number", lambda value: type(value) in (int, float)))

    def boolean(self, name: str, default: bool) -> bool:
        return self._value(name, default, "true or false", lambda value: isinstance(value, bool))

    def text(self, name: str, default: str) -> str:
        return self._value(name, default, "a string", lambda value: isinstance(value, str))

    def require(self, name: str, needed: bool) -> None:
        """Refuses any other value than the library's default, which is ours."""
        if self.boolean(name, needed) != needed:
            raise self.refusal(name, f"convert a model with {name} {json.dumps(needed)}; the other has no equivalent")

    def refusal(self, name: str, remedy: str, value: Any = None) -> ConfigError:
        shown = self.values.get(name) if value is None else value
        return ConfigError(f"{self.path}: {name} is {shown!r}", remedy)

    def _value(self, name: str, default: ValueT | None, described: str, fits: Callable[[Any], bool]) -> Any:
        """A null field counts as absent, as in the library."""
        value = self.values.get(name)
        value = default if value is None else value
        if value is None:
            raise ConfigError(f"{self.path} lacks the field {name}", "fetch the directory again")
        if not fits(value):
            raise self.refusal(name, f"correct config.json; it must be {described}")
        return value
