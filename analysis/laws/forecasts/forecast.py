"""The loss of a run that is still to be made, or was held out: a prediction whose interval means what it says.

Where rollouts are possible the forecast is that of the mixture of forms they credit, and its interval is calibrated on what the
same mixture missed in them (:mod:`analysis.laws.forecasts.ensemble`): parameters, noise and form are in those misses. Where
the runs are too few it is the parametric law's, and its interval holds the parameters and the noise alone, which it says.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws.forecasts.ensemble import Ensemble
from analysis.laws.intervals.noise import Noise
from analysis.laws.optima import optimal
from analysis.laws.result import Estimate, Result, estimate, finite
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

_FAR = 10.0
_DRAWS = 4000


@dataclasses.dataclass(frozen=True)
class Forecast:
    """A predicted loss in nats per token.

    Attributes:
      params, tokens, flops: of the run.
      value: predicted loss.
      interval: at `level`.
      level: nominal coverage.
      parts: standard deviations of ln L by cause: parameters and noise; or noise, drift with distance and doubt of the form.
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
    parts: dict[str, float]
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


@dataclasses.dataclass(frozen=True)
class _Made:
    """ln L of the centre and of the interval's ends, and the parts of its width."""

    centre: float
    low: float
    high: float
    parts: dict[str, float]
    flags: tuple[str, ...]


def forecast(
    law: Result,
    table: RunsTable,
    noise: Noise,
    ensemble: Ensemble | None,
    *,
    params: float,
    tokens: float,
    flops: float,
    rng: np.random.Generator,
    level: float = 0.9,
) -> Forecast:
    """Predicts the loss of one run.

    Args:
      law: the parametric law with its replicates.
      table: the runs of the fit.
      noise: of a run around the law, for tables without rollouts.
      ensemble: the mixture that rollouts credit; None where the runs are too few for them.
      params, tokens, flops: of the run, by the table's conventions.
      rng: for draws of the noise, for tables without rollouts.
      level: nominal coverage.
    """
    by_law = float(law.log_loss(params, tokens, flops)[0])
    if ensemble is None:
        made = _by_law(law, noise, by_law, (params, tokens, flops), rng, level)
    else:
        made = _by_ensemble(ensemble, by_law, (params, tokens, flops), level)
    largest = {name: float(table.frame[name].max()) for name in ("params", "tokens", "flops")}
    reach = {
        "params": params / largest["params"],
        "tokens": tokens / largest["tokens"],
        "flops": flops / largest["flops"],
    }
    best = _optimal_params(law, table, flops, level)
    return Forecast(
        float(params), float(tokens), float(flops), float(np.exp(made.centre)), (float(np.exp(made.low)), float(np.exp(made.high))), level,
        made.parts, reach, float(np.exp(by_law)), best, _ratio(params, best), (*_reach_flags(reach), *made.flags),
    )  # fmt: skip


def _by_ensemble(ensemble: Ensemble, by_law: float, run: tuple[float, float, float], level: float) -> _Made:
    params, tokens, flops = run
    log_nd, log_flops = np.log([[params, tokens]]), np.log([flops])
    centre, half = (float(item[0]) for item in ensemble.predict(log_nd, log_flops, level))
    scale = ensemble.scale
    parts = {
        "noise": scale.noise,
        "drift": scale.drift * float(ensemble.distance(log_flops)[0]),
        "form": scale.doubt * float(ensemble.spread(log_nd)[0]),
    }
    flags = list(ensemble.flags)
    if abs(by_law - centre) > half:
        flags.append(
            f"the parametric law alone would say {np.exp(by_law):.4f}, outside this interval: rollouts credit other forms and shorter memories "
            f"({', '.join(f'{name} {weight:.2f}' for name, weight in ensemble.credited[:3])})"
        )
    return _Made(centre, centre - half, centre + half, parts, tuple(flags))


def _by_law(
    law: Result, noise: Noise, by_law: float, run: tuple[float, float, float], rng: np.random.Generator, level: float
) -> _Made:
    flags = ["too few runs for rollouts: the interval holds the parameters and the noise of a run, and trusts the form"]
    replicates = law.log_loss_replicates(*run)[:, 0] if len(law.replicates) else np.full(_DRAWS // 10, by_law)
    if not len(law.replicates):
        flags.append("no bootstrap: the interval leaves out the uncertainty of the parameters")
    base = np.tile(replicates, int(np.ceil(_DRAWS / len(replicates))))
    # Few degrees of freedom make heavy tails.
    scale = np.sqrt(noise.dof / rng.chisquare(noise.dof, len(base)))
    draws = base + scale * noise.total * rng.standard_normal(len(base))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    parts = {"parameters": float(np.std(replicates)), "noise": noise.total}
    return _Made(by_law, float(low), float(high), parts, tuple(flags))


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
