"""Limits on what a sweep may need: its plan is refused before anything is written or submitted."""

from launch.sweep_config import Sweep
from scaling.errors import ConfigError


def check(sweep: Sweep, total_flops: float, seconds: float, cost: float | None) -> None:
    """Refuses a plan that needs more than its sweep allows; a limit of 0 is none.

    Args:
      sweep: with its limits.
      total_flops: training FLOPs (6ND) of all runs together.
      seconds: predicted, until the last run ends on the engine.
      cost: predicted, in the engine's currency; None where the engine knows no price.

    Raises:
      ConfigError: naming the limit, what it allows and what the plan needs.
    """
    if sweep.budget_cost and cost is None:
        raise ConfigError(
            f"Sweep.budget_cost of {sweep.name!r} is {sweep.budget_cost:.6g}, and the engine knows no price",
            "give the engine a price per hour, or unset Sweep.budget_cost",
        )
    needs = (("budget_flops", total_flops, "FLOPs"), ("budget_seconds", seconds, "s"), ("budget_cost", cost or 0.0, ""))
    for field, needed, unit in needs:
        limit = getattr(sweep, field)
        if limit and needed > limit:
            raise ConfigError(
                f"the sweep {sweep.name!r} needs {needed:.4g} {unit}".rstrip()
                + f", and Sweep.{field} allows {limit:.4g}",
                f"leave runs out, or raise Sweep.{field} (--gin.Sweep.{field}=...)",
            )
