"""A prompt that its completions share gives what separate rows give: values and gradients to float32 rounding, whatever the architecture and the lengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from align.models import log_probabilities, scalar_head, shared_prompts
from align.models.shared_prompts import Room
from align.sequences import Sequences, completion_mask
from scaling.models.parameters import nested
from scaling.models.transformer import Transformer
from tests.scaling.foreign import small_weights

PROMPTS, COMPLETIONS = (5, 2, 1), ((4, 7, 1), (6, 6, 3), (2, 5, 7))
ROOM = Room(5, 7)
LENGTH = 12


def sequences() -> Sequences:
    """[B, K, T]: ragged prompts and completions; the padding holds ids that must not matter."""
    random = np.random.default_rng(0)
    prompt_lengths = np.repeat(np.array(PROMPTS, np.int32)[:, None], 3, axis=1)
    tokens = random.integers(0, small_weights.VOCABULARY, (3, 3, LENGTH)).astype(np.int32)
    for row, prompt in enumerate(PROMPTS):
        tokens[row, :, :prompt] = tokens[row, 0, :prompt]
    return Sequences(*map(jnp.asarray, (tokens, prompt_lengths, prompt_lengths + np.array(COMPLETIONS, np.int32))))


def apart(sequences_BxK: Sequences) -> Sequences:
    return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), sequences_BxK)


@pytest.fixture(params=["llama", "kaplan_gpt"])
def model_and_parameters(request):
    weights = small_weights.random_weights(small_weights.FAMILIES[request.param])
    parameters = {path: jnp.asarray(value) for path, value in weights.parameters.items()}
    return Transformer(weights.config, attention_chunk=4), nested(parameters)


def assert_close(actual, expected):
    for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * max(1, np.abs(theirs).max()))


@pytest.mark.slow
@pytest.mark.parametrize("room", [ROOM, Room(9, 9)], ids=["shared", "too wide to gain"])
def test_log_probabilities(model_and_parameters, room):
    model, parameters = model_and_parameters
    rows, mask = sequences(), completion_mask(apart(sequences()))

    def shared(parameters):
        found = shared_prompts.token_log_probs(model, parameters, rows, room, first_column=1)
        return jnp.sum(jnp.sin(found.reshape(mask.shape)) * mask), found.reshape(mask.shape) * mask

    def separate(parameters):
        found = log_probabilities.token_log_probs(model, parameters, apart(rows), first_column=1)
        return jnp.sum(jnp.sin(found) * mask), found * mask

    assert_close(*(jax.jit(jax.grad(function, has_aux=True))(parameters) for function in (shared, separate)))


@pytest.mark.slow
def test_scalars(model_and_parameters):
    model, parameters = model_and_parameters
    head = scalar_head.init_head(32, jax.random.key(0))

    def shared(parameters):
        return shared_prompts.sequence_scalars(model, parameters, head, sequences(), ROOM).ravel()

    def separate(parameters):
        return scalar_head.sequence_scalars(model, parameters, head, apart(sequences()))

    assert_close(jax.jit(shared)(parameters), jax.jit(separate)(parameters))
    weights = jnp.arange(9.0)
    assert_close(
        *(jax.jit(jax.grad(lambda tree, f=f: jnp.sum(f(tree) * weights)))(parameters) for f in (shared, separate))
    )


def test_completions_do_not_see_each_other(model_and_parameters):
    """Another second completion changes nothing for the first and the third."""
    model, parameters = model_and_parameters
    rows = sequences()
    other = rows._replace(tokens=rows.tokens.at[:, 1, 5:].set(3))
    log_probs = jax.jit(lambda given: shared_prompts.token_log_probs(model, parameters, given, ROOM))
    first, second = log_probs(rows), log_probs(other)
    np.testing.assert_array_equal(first[:, ::2], second[:, ::2])
    assert np.abs(first[0, 1] - second[0, 1]).max() > 0.1
