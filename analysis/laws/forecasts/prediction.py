"""The loss of a run that is still to be trained, or was held out: a prediction whose interval means what it says.

Three uncertainties add up in ln L. *Parameters*: the bootstrap replicates of the law. *Noise*: one run on one trunk
(not the sampling error of the held-out text, which all runs share). *Form*: the law may be wrong beyond the data. That
last one is estimated twice and the larger is taken. The nearest rival form is true with probability w, its credibility
by BIC (Kass and Raftery 1995); the forecast stays at the law, so the mean square error about it is w times the square of
how far the two are apart. And in rollouts the law is fitted to the cheapest runs and predicts the dearer ones; errors
beyond what parameters and noise explain are taken to grow in proportion to the distance in ln C.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.laws import parametric
from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import HUBER_DELTA, huber
from analysis.laws.forms.form import evaluate
from analysis.laws.intervals import likelihood
from analysis.laws.intervals.noise import Noise
from analysis.laws.optima import optimal
from analysis.laws.result import Estimate, NotFitted, Result, estimate, finite
from analysis.laws.tables.table import RunsTable, grouped

FloatArray = npt.NDArray[np.float64]

ROLLOUT_FRACTIONS = (0.45, 0.6, 0.75, 0.9)
_FEWEST_TO_FIT = 8
_FAR = 10.0
_NEGLIGIBLE = 1e-4
_FITS_BETTER = 0.5
_LEANING = 1.5


@dataclasses.dataclass(frozen=True)
class Window:
    """One rollout: the law fitted to the cheapest runs, held against the dearer ones.

    Attributes:
      fitted, predicted: numbers of runs.
      flops: the dearest run that was fitted.
      reach: compute of the dearest run that was predicted, over `flops`.
      bias: mean of ln L measured − ln L predicted.
      error: root mean square of the same.
      expected: what noise and the parameters' uncertainty alone would make `error`.
    """

    fitted: int
    predicted: int
    flops: float
    reach: float
    bias: float
    error: float
    expected: float


@dataclasses.dataclass(frozen=True)
class Doubt:
    """Form uncertainty, estimated once for a table.

    Attributes:
      rival: another L(N, D) fitted to the same runs, or None.
      rival_weight: its credibility beside the law, between 0 and 1.
      rollout_slope: standard deviation of ln L per unit of ln(C / largest C fitted).
      rollouts: (ln(C/C_fitted), ln L measured − ln L predicted) of every rollout prediction, float64[M, 2].
      windows: the same, summed up by rollout.
    """

    rival: Result | None
    rival_weight: float
    rollout_slope: float
    rollouts: FloatArray
    windows: tuple[Window, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """What speaks against the law as a whole, in words."""
        return (*self._rival_flags, *self._leaning_flags)

    @property
    def _leaning_flags(self) -> tuple[str, ...]:
        """Rollouts that err to one side: an interval around the law covers that, but its centre is off."""
        biases = [window.bias for window in self.windows if abs(window.bias) > _LEANING * window.expected]
        if not biases or 2 * len(biases) < len(self.windows) or min(biases) < 0 < max(biases):
            return ()
        way = "high" if biases[0] > 0 else "low"
        return (
            f"in rollouts the dearer runs' losses came out too {way} for the law, by more than noise: expect the same of its forecasts",
        )

    @property
    def _rival_flags(self) -> tuple[str, ...]:
        if self.rival is None or self.rival_weight <= _FITS_BETTER:
            return ()
        return (
            f"by BIC the rival form {self.rival.name} describes these runs better (credibility {self.rival_weight:.2f}): the law's "
            "extrapolation is one of two, and its interval reaches the other",
        )

    def to_json(self) -> dict[str, Any]:
        """The entry of laws.json."""
        return {
            "rival": None if self.rival is None else self.rival.name,
            "rival_weight": self.rival_weight,
            "rollout_slope": self.rollout_slope,
            "rollouts": len(self.rollouts),
            "windows": [dataclasses.asdict(window) for window in self.windows],
        }


@dataclasses.dataclass(frozen=True)
class Forecast:
    """A predicted loss in nats per token.

    Attributes:
      params, tokens, flops: of the run.
      value: predicted loss.
      interval: at `level`.
      level: nominal coverage.
      parts: standard deviations of ln L by cause: parameters, noise, form.
      reach: by what factor the run exceeds the largest params, tokens and flops in the fit.
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
class Check:
    """A held-out run against its forecast.

    Attributes:
      run_id: of the held-out run.
      forecast: made without it.
      measured: its loss.
      inside: whether it fell in the interval.
      error_percent: measured over predicted, minus one, in percent.
      sigma: ln(measured / predicted) over the forecast's standard deviation.
      name: of the run, for readers.
      standard_error: of `measured` over held-out documents, in nats per token; NaN where none is recorded.
    """

    run_id: str
    forecast: Forecast
    measured: float
    inside: bool
    error_percent: float
    sigma: float
    name: str = ""
    standard_error: float = float("nan")

    @property
    def title(self) -> str:
        """The run's name with its id; the id alone where it has no other name."""
        return f"{self.name} ({self.run_id})" if self.name and self.name != self.run_id else self.run_id

    @property
    def size_in_words(self) -> str:
        """How the run's size relates to the compute-optimal one, as a clause."""
        ratio, best = self.forecast.size_ratio, self.forecast.optimal_params
        rounded = float(f"{best.value:.3g}")
        between = "" if ratio.interval is None else f" [{ratio.interval[0]:.3g}, {ratio.interval[1]:.3g}]"
        return f"its N is {ratio.value:.3g}{between} times the compute-optimal {rounded:,.0f} that the law predicts for its compute"

    @property
    def error_in_words(self) -> str:
        """How surely the loss was measured, beside the noise of a run, as a clause."""
        noise = f"the noise of a run is {100 * self.forecast.parts['noise']:.2g}%"
        if not np.isfinite(self.standard_error):
            return f"no standard error of the measured loss is recorded; {noise}"
        return (
            f"the measured loss has a standard error of {self.standard_error:.2g} nats per token over held-out documents "
            f"({100 * self.standard_error / self.measured:.2g}%; not in the interval, for all runs read the same text); {noise}"
        )

    def in_words(self) -> str:
        """The verdict, as a sentence."""
        low, high = self.forecast.interval
        return (
            f"{self.title}: predicted {self.forecast.value:.4f} nats per token, {100 * self.forecast.level:.0f}% interval "
            f"[{low:.4f}, {high:.4f}]; measured {self.measured:.4f}: {'INSIDE' if self.inside else 'OUTSIDE'} the interval "
            f"(measured is {self.error_percent:+.2f}% off the prediction, {self.sigma:+.2f} standard deviations), at "
            f"{self.forecast.reach['flops']:.3g} times the largest compute in the fit; {self.size_in_words}; {self.error_in_words}"
        )

    def to_json(self) -> dict[str, Any]:
        """Every field as JSON values."""
        values = {name: getattr(self, name) for name in ("run_id", "name", "measured", "inside", "error_percent")}
        uncertain = {name: finite(getattr(self, name)) for name in ("standard_error", "sigma")}
        return {**values, **uncertain, "forecast": self.forecast.to_json()}


