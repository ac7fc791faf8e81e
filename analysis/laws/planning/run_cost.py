"""What a run costs here: device seconds as the records measured them, and FLOPs where no times are recorded.

6ND is no price: small models keep a device half idle, and every run has an overhead. The model is

    seconds = overhead + scale · N^exponent · D,

fitted to logarithms; exponent 1 would be a machine that is equally busy at every size. A run is priced as trained alone: a new branch of an
existing trunk would be cheaper, but a trunk's identity holds its branches, so the suite trains a new trunk for it.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize

from analysis.laws.optima.optimal import Cost, cost_of
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

_FEWEST_TIMES = 4
_SAME_SIZE = 0.02
# A run that was held up (a shared machine, a pause) counts by its distance, not by the square of it, beyond this ratio.
_USUAL_RATIO = 0.1


@dataclasses.dataclass(frozen=True)
class RunCost:
    """The price of a run.

    Attributes:
      unit: `s` (device seconds) or `FLOPs`.
      overhead: of every run, in that unit.
      log_scale, exponent: of N^exponent · D; unused for FLOPs.
      log_flops_per_token: ln(FLOPs of a token) as a function of ln N; the price where `unit` is FLOPs.
      misfit: root mean square of ln(recorded / modelled) seconds.
      runs: whose times were read.
    """

    unit: str
    overhead: float
    log_scale: float
    exponent: float
    log_flops_per_token: Cost
    misfit: float = 0.0
    runs: int = 0

    def __call__(self, log_params: FloatArray, log_tokens: FloatArray) -> FloatArray:
        """Price of runs at ln N and ln D."""
        if self.unit == "FLOPs":
            return np.exp(self.log_flops_per_token(log_params) + log_tokens)
        return self.overhead + np.exp(self.log_scale + self.exponent * log_params + log_tokens)

    def in_words(self) -> str:
        """Where the price comes from."""
        if self.unit == "FLOPs":
            return "no times are recorded, so a run costs its FLOPs, as if the device were equally busy at every size and a run had no overhead"
        return (
            f"a run costs {self.overhead:.3g} s + {np.exp(self.log_scale):.3g} s · N^{self.exponent:.3g} · D, fitted to the device seconds of "
            f"{self.runs} runs, which it misses by {100 * self.misfit:.0f}%; as trained alone"
        )


def flops_price(table: RunsTable) -> RunCost:
    """FLOPs by the table's convention."""
    return RunCost("FLOPs", 0.0, 0.0, 1.0, cost_of(table))


def price_of(table: RunsTable) -> RunCost:
    """The price of a run on the machine of the records: in seconds where at least four runs of two sizes are timed, else in FLOPs."""
    times = timed_steps(table)
    log_n, log_d, seconds = (times[name].to_numpy(np.float64) for name in ("log_params", "log_tokens", "seconds"))
    if len(times) < _FEWEST_TIMES or np.ptp(log_n) < _SAME_SIZE:
        return flops_price(table)
    return fit_seconds(log_n, log_d, seconds, cost_of(table))


def fit_seconds(
    log_params: FloatArray, log_tokens: FloatArray, seconds: FloatArray, log_flops_per_token: Cost
) -> RunCost:
    """Fits the three numbers of the model.

    Args:
      log_params, log_tokens: ln N and ln D of what was timed, float64[K].
      seconds: device seconds, positive.
      log_flops_per_token: kept beside it.
    """
    target, centre = np.log(seconds), float(np.mean(log_params))
    start = [np.log(0.1 * seconds.min()), float(np.mean(target - log_tokens)), 1.0]

    def modelled(numbers: FloatArray) -> FloatArray:
        log_overhead, level, exponent = numbers
        return np.logaddexp(log_overhead, level + exponent * (log_params - centre) + log_tokens)

    # An overhead of nothing lies at minus infinity; a ten-thousandth of the shortest run is as good.
    lowest = np.log(1e-4 * seconds.min())
    found = optimize.least_squares(
        lambda numbers: modelled(numbers) - target, start, loss="soft_l1", f_scale=_USUAL_RATIO, x_scale=[1.0, 0.1, 0.1],
        bounds=([lowest, -np.inf, 0.0], [np.log(seconds.max()), np.inf, 3.0]), xtol=1e-12, ftol=1e-12, gtol=1e-12,
    )  # fmt: skip
    log_overhead, level, exponent = found.x
    misfit = float(np.sqrt(np.mean((modelled(found.x) - target) ** 2)))
    return RunCost(
        "s", float(np.exp(log_overhead)), float(level - exponent * centre), float(exponent), log_flops_per_token, misfit, len(seconds)
    )  # fmt: skip


def timed_steps(table: RunsTable) -> pd.DataFrame:
    """ln N, ln D and device seconds of what each finished run of the table computed itself: a branch's own steps, a whole trunk's."""
    raw, counted = table.raw, table.conventions
    if "device_seconds" not in raw.columns:
        return pd.DataFrame({"log_params": [], "log_tokens": [], "seconds": []})
    flops = raw[f"flops_{counted.flops}"].astype(np.float64)
    own_flops = raw.get(f"own_flops_{counted.flops}", pd.Series(np.nan, raw.index)).astype(np.float64)
    # A run that says nothing of its own FLOPs computed all of them, unless it left a trunk.
    own_flops = own_flops.where(own_flops.notna() | (raw["kind"] == "branch"), flops)
    times = pd.DataFrame(
        {
            "params": raw[f"params_{counted.parameters}"], "tokens": raw["tokens"] * own_flops / flops,
            "seconds": raw["device_seconds"],
        }
    ).astype(np.float64)[raw["status"] == "completed"]  # fmt: skip
    times = times[(np.isfinite(times) & (times > 0)).all(axis=1)]
    return pd.DataFrame(
        {"log_params": np.log(times["params"]), "log_tokens": np.log(times["tokens"]), "seconds": times["seconds"]}
    )
