"""Hidden states at a few columns are those of the whole pass at these columns, values and gradients, in every architecture and form of execution."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.models import ladder
from scaling.models.attention import taken
from scaling.models.transformer import Transformer
from tests.scaling.models.small_models import QUICK_COMPILE, largest_difference, packed_rows, perturbed, random_tokens
from tests.scaling.models.test_cache import VARIANTS

LLAMA = VARIANTS["llama, one key head"]
COLUMNS = np.asarray([[8, 0, 4], [2, 8, 8], [3, 3, 5]], np.int32)


def tokens_of(config):
    """Rows of two documents, so that segments matter, and a column that is asked for twice."""
    tokens = random_tokens(config, 3, 9)
    return (tokens, *packed_rows((4, 5), 3))


def both(model, batch, columns=COLUMNS):
    """Values with the gradient of an uneven sum of them: computed at the columns, and everywhere."""

    def at(parameters):
        return model.hidden_states_at(parameters, *batch, columns)

    def whole(parameters):
        return taken(model.hidden_states(parameters, *batch), columns)

    def with_gradient(function, parameters):
        def total(parameters):
            hidden = function(parameters)
            return jnp.sum(jnp.sin(hidden + jnp.arange(hidden.size).reshape(hidden.shape))), hidden

        return jax.grad(total, has_aux=True)(parameters)

    parameters = perturbed(model.config)
    return (
        jax.jit(functools.partial(with_gradient, function), compiler_options=QUICK_COMPILE)(parameters)
        for function in (at, whole)
    )


@pytest.mark.parametrize("layers", ["unroll", "scan"])
@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_values_and_gradients_equal_the_whole_pass(config, layers):
    actual, expected = both(Transformer(config, layers=layers), tokens_of(config))
    assert largest_difference(actual, expected) < 2e-5


@pytest.mark.parametrize("layers", ["unroll", "scan"])
def test_a_model_of_one_layer(layers):
    """Nothing is left before the last layer."""
    config = dataclasses.replace(LLAMA, depth=1)
    actual, expected = both(Transformer(config, layers=layers), tokens_of(config))
    assert largest_difference(actual, expected) < 2e-5


@pytest.mark.parametrize("options", [{"remat": "full"}, {"remat": "dots", "layers": "scan"}, {"attention_chunk": 4}])
def test_rematerialisation_and_blocks_of_queries_change_nothing(options):
    actual, expected = both(Transformer(LLAMA, **options), tokens_of(LLAMA))
    assert largest_difference(actual, expected) < 2e-5


def test_in_bfloat16_the_difference_is_rounding():
    """Weights are rounded after they are normalised and not before, so only the size of the difference is held."""
    actual, expected = both(Transformer(LLAMA, compute_dtype="bfloat16"), tokens_of(LLAMA))
    assert largest_difference(actual, expected) < 0.05


def test_the_last_layer_is_computed_at_the_columns_alone():
    """XLA's count of a model of one layer falls by nearly all of its query, output and feed-forward products."""
    config = dataclasses.replace(ladder.llama(64, 61, max_length=128), depth=1)
    tokens = random_tokens(config, 2, 128)
    batch = (tokens, np.ones_like(tokens), np.broadcast_to(np.arange(128, dtype=np.int32), tokens.shape))
    columns, model, parameters = np.full((2, 1), 127, np.int32), Transformer(config), perturbed(config)

    def flops(function):
        return jax.jit(function).lower(parameters).compile().cost_analysis()["flops"]

    whole = flops(lambda tree: model.hidden_states(tree, *batch))
    at = flops(lambda tree: model.hidden_states_at(tree, *batch, columns))
    width, features, rows = config.width, config.heads * config.head_dim, tokens.size
    left_out = 2 * rows * (2 * width * features + 3 * width * config.mlp_dim)
    assert whole - at > 0.98 * left_out
