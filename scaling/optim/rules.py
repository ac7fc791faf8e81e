"""Hyper-parameters derived from size and horizon, for Gin to bind: `ScheduleConfig.peak = @rules.peak_learning_rate()`.

A sweep over sizes with one learning rate measures the learning rate, not the law. The shipped constants were tuned on the frontier of the CPU
ladder (LABLOG.md has the runs); a ladder on other data or another scale should tune its own.
"""

import math


def peak_learning_rate(width: int, base: float, reference_width: int = 64, exponent: float = -0.5) -> float:
    """base (width / reference_width)^exponent.

    The exponent is -1 for hidden matrices under muP (Yang et al. 2022, table 3) and nearer -0.5 to -0.7 when one rate serves every parameter of a
    standard parametrisation (Kaplan et al. 2020, equation D.1, falls about as slowly over this range).
    """
    return base * (width / reference_width) ** exponent


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