def doubt_of(
    table: RunsTable, law: Result, rival: Result | NotFitted | None, noise: Noise, delta: float = HUBER_DELTA
) -> Doubt:
    """Estimates form uncertainty.

    Args:
      table: the runs of the fit.
      law: the parametric law fitted to them.
      rival: another form fitted to the same runs.
      noise: of a run around the law.
      delta: the Huber threshold of both fits.
    """
    rollouts, variances, windows = _rollouts(table, noise)
    slope = 0.0
    if len(rollouts):
        distance, error = rollouts.T
        excess = float(np.sum((error**2 - variances) * distance**2) / np.sum(distance**4))
        slope = float(np.sqrt(max(0.0, excess)))
    if not isinstance(rival, Result):
        return Doubt(None, 0.0, slope, rollouts, windows)
    return Doubt(rival, credibility(table, law, rival, noise, delta), slope, rollouts, windows)


def credibility(table: RunsTable, law: Result, rival: Result, noise: Noise, delta: float = HUBER_DELTA) -> float:
    """The probability of the rival beside the law by BIC, from the likelihood that both fits maximise.

    Branches that share a trunk's noise repeat each other, so the evidence is that of fewer independent runs: their number
    over the design effect 1 + (runs a trunk − 1)·(share of the variance that a trunk's runs have in common).
    """
    count = len(table)
    shared = (noise.between / noise.total) ** 2 if noise.total > 0 else 0.0
    a_trunk = float(np.mean(np.bincount(table.codes("cluster"))))
    independent = count / (1 + (a_trunk - 1) * shared)
    against = likelihood.deviance(rival.objective, count, delta) - likelihood.deviance(law.objective, count, delta)
    difference = against * independent / count + (len(rival.theta) - len(law.theta)) * np.log(independent)
    return float(1 / (1 + np.exp(np.clip(difference / 2, -50, 50))))


