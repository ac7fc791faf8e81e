"""Whether a running job is already decided: its final loss is known, or finishing it cannot move the choice that it is made for.

The forecast joins two independent views of the final loss, by their precisions:

- the law's, from the posterior's draws at the run's N and D with the noise of a run;
- the run's own learning curve: its training loss over a last short window, carried to the end by the law's fall from here to there, and by how
  much more or less finished runs fell from the same share of their horizon. The second part holds what the law does not know: the decay of the
  learning rate, and the step from training loss to the held-out loss. Its spread over finished runs is the curve's error.

A job is decided if one of three holds: the forecast is as good as a run (its standard deviation is at most that of runs that differ in
their seed alone, so another seed would say as much); or a loss that it was to beat is surely missed or beaten; or what finishing adds to
what the curve has shown lowers the expected regret of the choice at the target by less than a hundredth.
"""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.laws.planning import acquisition
from analysis.laws.planning.decision import Decision
from analysis.laws.planning.posterior import Posterior

FloatArray = npt.NDArray[np.float64]

# Share of the horizon over which the training loss is averaged.
_WINDOW = 0.04
_FEWEST_FINISHED = 4
_SURE = 0.99
_IDLE = 0.01


@dataclasses.dataclass(frozen=True)
class Job:
    """A run with its learning curve so far.

    Attributes:
      name: for readers.
      params: N, by the table's convention.
      horizon: D, tokens at which it ends.
      tokens: seen at each row, ascending, float64[T].
      loss: training loss of each row, nats per token, float64[T].
      tokens_per_second: of late.
    """

    name: str
    params: float
    horizon: float
    tokens: FloatArray
    loss: FloatArray
    tokens_per_second: float

    @property
    def progress(self) -> float:
        """Share of the horizon that was seen."""
        return float(self.tokens[-1] / self.horizon) if len(self.tokens) else 0.0

    def until(self, progress: float) -> "Job":
        """The same job as it was at a share of its horizon."""
        seen = self.tokens <= progress * self.horizon
        return dataclasses.replace(self, tokens=self.tokens[seen], loss=self.loss[seen])

    def log_loss_at(self, progress: float) -> float:
        """ln of the mean training loss over the window that ends at a share of the horizon; NaN where the curve does not cover it."""
        end = progress * self.horizon
        inside = (self.tokens > end - _WINDOW * self.horizon) & (self.tokens <= end * (1 + 1e-9))
        # A curve that begins inside the window (a branch just parted) or that has not come this far says nothing.
        covered = (
            len(self.tokens)
            and self.tokens[0] <= end - 0.5 * _WINDOW * self.horizon
            and self.tokens[-1] >= end * (1 - 1e-2)
        )
        return float(np.log(self.loss[inside].mean())) if covered and inside.any() else math.nan


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run: its job and its final loss on held-out text, nats per token."""

    job: Job
    loss: float


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Of the final loss of a job.

    Attributes:
      log_loss, deviation: mean and standard deviation of ln L.
      curve_deviation: of the learning curve's view alone; infinite without one.
      finished: runs that the curve was held against.
    """

    log_loss: float
    deviation: float
    curve_deviation: float
    finished: int

    @property
    def loss(self) -> float:
        """Nats per token."""
        return math.exp(self.log_loss)

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """Of the final loss, nats per token."""
        reach = float(stats.norm.ppf(0.5 + level / 2)) * self.deviation
        return math.exp(self.log_loss - reach), math.exp(self.log_loss + reach)


def forecast(job: Job, finished: list[Finished], posterior: Posterior, decision: Decision) -> Forecast:
    """What a job's final loss will be.

    Args:
      job: with its curve so far.
      finished: runs of the same recipe, the job itself not among them.
      posterior: of the law, from runs without the job.
      decision: for the noise of a run at its compute.
    """
    law = posterior.log_loss(np.log([job.params]), np.log([job.horizon]))[:, 0]
    law_mean, law_variance = float(law.mean()), float(law.var()) + noise_of(job, posterior, decision) ** 2
    progress = job.progress
    surprises = np.array([_beyond_the_law(run, progress, posterior) for run in finished])
    surprises = surprises[np.isfinite(surprises)]
    here, count = job.log_loss_at(progress), len(surprises)
    if count < _FEWEST_FINISHED or not math.isfinite(here):
        return Forecast(law_mean, math.sqrt(law_variance), math.inf, count)
    curve_mean = here + _fall(job, progress, posterior) + float(surprises.mean())
    # Of a new value, with the spread estimated: Student's variance.
    curve_variance = float(surprises.var(ddof=1)) * (1 + 1 / count) * (count - 1) / (count - 3)
    weight = law_variance / (law_variance + curve_variance)
    return Forecast(
        law_mean + weight * (curve_mean - law_mean),
        math.sqrt(weight * curve_variance),
        math.sqrt(curve_variance),
        count,
    )


