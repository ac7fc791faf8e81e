"""Every part of the transformer written a second time, in numpy float64, one document and one head at a time, from their papers' equations.

Slow and plain on purpose, and sharing no code with the model: it takes only the parameter tree and the sizes.
"""

import math

import numpy as np


def rms_norm(x, parameters, epsilon):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * parameters["scale"]


def layer_norm(x, parameters, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * parameters["scale"] + parameters["bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x):
    return x / (1 + np.exp(-x))


def rotated(x_TxQ, rotary_dim, theta):
    """Each pair (i, i + R/2) of the first R features, turned as a complex number by position * theta^(-2i/R)."""
    half = rotary_dim // 2
    angle = np.arange(len(x_TxQ))[:, None] * theta ** (-2 * np.arange(half) / rotary_dim)
    turned = (x_TxQ[:, :half] + 1j * x_TxQ[:, half:rotary_dim]) * np.exp(1j * angle)
    return np.concatenate([turned.real, turned.imag, x_TxQ[:, rotary_dim:]], axis=-1)


def attention(x_TxD, parameters, config):
    length = len(x_TxD)
    outputs = np.zeros_like(x_TxD)
    for head in range(config.heads):
        shared = head * config.kv_heads // config.heads
        q, k, v = (
            x_TxD @ parameters[name][:, index] + (parameters[f"{name}_bias"][index] if config.biases else 0.0)
            for name, index in (("query", head), ("key", shared), ("value", shared))
        )
        if config.positions == "rope":
            q, k = (rotated(y, config.rotary_dim, config.rope_theta) for y in (q, k))
        for t in range(length):
            scores = k[: t + 1] @ q[t] / math.sqrt(config.head_dim)
            weights = np.exp(scores - scores.max())
            outputs[t] += (weights / weights.sum()) @ v[: t + 1] @ parameters["output"][head]
    return outputs + (parameters["output_bias"] if config.biases else 0.0)


def feed_forward(x_TxD, parameters, config):
    up = x_TxD @ parameters["up"] + (parameters["up_bias"] if config.biases else 0.0)
    if config.activation == "gelu":
        hidden = gelu(up)
    else:
        gate = x_TxD @ parameters["gate"]
        hidden = (silu if config.activation == "swiglu" else gelu)(gate) * up
    return hidden @ parameters["down"] + (parameters["down_bias"] if config.biases else 0.0)


def sinusoid(position, width):
    """Feature 2i is sin(position / 10000^(2i/D)), feature 2i + 1 the cosine of the same."""
    angles = [position / 10_000 ** (2 * (feature // 2) / width) for feature in range(width)]
    return [math.cos(angle) if feature % 2 else math.sin(angle) for feature, angle in enumerate(angles)]


def layer_output(x, layer, config):
    """One layer by its four forms: post-norm, parallel, or serial with norms before the sub-layers."""

    def norm(y, name):
        return (rms_norm if config.norm == "rmsnorm" else layer_norm)(y, layer[name], config.norm_epsilon)

    if config.norm_position == "post":
        x = norm(x + attention(x, layer["attention"], config), "attention_norm")
        return norm(x + feed_forward(x, layer["feed_forward"], config), "feed_forward_norm")
    attended = attention(norm(x, "attention_norm"), layer["attention"], config)
    if config.residual == "parallel":
        return x + attended + feed_forward(norm(x, "feed_forward_norm"), layer["feed_forward"], config)
    x = x + attended
    return x + feed_forward(norm(x, "feed_forward_norm"), layer["feed_forward"], config)


def logits(parameters, config, tokens_T):
    """Next-token logits [T, V] of one document."""
    x = parameters["embedding"]["tokens"][tokens_T]
    if config.positions == "learned":
        x = x + parameters["embedding"]["positions"][: len(tokens_T)]
    if config.positions == "sinusoidal":
        x = math.sqrt(config.width) * x + np.array([sinusoid(t, config.width) for t in range(len(tokens_T))])
    for index in range(config.depth):
        layer = {
            group: {name: stacked[index] for name, stacked in members.items()}
            for group, members in parameters["layers"].items()
        }
        x = layer_output(x, layer, config)
    if config.norm_position == "pre":
        norm = rms_norm if config.norm == "rmsnorm" else layer_norm
        x = norm(x, parameters["final_norm"], config.norm_epsilon)
    return x @ (parameters["embedding"]["tokens"].T if config.tied else parameters["head"]["kernel"])