def _rollouts(table: RunsTable, noise: Noise) -> tuple[FloatArray, FloatArray, tuple[Window, ...]]:
    """(distance, error) of rollout predictions [M, 2], the variance that noise and parameters explain [M], and their sums."""
    form, pairs, variances, windows = parametric.FORM, [], [], []
    x_KxV, y_K, log_flops = fitting.variables(form, table), table.log("loss"), table.log("flops")
    for fraction in ROLLOUT_FRACTIONS:
        edge = np.quantile(log_flops, fraction)
        early = log_flops <= edge
        if early.all() or early.sum() < _FEWEST_TO_FIT:
            continue
        if min(len(np.unique(grouped(x_KxV[early, column], 0.02))) for column in (0, 1)) < 3:
            continue
        centred = x_KxV - x_KxV[early].mean(axis=0)
        optimum = solve.solve(form, centred[early], y_K[early], np.ones(int(early.sum())), huber())
        value = evaluate(form, optimum.theta[None], centred)
        jacobian = solve.jacobian(form, optimum.theta, centred)
        information = jacobian[:, early] @ jacobian[:, early].T
        spread = np.einsum("pk,pq,qk->k", jacobian, np.linalg.pinv(information, rcond=1e-12, hermitian=True), jacobian)
        late = ~early
        distance, error = log_flops[late] - log_flops[early].max(), (y_K - value[0])[late]
        variance = noise.total**2 * (1 + spread[late])
        pairs.append(np.stack([distance, error], axis=1))
        variances.append(variance)
        windows.append(Window(
            int(early.sum()), int(late.sum()), float(np.exp(log_flops[early].max())), float(np.exp(distance.max())),
            float(error.mean()), float(np.sqrt(np.mean(error**2))), float(np.sqrt(variance.mean())),
        ))  # fmt: skip
    if not pairs:
        return np.zeros((0, 2)), np.zeros(0), ()
    return np.concatenate(pairs), np.concatenate(variances), tuple(windows)


