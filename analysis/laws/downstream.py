"""From loss to a downstream accuracy, chained behind a law of the loss.

First L(N, D), then accuracy = f(L): the sigmoid of :mod:`analysis.laws.forms.sigmoid`, fitted by the binomial likelihood of
the questions answered. A forecast's interval carries both laws' replicates and the binomial spread of the questions to come.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting import solve, starts
from analysis.laws.fitting.objectives import binomial
from analysis.laws.forms import sigmoid
from analysis.laws.intervals import bootstrap
from analysis.laws.result import NotFitted, Result

FloatArray = npt.NDArray[np.float64]

_FEWEST = 6
_FLAT = 3.0


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A predicted accuracy with its interval at `level`."""

    value: float
    interval: tuple[float, float]
    level: float


def fit(
    frame: pd.DataFrame, replicates: int = 200, level: float = 0.9, rng: np.random.Generator | None = None
) -> Result | NotFitted:
    """Fits the sigmoid to runs that were evaluated on one task.

    Args:
      frame: rows with `loss` (nats per token), `accuracy` (0 to 1) and `trials` (questions asked); `run_id` where known.
      replicates: parametric ones: questions are answered again at the fitted accuracies.
      level: coverage of the intervals.
      rng: of the replicates.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    known = frame[np.isfinite(frame[["loss", "accuracy", "trials"]].to_numpy(np.float64)).all(axis=1)]
    form = sigmoid.FORM
    if len(known) < _FEWEST:
        return NotFitted(
            form.name,
            form.equation,
            form.source,
            f"{len(known)} runs have a loss, an accuracy and its trials; {_FEWEST} are needed",
        )
    x_KxV = np.log(known[["loss"]].to_numpy(np.float64))
    accuracy_K, trials_K = (known[name].to_numpy(np.float64) for name in ("accuracy", "trials"))
    objective = binomial()
    # Starts are compared as logits, half a question away from none and all.
    near_K = (accuracy_K * trials_K + 0.5) / (trials_K + 1)
    begin = starts.starts(form, x_KxV, np.log(near_K / (1 - near_K)), trials_K)
    optimum = solve.solve(form, x_KxV, accuracy_K, trials_K, objective, begin)
    chance_K = sigmoid.accuracy(tuple(optimum.theta), np.exp(x_KxV[:, 0]), np)
    again_RxK = rng.binomial(trials_K.astype(np.int64), chance_K, (replicates, len(known))) / trials_K
    theta_RxP = np.zeros((0, len(optimum.theta)))
    if replicates:
        theta_RxP = bootstrap.refit_to(form, x_KxV, again_RxK, trials_K[None], optimum, objective).theta
    fitted = fitting.FormFit(
        optimum.theta, theta_RxP, optimum.objective, optimum.certificate,
        (*optimum.certificate.objections, *_flags(accuracy_K, trials_K, optimum.theta)), accuracy_K - chance_K,
        f"percentile of {replicates} parametric replicates: questions answered again at the fitted accuracies",
    )  # fmt: skip
    run_ids = tuple(known["run_id"].astype(str)) if "run_id" in known else ()
    return fitting.result_of(fitted, form, run_ids=run_ids, level=level, objective=objective)


def _flags(accuracy_K: FloatArray, trials_K: FloatArray, theta_P: FloatArray) -> tuple[str, ...]:
    """Says when no run is clearly above chance: the sigmoid then starts beyond the data."""
    chance = theta_P[2]
    above = accuracy_K - chance > _FLAT * np.sqrt(np.maximum(chance * (1 - chance), 1e-6) / trials_K)
    if above.any():
        return ()
    return ("no run is above chance by three standard errors: where the task begins to be solved was not seen",)


def forecast(
    law: Result,
    task: Result,
    *,
    params: float,
    tokens: float,
    trials: int,
    rng: np.random.Generator,
    level: float = 0.9,
) -> Accuracy:
    """The accuracy of a run to come: the loss law's replicates through the sigmoid's, and the questions' binomial spread.

    Args:
      law: of the loss, with replicates.
      task: :func:`fit`.
      params, tokens: of the run.
      trials: questions that it will be asked.
      rng: of the draws.
      level: nominal coverage.
    """
    centre = sigmoid.predict(task.theta[None], law.log_loss(params, tokens)[None])[0, 0]
    losses_R = law.log_loss_replicates(params, tokens)[:, 0] if len(law.replicates) else law.log_loss(params, tokens)
    draws = 4000
    log_loss = rng.choice(losses_R, draws)[:, None]
    theta = task.replicates if len(task.replicates) else task.theta[None]
    chance = sigmoid.predict(theta[rng.integers(0, len(theta), draws)], log_loss)[:, 0]
    low, high = np.quantile(rng.binomial(trials, np.clip(chance, 0, 1)) / trials, [(1 - level) / 2, (1 + level) / 2])
    return Accuracy(float(centre), (float(low), float(high)), level)
