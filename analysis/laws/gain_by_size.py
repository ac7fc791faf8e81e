"""How the gain in gold reward at a fixed KL scales with the size of the model.

    power        gain = gain_0 · (N / N_0)^exponent
    logarithmic  gain = gain_0 + slope · ln(N / N_0)          N_0: the geometric mean of the sizes

Gao et al. 2022 (arXiv:2210.10760) find the coefficients of over-optimisation about linear in ln N of the reward model. Both are
fitted, and the one that is closer to the gains is preferred; over a ladder of less than a decade they can seldom be told apart.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.laws.errors import TableError
from analysis.laws.intervals import clustered
from analysis.laws.intervals.clustered import ClusteredFit
from analysis.laws.result import Estimate, finite

FloatArray = npt.NDArray[np.float64]

FORMS = {"power": "gain = gain_0·(N/N_0)^exponent", "logarithmic": "gain = gain_0 + slope·ln(N/N_0)"}
_SLOPE = {"power": "exponent", "logarithmic": "slope"}
_FEWEST_SIZES = 3


@dataclasses.dataclass(frozen=True)
class GainBySize:
    """A gain that scales with size.

    Attributes:
      form: "power" or "logarithmic".
      reference_size: N_0, parameters.
      gain: gain_0.
      slope: the exponent, or the change of the gain for a factor e of size.
      error: root mean square of measured minus fitted gains.
      rising_p: two-sided p-value of "the gain does not change with size".
      flags: reasons to distrust the numbers.
      solved: the linear fit, of ln gain for the power law.
    """

    form: str
    reference_size: float
    gain: Estimate
    slope: Estimate
    error: float
    rising_p: float
    flags: tuple[str, ...]
    solved: ClusteredFit

    def predict(self, params: npt.ArrayLike, level: float | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The gain at some sizes with the ends of its interval, float64 [Q] each."""
        level = self.gain.level if level is None else level
        x_QxP = _regressors(np.atleast_1d(np.asarray(params, np.float64)), self.reference_size)
        ends_Qx2 = np.array([self.solved.interval(contrast_P, level) for contrast_P in x_QxP])
        value_Qx3 = np.column_stack([x_QxP @ self.solved.theta_P, ends_Qx2])
        return tuple((np.exp(value_Qx3) if self.form == "power" else value_Qx3).T)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "form": FORMS[self.form], "reference_size": self.reference_size, "gain": self.gain.to_json(),
            _SLOPE[self.form]: self.slope.to_json(), "error": finite(self.error), "p_value_of_no_change": finite(self.rising_p),
            "flags": list(self.flags),
        }  # fmt: skip


def fit(frame: pd.DataFrame, level: float = 0.9) -> list[GainBySize]:
    """Fits both forms, the closer one first.

    Args:
      frame: one row a run: `params`, `gain` (gold reward at one KL, that of the initial policy subtracted), optionally `gain_error`, and
        `cluster` where runs are not independent.
      level: of the intervals, which are those of :mod:`analysis.laws.intervals.clustered`.

    Raises:
      TableError: columns are missing, a value is not finite, or there are fewer than three sizes.
    """
    missing = [name for name in ("params", "gain") if name not in frame]
    if missing:
        raise TableError(f"the table lacks {', '.join(missing)}", "add the columns params and gain")
    params_K, gain_K = (frame[name].to_numpy(np.float64) for name in ("params", "gain"))
    if not (np.isfinite(gain_K).all() and (params_K > 0).all()):
        raise TableError("a gain is not finite or a size not positive", "leave out the runs that did not reach this KL")
    sizes = len(np.unique(params_K))
    if sizes < _FEWEST_SIZES:
        raise TableError(f"{sizes} sizes", f"a law over size needs at least {_FEWEST_SIZES}")
    error_K = frame["gain_error"].to_numpy(np.float64) if "gain_error" in frame else np.ones(len(frame))
    if not (error_K > 0).all():
        raise TableError("gain_error is not positive everywhere", "leave the column out, or correct it")
    cluster_K = frame["cluster"] if "cluster" in frame else np.arange(len(frame))
    found = [_fit("logarithmic", params_K, gain_K, error_K, cluster_K, level)]
    if (gain_K > 0).all():
        found.append(_fit("power", params_K, gain_K, error_K, cluster_K, level))
    return sorted(found, key=lambda law: law.error)


def _fit(
    form: str, params_K: FloatArray, gain_K: FloatArray, error_K: FloatArray, cluster_K: npt.ArrayLike, level: float
) -> GainBySize:
    reference = float(np.exp(np.log(np.unique(params_K)).mean()))
    is_power = form == "power"
    response_K, spread_K = (np.log(gain_K), error_K / gain_K) if is_power else (gain_K, error_K)
    x_KxP = _regressors(params_K, reference)
    solved = clustered.fit(x_KxP, response_K, 1 / spread_K**2, cluster_K)
    fitted_K = x_KxP @ solved.theta_P
    error = float(np.sqrt(np.mean((gain_K - (np.exp(fitted_K) if is_power else fitted_K)) ** 2)))
    level_P, slope_P = np.eye(2)
    words = f"t interval, CR2 over {solved.clusters} runs"
    at_reference = (solved.theta_P[0], *solved.interval(level_P, level))
    value, low, high = np.exp(at_reference) if is_power else at_reference
    return GainBySize(
        form, reference, Estimate(float(value), (float(low), float(high)), level, words),
        Estimate(float(solved.theta_P[1]), solved.interval(slope_P, level), level, words), error, _p_value(solved, slope_P),
        _flags(params_K), solved,
    )  # fmt: skip


def _p_value(solved: ClusteredFit, contrast_P: FloatArray) -> float:
    error = solved.error(contrast_P)
    return float(2 * stats.t.sf(abs(contrast_P @ solved.theta_P) / error, solved.degrees(contrast_P))) if error else 0.0


def _regressors(params_K: FloatArray, reference: float) -> FloatArray:
    return np.stack([np.ones(len(params_K)), np.log(params_K / reference)], axis=1)


def _flags(params_K: FloatArray) -> tuple[str, ...]:
    ratio = float(params_K.max() / params_K.min())
    return (f"the sizes span a factor of {ratio:.3g} only: the form is a guess beyond them",) if ratio < 10 else ()
