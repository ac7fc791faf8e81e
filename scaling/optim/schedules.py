"""Learning-rate schedules as plain functions of the step and of the run's true horizon.

They are evaluated on the host in float64 and enter the compiled step as a scalar, so runs that differ in schedule, rate or horizon share one
compilation.
"""

import math

from scaling.optim.config import ScheduleConfig


def warmup_steps(config: ScheduleConfig, horizon_steps: int, batch_tokens: int) -> int:
    """Steps of linear warm-up: `warmup_tokens` in whole steps, but at most `warmup_max_fraction` of the horizon."""
    return min(math.ceil(config.warmup_tokens / batch_tokens), int(config.warmup_max_fraction * horizon_steps))


def decay_start(config: ScheduleConfig, horizon_steps: int) -> int:
    """The first step of the decay of a "wsd" schedule: where a branch leaves its trunk."""
    return horizon_steps - max(1, round(config.decay_fraction * horizon_steps))


def learning_rate(config: ScheduleConfig, step: int, horizon_steps: int, batch_tokens: int) -> float:
    """The learning rate of one step.

    Args:
      config: the schedule.
      step: zero-based; steps at or after the horizon get the final rate, never less.
      horizon_steps: steps of the whole run (for a branch: of trunk and decay together).
      batch_tokens: tokens of a step, which turns `warmup_tokens` into steps.
    """
    warmup = warmup_steps(config, horizon_steps, batch_tokens)
    if step < warmup:
        return config.peak * (step + 1) / (warmup + 1)
    return config.peak * _SHAPES[config.name](config, step, warmup, horizon_steps)


def _cosine(config: ScheduleConfig, step: int, warmup: int, horizon: int) -> float:
    """Half a cosine from 1 to `final_fraction` (Loshchilov and Hutter 2017, equation 5, one cycle)."""
    progress = _progress(step, warmup, horizon)
    return config.final_fraction + (1 - config.final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))


def _linear(config: ScheduleConfig, step: int, warmup: int, horizon: int) -> float:
    return 1 - (1 - config.final_fraction) * _progress(step, warmup, horizon)


def _inverse_square_root(config: ScheduleConfig, step: int, warmup: int, horizon: int) -> float:
    """sqrt(warmup / step), 1 at the end of the warm-up (Vaswani et al. 2017, equation 3); the horizon plays no part."""
    del config, horizon
    return math.sqrt(max(warmup, 1) / max(step, warmup, 1))


def _wsd(config: ScheduleConfig, step: int, warmup: int, horizon: int) -> float:
    """Constant, then linear to `final_fraction` over the last part (Hu et al. 2024, MiniCPM; Haegele et al. 2024)."""
    start = max(decay_start(config, horizon), warmup)
    if step < start:
        return 1.0
    # The first decaying step is already below the peak, and the step at the horizon would have the final rate.
    return 1 - (1 - config.final_fraction) * _progress(step + 1, start, horizon + 1)


def _progress(step: int, start: int, end: int) -> float:
    return min(1.0, max(0.0, (step - start) / max(1, end - start)))


_SHAPES = {"cosine": _cosine, "linear": _linear, "inverse_square_root": _inverse_square_root, "wsd": _wsd}
