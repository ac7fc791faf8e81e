"""Low-rank adapters as a tree beside the parameters (Hu et al. 2022): W + (alpha / rank) A B, with the reference at B = 0."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from scaling.errors import ConfigError
from scaling.models.config import TransformerConfig
from scaling.models.parameters import ParameterSpec, nested, parameter_specs


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Which kernels get an adapter.

    Attributes:
      rank: r; 0 trains every parameter and no adapter.
      alpha: the update is scaled by alpha / rank.
      targets: regular expression over parameter paths ("layers/attention/query"); every match must be a kernel.
    """

    rank: int = 0
    alpha: float = 16.0
    targets: str = "layers/(attention|feed_forward)/[a-z]+"

    def __post_init__(self):
        if self.rank < 0:
            raise ConfigError(f"LoraConfig.rank is {self.rank}", "give 0 (no adapter) or a positive rank")
        if self.alpha <= 0:
            raise ConfigError(f"LoraConfig.alpha is {self.alpha}", "give a positive number")


def adapted_kernels(config: TransformerConfig, lora: LoraConfig) -> dict[str, ParameterSpec]:
    """The kernels with an adapter, by path.

    Raises:
      ConfigError: the pattern matches nothing, or something that is not a kernel.
    """
    specs = parameter_specs(config)
    matched = {path: spec for path, spec in specs.items() if re.fullmatch(lora.targets, path)}
    unfit = [path for path, spec in matched.items() if "embed" not in spec.axes or len(spec.shape) < 2]
    if not matched or unfit:
        raise ConfigError(
            f"LoraConfig.targets {lora.targets!r} matches "
            + (f"{unfit}, which are no kernels" if unfit else "nothing"),
            f"match among {[path for path, spec in specs.items() if len(spec.shape) > 1 and 'embed' in spec.axes]}",
        )
    return matched


def init_adapter(config: TransformerConfig, lora: LoraConfig, key: jax.Array) -> dict[str, Any]:
    """A tree with {"a": [.., I, r], "b": [.., r, O]} at the path of each adapted kernel, a Gaussian and b zero, so that the policy begins at the reference.

    Kernels of several axes are matrices here: "output" [L, H, Q, D] reads H Q features, the others [L, D, ...] read D.
    """
    adapter = {}
    for index, (path, spec) in enumerate(adapted_kernels(config, lora).items()):
        stack, rows, columns = _matrix(spec)
        drawn = jax.random.normal(jax.random.fold_in(key, index), (*stack, rows, lora.rank), jnp.float32)
        adapter[path] = {"a": drawn / math.sqrt(rows), "b": jnp.zeros((*stack, lora.rank, columns), jnp.float32)}
    return nested(adapter)


def merged(
    parameters: Mapping[str, Any], adapter: Mapping[str, Any], config: TransformerConfig, lora: LoraConfig
) -> dict[str, Any]:
    """The parameters with the adapter added; gradients flow to both."""
    result = jax.tree.map(lambda leaf: leaf, dict(parameters))
    for path in adapted_kernels(config, lora):
        *groups, name = path.split("/")
        node, update = result, adapter
        for group in groups:
            node, update = node[group], update[group]
        pair = update[name]
        kernel = node[name]
        low_rank = jnp.einsum("...ir,...ro->...io", pair["a"], pair["b"]) * (lora.alpha / lora.rank)
        node[name] = kernel + low_rank.reshape(kernel.shape)
    return result


def _matrix(spec: ParameterSpec) -> tuple[tuple[int, ...], int, int]:
    """Stacked layers, rows and columns of a kernel: the axes up to and including the input's last one are rows."""
    stack = spec.shape[:1] if spec.axes[0] == "layers" else ()
    axes, shape = spec.axes[len(stack) :], spec.shape[len(stack) :]
    # What writes to the residual stream has "embed" last, what reads it has "embed" first.
    split = len(axes) - 1 if axes[-1] == "embed" else 1
    return stack, math.prod(shape[:split]), math.prod(shape[split:])
