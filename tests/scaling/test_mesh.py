"""The mesh: rules, refusals, and equal results on every shape of eight simulated devices."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from scaling import mesh as meshes
from scaling.errors import ConfigError
from scaling.models import ladder
from scaling.models.parameters import parameter_specs
from scaling.run_config import ExecutionConfig
from tests import simulated_devices


def test_logical_axes_become_mesh_axes():
    assert meshes.partition_spec(("layers", "embed", "heads", "head_dim")) == PartitionSpec(
        None, "fsdp", "tensor", None
    )
    assert meshes.partition_spec(("batch", "length", "activation_embed")) == PartitionSpec(("data", "fsdp"), None, None)
    assert meshes.partition_spec((None, "vocab")) == PartitionSpec(None, "tensor")


def test_two_axes_on_one_mesh_axis_are_refused():
    """An activation whose width were sharded like a parameter's would use "fsdp" twice."""
    with pytest.raises(ValueError, match="twice"):
        meshes.partition_spec(("batch", "length", "embed"))


def test_an_unknown_logical_axis_is_refused():
    with pytest.raises(ValueError, match="sequense"):
        meshes.partition_spec(("batch", "sequense"))


@pytest.mark.parametrize("family", [ladder.llama, ladder.kaplan_gpt, ladder.neox])
def test_every_parameter_has_a_rule(family):
    for spec in parameter_specs(family(64, 512)).values():
        meshes.partition_spec(spec.axes)


def test_data_takes_the_devices_that_are_left():
    assert meshes.mesh_shape(ExecutionConfig(data=-1, fsdp=2, tensor=2), 8) == (2, 2, 2)


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, 3, 1), (8, 2, 1), (0, 1, 1), (-1, 0, 1)])
def test_a_mesh_that_does_not_cover_the_devices_is_refused(sizes):
    data, fsdp, tensor = sizes
    with pytest.raises(ConfigError, match="ExecutionConfig.data"):
        meshes.mesh_shape(ExecutionConfig(data=data, fsdp=fsdp, tensor=tensor), 8)


class FakeMesh:
    """The sizes that a mesh of many devices would have."""

    def __init__(self, data, fsdp, tensor):
        self.shape = {"data": data, "fsdp": fsdp, "tensor": tensor}


@pytest.mark.parametrize(
    "mesh,fields,rows,named",
    [
        ((1, 3, 1), {}, 3, "width"),
        ((1, 1, 3), {"vocab_size": 512}, 1, "vocab_size"),
        ((1, 1, 8), {"vocab_size": 512, "heads": 4}, 1, "heads"),
        ((1, 1, 4), {"heads": 4, "kv_heads": 2}, 1, "kv_heads"),
        ((1, 1, 4), {"mlp_dim": 50}, 1, "mlp_dim"),
        ((4, 2, 1), {}, 12, "micro-batch"),
    ],
)
def test_what_does_not_divide_is_named(mesh, fields, rows, named):
    model = dataclasses.replace(ladder.llama(64, 512), **fields)
    with pytest.raises(ConfigError, match=named):
        meshes.check_divisible(FakeMesh(*mesh), model, rows)


def test_an_evaluation_batch_that_does_not_divide_is_named():
    meshes.check_evaluation_rows(FakeMesh(2, 2, 2), 16)
    with pytest.raises(
        ConfigError, match=r"EvaluationConfig\.batch_size \(6\) is not a multiple of data \* fsdp \(4\)"
    ):
        meshes.check_evaluation_rows(FakeMesh(2, 2, 2), 6)


def test_what_divides_is_accepted():
    meshes.check_divisible(FakeMesh(2, 2, 2), ladder.llama(64, 512), 8)


def test_constraints_vanish_without_a_mesh():
    x = jnp.ones((2, 3, 4))
    assert meshes.constrain(x, ("batch", "length", "activation_embed")) is x


def test_a_wrong_number_of_axes_is_refused():
    with pytest.raises(ValueError, match="2 logical axes"):
        meshes.constrain(jnp.ones((2, 3, 4)), ("batch", "length"))


def test_with_rules_ends_when_the_function_fails():
    mesh = meshes.make_mesh(ExecutionConfig(), jax.devices()[:1])

    def failing():
        raise KeyError

    with pytest.raises(KeyError):
        meshes.with_rules(mesh, failing)()
    assert meshes._mesh_in_force.get() is None


_ON_EIGHT_DEVICES = """
import functools, json, jax, numpy as np
from scaling import mesh as meshes
from scaling.models import ladder
from scaling.models.transformer import Transformer, init_parameters
from scaling.run_config import ExecutionConfig
from tests import simulated_devices
from tests import simulated_devices
from tests.scaling.models.small_models import mean_loss, packed_rows, random_tokens

assert jax.device_count() == 8
results = {}
config = ladder.llama(64, 64, kv_heads=4)
tokens = random_tokens(config, 8, 16)
batch = (tokens, *packed_rows((6, 10), 8))
for shape in ((1, 1, 1), (8, 1, 1), (2, 2, 2), (1, 4, 2)):
    execution = ExecutionConfig(*shape)
    mesh = meshes.make_mesh(execution, jax.devices()[: np.prod(shape)])
    meshes.check_divisible(mesh, config, 8)
    model = Transformer(config, layers="scan", attention_chunk=8)
    init = jax.jit(functools.partial(init_parameters, model), out_shardings=meshes.parameter_shardings(mesh, config))
    parameters = init(jax.random.key(0))
    gradient = jax.jit(
        jax.value_and_grad(meshes.with_rules(mesh, functools.partial(mean_loss, model))),
        out_shardings=(None, meshes.parameter_shardings(mesh, config)),
    )
    sharded = jax.device_put(batch, meshes.batch_sharding(mesh))
    lowered = gradient.lower(parameters, *sharded)
    loss, gradients = gradient(parameters, *sharded)
    query = parameters["layers"]["attention"]["query"]
    results["x".join(map(str, shape))] = {
        "loss": float(loss),
        "gradients": [np.asarray(leaf, np.float64).ravel().tolist() for leaf in jax.tree.leaves(gradients)],
        "parameters": float(sum(np.abs(np.asarray(leaf)).sum() for leaf in jax.tree.leaves(parameters))),
        "query_shard": list(query.sharding.shard_shape(query.shape)),
        "constraints": lowered.as_text().count("sharding_constraint") + lowered.as_text().count("@Sharding"),
    }
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def on_eight_devices() -> dict:
    return json.loads(simulated_devices.output_of("-c", _ON_EIGHT_DEVICES))


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["8x1x1", "2x2x2", "1x4x2"])
def test_loss_and_gradient_do_not_depend_on_the_mesh(on_eight_devices, shape):
    single, sharded = on_eight_devices["1x1x1"], on_eight_devices[shape]
    assert abs(sharded["parameters"] / single["parameters"] - 1) < 1e-6, "initial values must not depend on the mesh"
    assert abs(sharded["loss"] - single["loss"]) < 1e-5
    for a, b in zip(sharded["gradients"], single["gradients"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * max(map(abs, b)))


@pytest.mark.slow
def test_parameters_and_activations_are_really_split(on_eight_devices):
    """Guards the test above, which a mesh that is ignored would pass too."""
    assert on_eight_devices["8x1x1"]["query_shard"] == [4, 64, 4, 16]
    assert on_eight_devices["2x2x2"]["query_shard"] == [4, 32, 2, 16]
    assert on_eight_devices["1x4x2"]["query_shard"] == [4, 16, 2, 16]
    assert on_eight_devices["1x1x1"]["constraints"] == 0
    assert on_eight_devices["2x2x2"]["constraints"] > 5
