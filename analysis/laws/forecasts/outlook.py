"""What the runs say of runs beyond them: forms weighed by rollouts, each with its discrepancy, in an interval that rollouts calibrate.

The steps: every form of :mod:`analysis.laws.forecasts.candidates` is fitted to the cheapest runs, for several windows that expand in
compute, and predicts the dearer ones (:mod:`.rollouts`). The log scores of those predictions weigh the forms (:mod:`.stacking`), the
errors of the weighed prediction calibrate its interval (:mod:`.conformal`), and the same forms fitted to all runs give the forecast.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting import solve
from analysis.laws.forecasts import candidates, conformal, discrepancy, stacking
from analysis.laws.forms.form import Form, evaluate
from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

FRACTIONS = (0.4, 0.55, 0.7, 0.85)
_FEWEST = 10
_FEWEST_DISTINCT = 3
_ALIKE = 0.02


@dataclasses.dataclass(frozen=True)
class Runs:
    """Runs to fit or to predict.

    Attributes:
      logs: variable -> ln of it, [K]: params, tokens, flops, and unique_tokens where known.
      cluster_K: runs of equal number share their randomness; negative where a run stands alone.
    """

    logs: dict[str, FloatArray]
    cluster_K: npt.NDArray[np.int64]

    def stacked(self, names: tuple[str, ...]) -> FloatArray:
        """Some of the variables, [K, V]."""
        return np.stack([self.logs[name] for name in names], axis=1)

    def joined(self, other: "Runs") -> "Runs":
        """These and others."""
        logs = {name: np.concatenate([values, other.logs[name]]) for name, values in self.logs.items()}
        return Runs(logs, np.concatenate([self.cluster_K, other.cluster_K]))


@dataclasses.dataclass(frozen=True)
class Forecasts:
    """Predicted ln L of Q runs.

    Attributes:
      median_Q, low_Q, high_Q: of the calibrated interval.
      distance_Q: ln C beyond the dearest run of the fit, at least zero.
      factor_Q: by which rollouts stretched the interval.
    """

    median_Q: FloatArray
    low_Q: FloatArray
    high_Q: FloatArray
    distance_Q: FloatArray
    factor_Q: FloatArray


@dataclasses.dataclass(frozen=True)
class Rolled:
    """One rollout: every form's predictive for the runs beyond a window.

    Attributes:
      early_K: the runs of the fit.
      predictives: one a form.
      distance_Q: of the predicted runs, as in :class:`Forecasts`.
    """

    early_K: npt.NDArray[np.bool_]
    predictives: list[discrepancy.Predictive]
    distance_Q: FloatArray


@dataclasses.dataclass(frozen=True)
class Outlook:
    """Everything that a forecast needs of one table.

    Attributes:
      forms: that were weighed.
      weight_F: their weights.
      rolled: the rollouts behind them.
      runs, y_K: of the fit, and their ln L.
      level: nominal coverage.
      calibration: of the interval.
    """

    forms: tuple[Form, ...]
    weight_F: FloatArray
    rolled: tuple[Rolled, ...]
    runs: Runs
    y_K: FloatArray
    level: float
    calibration: conformal.Calibration

    def forecast(self, asked: Runs) -> Forecasts:
        """Predicts runs; what is asked changes no other run's forecast."""
        everything = np.ones((1, len(self.y_K)), bool)
        made = predictives(self.forms, self.runs, self.y_K, everything, asked)[0]
        flops = self.runs.logs["flops"]
        distance_Q = np.maximum(asked.logs["flops"] - flops.max(), 0.0)
        factor_Q = self.calibration.factor(distance_Q)
        median_Q, low_Q, high_Q = averaged(made, self.weight_F, self.level, factor_Q)
        return Forecasts(median_Q, low_Q, high_Q, distance_Q, factor_Q)

    def run(self, params: float, tokens: float, flops: float) -> Runs:
        """A new run on fresh tokens, to be asked for."""
        logs = {"params": params, "tokens": tokens, "flops": flops, "unique_tokens": tokens}
        return Runs({name: np.log([float(logs[name])]) for name in self.runs.logs}, np.array([-1]))

    def in_words(self, factor: float) -> str:
        """How a forecast came about, as a clause."""
        order = np.argsort(-self.weight_F)
        forms = ", ".join(f"{self.forms[index].name} {self.weight_F[index]:.2f}" for index in order)
        if not self.rolled:
            return f"too few runs for rollouts: the forms count alike ({forms}), and nothing calibrates the interval"
        return (
            f"the interval is that of {len(self.forms)} forms weighed by {len(self.rolled)} rollouts ({forms}), {factor:.2f} times as "
            "wide as they alone would make it, for the errors of those rollouts"
        )

    def to_json(self) -> dict[str, Any]:
        """The entry of laws.json."""
        weights = {form.name: float(weight) for form, weight in zip(self.forms, self.weight_F, strict=True)}
        return {
            "weights": weights,
            "rollouts": len(self.rolled),
            "predictions": len(self.calibration.score_M),
            "level": self.level,
        }


def runs_of(table: RunsTable) -> Runs:
    """The runs of a table; a cluster of one run is none."""
    names = ["params", "tokens", "flops"]
    if any("unique_tokens" in form.variables for form in candidates.forms_of(table)):
        names.append("unique_tokens")
    cluster_K = table.codes("cluster")
    alone_K = np.bincount(cluster_K)[cluster_K] == 1
    return Runs({name: table.log(name) for name in names}, np.where(alone_K, -1, cluster_K))


