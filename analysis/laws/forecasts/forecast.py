"""The loss of a run that is still to be made, or was held out: a prediction whose interval means what it says.

It is the outlook's (:mod:`analysis.laws.forecasts.outlook`): forms with their discrepancy, weighed by rollouts, in an interval that
rollouts calibrate. What the parametric law alone would say stands beside it.
"""

import dataclasses
from typing import Any

import numpy as np
from scipy import stats

from analysis.laws.forecasts.outlook import Outlook
from analysis.laws.intervals.noise import Noise
from analysis.laws.optima import optimal
from analysis.laws.result import Estimate, Result, estimate, finite
from analysis.laws.tables.table import RunsTable

_FAR = 10.0


@dataclasses.dataclass(frozen=True)
class Forecast:
    """A predicted loss in nats per token.

    Attributes:
      params, tokens, flops: of the run.
      value: predicted loss.
      interval: at `level`.
      level: nominal coverage.
      deviation: of ln L: the interval's half width over the normal quantile of `level`.
      noise: standard deviation of ln L between runs, as seen around the law.
      reach: by what factor the run exceeds the largest params, tokens and flops in the fit.
      by_law: what the parametric law alone predicts.
      optimal_params: the compute-optimal N that the law predicts for the run's FLOPs.
      size_ratio: the run's N over `optimal_params`.
      flags: what to know about this prediction, in words.
    """

    params: float
    tokens: float
    flops: float
    value: float
    interval: tuple[float, float]
    level: float
    deviation: float
    noise: float
    reach: dict[str, float]
    by_law: float
    optimal_params: Estimate
    size_ratio: Estimate
    flags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Every field as JSON values."""
        return dataclasses.asdict(self) | {
            "flags": list(self.flags),
            "interval": [finite(bound) for bound in self.interval],
            "optimal_params": self.optimal_params.to_json(),
            "size_ratio": self.size_ratio.to_json(),
        }


def forecast(
    law: Result, table: RunsTable, noise: Noise, outlook: Outlook, *, params: float, tokens: float, flops: float
) -> Forecast:
    """Predicts the loss of one run.

    Args:
      law: the parametric law with its replicates.
      table: the runs of the fit.
      noise: of a run around the law, said beside the forecast.
      outlook: what the runs say of runs beyond them; its level is that of the interval.
      params, tokens, flops: of the run, by the table's conventions.
    """
    made = outlook.forecast(outlook.run(params, tokens, flops))
    centre, low, high = (float(values[0]) for values in (made.median_Q, made.low_Q, made.high_Q))
    by_law = float(law.log_loss(params, tokens, flops)[0])
    largest = {name: float(table.frame[name].max()) for name in ("params", "tokens", "flops")}
    reach = {
        "params": params / largest["params"],
        "tokens": tokens / largest["tokens"],
        "flops": flops / largest["flops"],
    }
    flags = [*_reach_flags(reach), outlook.in_words(float(made.factor_Q[0]))]
    if not low <= by_law <= high:
        flags.append(f"the parametric law alone would say {np.exp(by_law):.4f}, outside this interval")
    best = _optimal_params(law, table, flops, outlook.level)
    return Forecast(
        float(params), float(tokens), float(flops), float(np.exp(centre)), (float(np.exp(low)), float(np.exp(high))), outlook.level,
        (high - low) / 2 / float(stats.norm.ppf((1 + outlook.level) / 2)), noise.total, reach, float(np.exp(by_law)), best,
        _ratio(params, best), tuple(flags),
    )  # fmt: skip


def _optimal_params(law: Result, table: RunsTable, flops: float, level: float) -> Estimate:
    theta = np.concatenate([law.theta[None], law.replicates])
    params_R = np.exp(optimal.optimum(theta, float(np.log(flops)), optimal.cost_of(table)).log_params)
    return estimate(params_R[0], params_R[1:], level, next(iter(law.parameters.values())).method)


def _ratio(params: float, best: Estimate) -> Estimate:
    between = None if best.interval is None else (params / best.interval[1], params / best.interval[0])
    return dataclasses.replace(best, value=params / best.value, interval=between)


def _reach_flags(reach: dict[str, float]) -> tuple[str, ...]:
    words = {"params": "size", "tokens": "token budget", "flops": "compute"}
    beyond = [f"{value:.3g} times the largest {words[name]}" for name, value in reach.items() if value > 1.001]
    flags = [f"extrapolates to {', '.join(beyond)} in the fit"] if beyond else []
    if max(reach.values()) > _FAR:
        flags.append("farther than a factor of ten: rollouts reach less far, and the interval may be too narrow")
    return tuple(flags)
