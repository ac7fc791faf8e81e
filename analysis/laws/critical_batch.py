"""The critical batch size from iso-loss curves, and the least steps and compute that a run would have needed.

At one loss, runs of batch size B trade steps S against tokens E = B·S along a hyperbola,

    (S/S_min − 1)·(E/E_min − 1) = 1,   B_crit = E_min/S_min                    (McCandlish et al. 2018, arXiv:1812.06162, eq. 5.1)

and B_crit falls with the loss as B*·L^(−1/alpha_B) (Kaplan et al. 2020, arXiv:2001.08361, eq. 1.4). From B_crit(L) follow
S_min = S/(1 + B_crit/B) and C_min = C/(1 + B/B_crit) of every run (eq. 5.4 and 5.5), which the laws L(N, S_min) and L(C_min)
are fitted to.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws.result import NotFitted, Result, estimate
from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

NAME = "critical_batch"
EQUATION = "B_crit(L) = B*/L^(1/alpha_B) from (S/S_min - 1)(E/E_min - 1) = 1 at each loss"
SOURCE = "Kaplan et al. 2020 (arXiv:2001.08361), eq. 1.4; McCandlish et al. 2018 (arXiv:1812.06162)"

_BATCHES = 3
_LEVELS = 8
_LEVELS_NEEDED = 3
_SAME_BATCH = 0.05
_REPLICATES = 400


@dataclasses.dataclass(frozen=True)
class Hyperbola:
    """One iso-loss curve.

    Attributes:
      loss: nats per token.
      steps, tokens: S and E of every batch size that reached the loss, float64[B].
      minimum_steps, minimum_tokens: S_min and E_min.
      misfit: root mean square of relative residuals of E.
    """

    loss: float
    steps: FloatArray
    tokens: FloatArray
    minimum_steps: float
    minimum_tokens: float
    misfit: float

    @property
    def critical_batch(self) -> float:
        """B_crit in tokens."""
        return self.minimum_tokens / self.minimum_steps


def at(law: Result, loss: FloatArray) -> FloatArray:
    """B_crit in tokens at losses in nats per token, by a Result of :func:`fit`."""
    return np.exp(law.log_loss(loss=loss))


def hyperbola(loss: float, steps_B: FloatArray, tokens_B: FloatArray) -> Hyperbola:
    """The iso-loss hyperbola, which is a straight line in reciprocals: 1 = S_min/S + E_min/E.

    Least squares of relative errors of the line's left side, S_min and E_min kept positive.

    Raises:
      ValueError: the points do not turn: more steps never cost fewer tokens.
    """
    basis_Bx2 = np.stack([1 / steps_B, 1 / tokens_B], axis=1)
    scale_2 = basis_Bx2.mean(axis=0)
    solution, *_ = np.linalg.lstsq(basis_Bx2 / scale_2, np.ones(len(steps_B)), rcond=None)
    minimum_steps, minimum_tokens = solution / scale_2
    if minimum_steps <= 0 or minimum_tokens <= 0:
        raise ValueError("the batch sizes do not trade steps against tokens at this loss")
    residual = basis_Bx2 @ (minimum_steps, minimum_tokens) - 1
    return Hyperbola(
        loss, steps_B, tokens_B, float(minimum_steps), float(minimum_tokens), float(np.sqrt(np.mean(residual**2)))
    )


def curves_of(frame: pd.DataFrame) -> list[Hyperbola]:
    """Iso-loss curves of one size: rows with `tokens`, `batch_tokens` and `loss`, several token counts a batch size."""
    batch_K = grouped(np.log(frame["batch_tokens"].to_numpy(np.float64)), _SAME_BATCH)
    lines = []
    for batch in np.unique(batch_K):
        rows = frame[batch_K == batch].sort_values("tokens")
        loss = np.minimum.accumulate(rows["loss"].to_numpy(np.float64))
        if len(np.unique(loss)) > 1:
            # Falling losses, so that tokens are a function of the loss.
            keep = np.concatenate([[True], np.diff(loss) < 0])
            lines.append(
                (
                    float(rows["batch_tokens"].mean()),
                    loss[keep][::-1],
                    np.log(rows["tokens"].to_numpy(np.float64))[keep][::-1],
                )
            )
    if len(lines) < _BATCHES:
        return []
    # Losses that at least three batch sizes reach between their first and last reading.
    low = np.sort([loss[0] for _, loss, _ in lines])[_BATCHES - 1]
    high = np.sort([loss[-1] for _, loss, _ in lines])[::-1][_BATCHES - 1]
    if not low < high:
        return []
    found = []
    for level in np.geomspace(low, high, _LEVELS + 2)[1:-1]:
        here = [
            (batch, np.exp(np.interp(level, loss, log_tokens)))
            for batch, loss, log_tokens in lines
            if loss[0] <= level <= loss[-1]
        ]
        batches, tokens = np.array(here).T
        if len(here) >= _BATCHES:
            try:
                found.append(hyperbola(float(level), tokens / batches, tokens))
            except ValueError:
                # A level at which the curves cross says nothing of a trade; the fit needs three that do and says how many it has.
                continue
    return found


def fit(frame: pd.DataFrame, level: float = 0.9, rng: np.random.Generator | None = None) -> Result | NotFitted:
    """Fits B_crit(L) to runs of several batch sizes.

    Args:
      frame: rows with `params`, `tokens`, `batch_tokens`, `loss`; sizes are read apart and their levels pooled.
      level: coverage of the intervals, which resample levels.
      rng: of the resampling.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    known = frame[np.isfinite(frame["batch_tokens"].to_numpy(np.float64))] if "batch_tokens" in frame else frame[:0]
    if known.empty:
        return NotFitted(NAME, EQUATION, SOURCE, "no run says its batch size (column batch_tokens)")
    size_K = grouped(np.log(known["params"].to_numpy(np.float64)), 0.02)
    curves = [curve for size in np.unique(size_K) for curve in curves_of(known[size_K == size])]
    if len(curves) < _LEVELS_NEEDED:
        reason = f"{len(curves)} losses were reached by {_BATCHES} batch sizes that trade steps against tokens, and {_LEVELS_NEEDED} are needed"
        return NotFitted(NAME, EQUATION, SOURCE, reason)
    log_loss = np.log([curve.loss for curve in curves])
    log_batch = np.log([curve.critical_batch for curve in curves])
    pick_RxL = np.concatenate([np.arange(len(curves))[None], rng.integers(0, len(curves), (_REPLICATES, len(curves)))])
    slope, intercept = _lines(log_loss[pick_RxL], log_batch[pick_RxL])
    method = f"percentile of {_REPLICATES} resamplings of loss levels"
    flags = [
        f"read from {len(curves)} losses of {len(np.unique(size_K))} sizes; levels of one curve are not independent"
    ]
    if slope[0] >= 0:
        flags.append("B_crit does not fall with the loss here: these runs do not show Kaplan's law")
    # theta: ln B* and 1/alpha_B.
    theta = np.stack([intercept, -slope], axis=1)
    readings = {"B_star": np.exp(intercept), "alpha_B": -1 / slope}
    return Result(
        name=NAME, form=EQUATION, source=SOURCE,
        parameters={name: estimate(column[0], column[1:], level, method) for name, column in readings.items()},
        derived={}, objective=None, objective_name="least squares of ln B_crit over ln L", certificate=None, flags=tuple(flags),
        run_ids=tuple(known["run_id"].astype(str)) if "run_id" in known else (), theta=theta[0], replicates=theta[1:],
        predictor=lambda theta_RxP, logs: theta_RxP[:, :1] - theta_RxP[:, 1:] * logs["loss"][None, :], level=level,
        details={"curves": tuple(curves)},
    )  # fmt: skip


def _lines(x_RxL: FloatArray, y_RxL: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slopes and intercepts of every row by least squares; NaN where a row has one x only."""
    dx, dy = x_RxL - x_RxL.mean(axis=1, keepdims=True), y_RxL - y_RxL.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (dx * dy).sum(axis=1) / (dx * dx).sum(axis=1)
    slope = np.where(np.isfinite(slope), slope, np.nan)
    return slope, y_RxL.mean(axis=1) - slope * x_RxL.mean(axis=1)


def corrected(table: RunsTable, law: Result) -> RunsTable:
    """The table with `minimum_steps` and `minimum_flops` of every run (eq. 5.4 and 5.5).

    Args:
      table: runs with `batch_tokens`.
      law: of the critical batch size.
    """
    frame = table.frame
    batch, critical = frame["batch_tokens"].to_numpy(np.float64), at(law, frame["loss"].to_numpy(np.float64))
    steps = frame["tokens"].to_numpy(np.float64) / batch
    added = frame.assign(
        minimum_steps=steps / (1 + critical / batch), minimum_flops=frame["flops"] / (1 + batch / critical)
    )
    return dataclasses.replace(table, frame=added)
