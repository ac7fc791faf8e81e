"""Hyper-parameters derived from size and horizon, for Gin to bind: `ScheduleConfig.peak = @rules.peak_learning_rate()`.

A sweep over sizes with one learning rate measures the learning rate, not the law. The shipped constants were tuned on the frontier of the CPU
ladder (LABLOG.md has the runs); a ladder on other data or another scale should tune its own.
"""

import math

from scaling.errors import ConfigError


def peak_learning_rate(
    width: int,
    base: float,
    reference_width: int = 64,
    exponent: float = -0.5,
    batch_size: int = 0,
    reference_batch_size: int = 0,
    batch_exponent: float = 0.5,
    tokens: int = 0,
    reference_tokens: int = 0,
    tokens_exponent: float = -0.32,
) -> float:
    """base (width / reference_width)^exponent, times a power of the batch and of the horizon where their references are given.

    The exponent of the width is -1 for hidden matrices under muP (Yang et al. 2022, table 3) and nearer -0.5 to -0.7 when one rate serves every
    parameter of a standard parametrisation (Kaplan et al. 2020, equation D.1, falls about as slowly over this range). That of the batch is 1/2 for
    Adam (Malladi et al. 2022, "On the SDEs and scaling rules for adaptive gradient algorithms"). That of the horizon is about -0.32 (Bjorck et al.
    2024, "Scaling optimal LR across token horizons").

    Args:
      width: of the model.
      base: the rate at all references.
      reference_width, exponent: of the width.
      batch_size, reference_batch_size, batch_exponent: sequences per step; a reference of 0 leaves the batch out.
      tokens, reference_tokens, tokens_exponent: the horizon; a reference of 0 leaves it out.

    Raises:
      ConfigError: a reference is given without its value.
    """
    rate = base * (width / reference_width) ** exponent
    for name, value, reference, power in (
        ("batch_size", batch_size, reference_batch_size, batch_exponent),
        ("tokens", tokens, reference_tokens, tokens_exponent),
    ):
        if bool(value) != bool(reference):
            raise ConfigError(
                f"peak_learning_rate has {name}={value!r} and reference_{name}={reference!r}",
                "give both of them, or none",
            )
        if reference:
            rate *= (value / reference) ** power
    return rate


def batch_sequences(
    tokens: int,
    sequence_length: int,
    base_tokens: int,
    reference_tokens: int,
    exponent: float = 0.5,
    multiple_of: int = 4,
) -> int:
    """Sequences per step such that a batch has about base_tokens (tokens / reference_tokens)^exponent tokens.

    The best batch grows with the horizon, about as its square root (Zhang et al. 2024, "How does critical batch size scale in pre-training?").
    """
    batch_tokens = base_tokens * (tokens / reference_tokens) ** exponent
    return max(multiple_of, multiple_of * math.floor(batch_tokens / sequence_length / multiple_of))