def forecast(
    law: Result,
    table: RunsTable,
    noise: Noise,
    doubt: Doubt,
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
      noise: of a run around the law.
      doubt: form uncertainty (:func:`doubt_of`).
      params, tokens, flops: of the run, by the table's conventions.
      rng: for the draws of noise and form error.
      level: nominal coverage.
    """
    centre = float(law.log_loss(params, tokens, flops)[0])
    replicates = law.log_loss_replicates(params, tokens, flops)[:, 0] if len(law.replicates) else np.full(400, centre)
    reach = {
        name: value / float(table.frame[name].max())
        for name, value in (("params", params), ("tokens", tokens), ("flops", flops))
    }
    rival_sd = 0.0
    if doubt.rival is not None:
        apart = float(doubt.rival.log_loss(params, tokens, flops)[0]) - centre
        rival_sd = float(np.sqrt(doubt.rival_weight)) * abs(apart)
    rollout_sd = doubt.rollout_slope * max(0.0, float(np.log(reach["flops"])))
    form_sd = max(rival_sd, rollout_sd)
    noise_sd = noise.total
    # Equal chances for every draw of a scale: few degrees of freedom make heavy tails.
    repeats = int(np.ceil(4000 / len(replicates)))
    base = np.tile(replicates, repeats)
    scale = np.sqrt(noise.dof / rng.chisquare(noise.dof, len(base)))
    draws = base + scale * noise_sd * rng.standard_normal(len(base)) + form_sd * rng.standard_normal(len(base))
    low, high = np.exp(np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]))
    parts = {"parameters": float(np.std(replicates)), "noise": noise_sd, "form": form_sd}
    best = _optimal_params(law, table, flops, level)
    return Forecast(
        float(params), float(tokens), float(flops), float(np.exp(centre)), (float(low), float(high)), level, parts, reach,
        best, _ratio(params, best), (*doubt.flags, *_flags(law, reach, rival_sd, rollout_sd, len(doubt.rollouts))),
    )  # fmt: skip


def _optimal_params(law: Result, table: RunsTable, flops: float, level: float) -> Estimate:
    theta = np.concatenate([law.theta[None], law.replicates])
    params_R = np.exp(optimal.optimum(theta, float(np.log(flops)), optimal.cost_of(table)).log_params)
    return estimate(params_R[0], params_R[1:], level, next(iter(law.parameters.values())).method)


def _ratio(params: float, best: Estimate) -> Estimate:
    between = None if best.interval is None else (params / best.interval[1], params / best.interval[0])
    return dataclasses.replace(best, value=params / best.value, interval=between)


def _flags(law: Result, reach: dict[str, float], rival_sd: float, rollout_sd: float, rollouts: int) -> tuple[str, ...]:
    flags = []
    words = {"params": "size", "tokens": "token budget", "flops": "compute"}
    beyond = [f"{value:.3g} times the largest {words[name]}" for name, value in reach.items() if value > 1.001]
    if beyond:
        flags.append("extrapolates to " + ", ".join(beyond) + " in the fit")
    if max(reach.values()) > _FAR:
        flags.append("farther than a factor of ten: the form itself decides, and the interval may be too narrow")
    if not len(law.replicates):
        flags.append("no bootstrap: the interval leaves out the uncertainty of the parameters")
    if not rollouts:
        flags.append("too few runs for rollouts: form uncertainty comes from the rival form alone")
    elif max(rival_sd, rollout_sd) < _NEGLIGIBLE:
        flags.append("neither the rival form nor the rollouts speak against the form, so the interval trusts it")
    elif rollout_sd > rival_sd:
        flags.append(
            "form uncertainty comes from rollouts (fits to the cheapest runs missed the dearer ones by more than noise)"
        )
    else:
        flags.append("form uncertainty comes from the rival form kaplan_nd")
    return tuple(flags)


def check(measured: float, run_id: str, made: Forecast, name: str = "", standard_error: float = float("nan")) -> Check:
    """Holds a forecast against the measured loss (nats per token, as its standard error)."""
    error = float(np.log(measured / made.value))
    spread = float(np.sqrt(sum(part**2 for part in made.parts.values())))
    low, high = made.interval
    return Check(
        run_id, made, float(measured), bool(low <= measured <= high), 100 * (measured / made.value - 1),
        error / spread if spread else float("nan"), name, float(standard_error),
    )  # fmt: skip
