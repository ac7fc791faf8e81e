"""A model on a mesh: the transformer, where its parameters lie, and what of it is trained."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from align.models import lora
from align.models.lora import LoraConfig
from align.models.parents import Parent
from align.stage_config import TrainingConfig
from scaling import mesh as meshes
from scaling.models.config import TransformerConfig
from scaling.models.parameters import nested, parameter_specs, tree
from scaling.models.transformer import Transformer
from scaling.training.step import layers_form

# No adapter: every parameter is trained.
WHOLE = LoraConfig()


@dataclasses.dataclass(frozen=True)
class Policy:
    """An architecture on a mesh.

    Attributes:
      config: the architecture.
      model: its mathematics.
      mesh: the devices.
      adapter: what of it is trained.
    """

    config: TransformerConfig
    model: Transformer
    mesh: Mesh
    adapter: LoraConfig = WHOLE

    @classmethod
    def of(cls, parent: Parent, training: TrainingConfig, rows: int, adapter: LoraConfig = WHOLE) -> "Policy":
        """A parent's architecture, executed as a stage is.

        Args:
          parent: the model.
          training: of the stage.
          rows: sequences of one micro-batch, which the mesh must divide.
          adapter: what is trained.

        Raises:
          ConfigError: sizes do not divide over the mesh.
        """
        execution = training.execution
        mesh = meshes.make_mesh(execution)
        meshes.check_divisible(mesh, parent.config, rows)
        model = Transformer(
            config=parent.config,
            compute_dtype=training.compute_dtype,
            layers=layers_form(execution, mesh),
            remat=execution.remat,
            attention_chunk=execution.attention_chunk,
        )
        if adapter.rank:
            lora.adapted_kernels(parent.config, adapter)
        return cls(parent.config, model, mesh, adapter)

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of scalars."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def rows(self) -> NamedSharding:
        """The sharding of arrays whose first axis is the batch."""
        return meshes.batch_sharding(self.mesh)

    @functools.cached_property
    def parameter_shardings(self) -> dict[str, Any]:
        """Of all parameters."""
        return meshes.parameter_shardings(self.mesh, self.config)

    def place(self, parameters: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Parameters by path, in host memory, as a tree on the mesh."""
        return jax.device_put(nested(dict(parameters)), self.parameter_shardings)

    def compiled(self, function, **options):
        """`jax.jit` of a function that is traced with the mesh's rules in force."""
        return jax.jit(meshes.with_rules(self.mesh, function), **options)

    def trainable(self, base: dict[str, Any], key: jax.Array) -> dict[str, Any]:
        """What the optimiser updates at the beginning: the parameters themselves (a copy), or a new adapter."""
        if self.adapter.rank:
            return lora.init_adapter(self.config, self.adapter, key)
        return jax.tree.map(jnp.copy, base)

    def full(self, trained: Mapping[str, Any], base: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The policy's parameters: the trained ones, or `base` with the adapter."""
        if self.adapter.rank:
            return lora.merged(base, trained, self.config, self.adapter)
        return trained

    def frozen_base(self, base: dict[str, Any]) -> dict[str, Any] | None:
        """What :meth:`full` needs besides the trained tree: nothing where every parameter is trained."""
        return base if self.adapter.rank else None

    @functools.cached_property
    def trainable_shapes(self) -> dict[str, Any]:
        """Shapes of what is trained."""
        if self.adapter.rank:
            return jax.eval_shape(lambda key: lora.init_adapter(self.config, self.adapter, key), jax.random.key(0))
        return tree(self.config, lambda spec: jax.ShapeDtypeStruct(spec.shape, jnp.float32))

    @functools.cached_property
    def trainable_shardings(self) -> dict[str, Any]:
        """Where it lies: parameters as the mesh splits them, adapters everywhere (they are small)."""
        if self.adapter.rank:
            return jax.tree.map(lambda leaf: self.replicated, self.trainable_shapes)
        return self.parameter_shardings

    @functools.cached_property
    def decayed(self) -> dict[str, Any]:
        """Where weight decay applies, in the shape of what is trained."""
        if self.adapter.rank:
            return jax.tree.map(lambda leaf: True, self.trainable_shapes)
        return tree(self.config, lambda spec: spec.decay)


def flat(config: TransformerConfig, parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tree as arrays by path, in host memory."""
    host = jax.device_get(parameters)
    result = {}
    for path in parameter_specs(config):
        node = host
        for name in path.split("/"):
            node = node[name]
        result[path] = np.asarray(node)
    return result