def noise_of(job: Job, posterior: Posterior, decision: Decision) -> float:
    """Standard deviation of ln L of such a run around the law that holds at the target."""
    log_n, log_d = np.log([job.params]), np.log([job.horizon])
    return posterior.typical_noise * float(decision.spread(decision.log_cost(log_n) + log_d)[0])


def _fall(job: Job, progress: float, posterior: Posterior) -> float:
    """Change of ln L by the law from here to the end."""
    log_n, log_d = np.log([job.params] * 2), np.log([progress * job.horizon, job.horizon])
    here, end = posterior.log_loss(log_n, log_d).mean(axis=0)
    return float(end - here)


def _beyond_the_law(run: Finished, progress: float, posterior: Posterior) -> float:
    """How much more ln L changed from here to the end of a finished run than the law says; NaN where its curve does not tell."""
    here = run.job.log_loss_at(progress)
    return math.log(run.loss) - here - _fall(run.job, progress, posterior) if math.isfinite(here) else math.nan


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a job is decided.

    Attributes:
      job: as it stands.
      forecast: of its final loss.
      gain: what finishing it takes off the expected regret at the target, as a share of it.
      reasons: why it is decided, in words; empty while it is not.
    """

    job: Job
    forecast: Forecast
    gain: float
    reasons: tuple[str, ...]

    @property
    def decided(self) -> bool:
        """Whether to stop."""
        return bool(self.reasons)

    @property
    def remaining_seconds(self) -> float:
        """What stopping saves."""
        return max(0.0, 1.0 - self.job.progress) * self.job.horizon / self.job.tokens_per_second

    def in_words(self) -> str:
        """One line."""
        low, high = self.forecast.interval()
        head = f"{self.job.name}: {100 * self.job.progress:.0f}% done, final loss {self.forecast.loss:.3f} [{low:.3f}, {high:.3f}]"
        if not self.decided:
            return f"{head}; not decided: finishing it is worth {100 * self.gain:.1f}% of the regret, {self.remaining_seconds:.0f} s left"
        return f"{head}; decided, stopping saves {self.remaining_seconds:.0f} s: {'; '.join(self.reasons)}"


def decided(
    job: Job,
    finished: list[Finished],
    posterior: Posterior,
    decision: Decision,
    seed_noise: float | None = None,
    threshold: float | None = None,
) -> Verdict:
    """Judges a running job.

    Args:
      job: with its curve so far.
      finished: runs of the same recipe, the job itself not among them.
      posterior: of the law, from runs without the job.
      decision: what the runs are for.
      seed_noise: standard deviation of ln L between runs that differ in their seed alone; None takes the posterior's noise.
      threshold: a loss in nats per token that the job was to beat; None without one.
    """
    seen = forecast(job, finished, posterior, decision)
    gain = _gain_of_finishing(job, seen.curve_deviation, posterior, decision)
    seed_noise = posterior.typical_noise if seed_noise is None else seed_noise
    reasons = []
    if math.isfinite(seen.curve_deviation):
        if seen.deviation <= seed_noise:
            reasons.append(
                f"its final loss is known to {100 * seen.deviation:.2g}%, and seeds differ by {100 * seed_noise:.2g}%"
            )
        if gain < _IDLE:
            reasons.append(f"finishing it lowers the expected regret at the target by {100 * gain:.2g}%")
    if threshold is not None:
        beats = float(stats.norm.cdf((math.log(threshold) - seen.log_loss) / seen.deviation))
        if max(beats, 1 - beats) >= _SURE:
            reasons.append(
                f"it {'beats' if beats > 0.5 else 'misses'} {threshold:g} with a probability of {max(beats, 1 - beats):.3f}"
            )
    return Verdict(job, seen, gain, tuple(reasons))


def _gain_of_finishing(job: Job, curve_deviation: float, posterior: Posterior, decision: Decision) -> float:
    """Share of the expected regret that the finished run takes off beyond what its curve has shown."""
    view = acquisition.outlook(posterior, decision, np.log([job.params]), np.log([job.horizon]))
    # The curve shows the same loss through its own error on top of the noise of a run.
    noise = noise_of(job, posterior, decision)
    dimmed = noise / math.hypot(noise, curve_deviation)
    partly = dataclasses.replace(view, sight_JxF=view.sight_JxF * dimmed)
    return partly.share_left([0]) - view.share_left([0])