def of(table: RunsTable, level: float = 0.9) -> Outlook:
    """Rolls every form out over a table, weighs them and calibrates the interval.

    Args:
      table: the runs of the fit.
      level: nominal coverage of forecasts.
    """
    return from_runs(candidates.forms_of(table), runs_of(table), table.log("loss"), level)


def from_runs(forms: tuple[Form, ...], runs: Runs, y_K: FloatArray, level: float = 0.9) -> Outlook:
    """The same from arrays."""
    early_WxK = windows(runs)
    rolled = [
        Rolled(early_K, made, np.maximum(runs.logs["flops"][~early_K] - runs.logs["flops"][early_K].max(), 0.0))
        for early_K, made in zip(early_WxK, _roll(forms, runs, y_K, early_WxK), strict=True)
    ]
    scores = [[part.log_density(y_K[~item.early_K]) for part in item.predictives] for item in rolled]
    window_M = np.repeat(np.arange(len(rolled)), [len(item.distance_Q) for item in rolled])
    log_score_FxM = np.concatenate([np.array(item) for item in scores], axis=1) if scores else np.zeros((len(forms), 0))
    weight_F = stacking.weights(log_score_FxM, window_M)
    return Outlook(forms, weight_F, tuple(rolled), runs, y_K, level, _calibrate(rolled, weight_F, y_K, window_M, level))


def windows(runs: Runs, fractions: tuple[float, ...] = FRACTIONS) -> npt.NDArray[np.bool_]:
    """Which runs each rollout is fitted to, the cheapest ones, bool[W, K]; rollouts with too few or too uniform runs are left out."""
    log_flops = runs.logs["flops"]
    order, found = np.argsort(log_flops, kind="stable"), []
    for fraction in fractions:
        early_K = np.zeros(len(log_flops), bool)
        early_K[order[: round(fraction * len(order))]] = True
        varied = all(
            len(np.unique(grouped(runs.logs[name][early_K], _ALIKE))) >= _FEWEST_DISTINCT for name in ("params", "tokens")
        ) if early_K.any() else False  # fmt: skip
        if early_K.sum() >= _FEWEST and not early_K.all() and varied:
            found.append(early_K)
    return np.array(found, bool).reshape(len(found), len(log_flops))


def _roll(forms, runs, y_K, early_WxK) -> list[list[discrepancy.Predictive]]:  # noqa: ANN001 - as from_runs
    return predictives(forms, runs, y_K, early_WxK, None) if len(early_WxK) else []


def predictives(
    forms: tuple[Form, ...], runs: Runs, y_K: FloatArray, early_WxK: npt.NDArray[np.bool_], asked: Runs | None
) -> list[list[discrepancy.Predictive]]:
    """For every subset of the runs and every form, the distribution of ln L of the runs asked for; None asks for the others."""
    count, made = len(y_K), [[] for _ in early_WxK]
    both = runs if asked is None else runs.joined(asked)
    x_JxU = both.stacked(tuple(name for name in both.logs if name != "flops"))
    for form in forms:
        x_JxV = both.stacked(form.variables)
        x_JxV = x_JxV - fitting.centre_of(form, x_JxV[:count])
        theta_WxP = candidates.fit_windows(form, x_JxV[:count], y_K, early_WxK)
        for theta_P, early_K, parts in zip(theta_WxP, early_WxK, made, strict=True):
            law_J = evaluate(form, theta_P[None], x_JxV)[0]
            whole = discrepancy.Design(x_JxU, solve.jacobian(form, theta_P, x_JxV).T, both.cluster_K)
            seen = np.flatnonzero(early_K)
            wanted = np.flatnonzero(~early_K) if asked is None else np.arange(count, len(law_J))
            parts.append(
                discrepancy.predict(
                    whole.rows(seen), (y_K - law_J[:count])[seen], y_K[seen], whole.rows(wanted), law_J[wanted]
                )
            )
    return made


def averaged(
    parts: list[discrepancy.Predictive], weight_F: FloatArray, level: float, factor_Q: FloatArray | float = 1.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Median, low and high end of the weighed quantiles of several predictives, stretched about the median; float64[Q] each.

    Quantiles are averaged, not densities: a mixture of calibrated densities is too wide (Gneiting and Ranjan 2013,
    doi:10.1214/13-EJS823), and the average of quantiles is not (Lichtendahl et al. 2013, doi:10.1287/mnsc.1120.1667).

    Args:
      parts: a predictive for each form.
      weight_F: their weights.
      level: nominal coverage.
      factor_Q: by what to stretch.
    """
    chances = ((1 - level) / 2, 0.5, (1 + level) / 2)
    low_Q, median_Q, high_Q = (
        sum(weight * part.quantile(chance) for part, weight in zip(parts, weight_F, strict=True) if weight)
        for chance in chances
    )
    return median_Q, median_Q - factor_Q * (median_Q - low_Q), median_Q + factor_Q * (high_Q - median_Q)


def _calibrate(rolled, weight_F, y_K, window_M, level) -> conformal.Calibration:  # noqa: ANN001 - as from_runs
    scores, distances = [np.zeros(0)], [np.zeros(0)]
    for item in rolled:
        median_Q, low_Q, high_Q = averaged(item.predictives, weight_F, level)
        error_Q = y_K[~item.early_K] - median_Q
        scores.append(np.where(error_Q > 0, error_Q / (high_Q - median_Q), -error_Q / (median_Q - low_Q)))
        distances.append(item.distance_Q)
    return conformal.Calibration(np.concatenate(scores), np.concatenate(distances), window_M, level)
