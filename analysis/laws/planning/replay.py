"""Finished runs as if they were running: when would each have been decided, and how far was its forecast off?"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from analysis.laws.intervals.noise import replicate_noise
from analysis.laws.planning.proposal import learn
from analysis.laws.planning.run_cost import RunCost
from analysis.laws.planning.stopping import Finished, Verdict, decided
from analysis.laws.tables.table import RunsTable

_REPEATS = 2
SHARES = tuple(share / 100 for share in range(5, 100, 5))


def seed_noise(table: RunsTable) -> float | None:
    """Standard deviation of ln L between seeds, where the table holds enough repeated runs to say; None otherwise."""
    found, dof = replicate_noise(table)
    return found if dof >= _REPEATS else None


@dataclasses.dataclass(frozen=True)
class Replayed:
    """How a run would have gone.

    Attributes:
      run: as it ended.
      verdict: the first that decided it, or the last look where none did.
    """

    run: Finished
    verdict: Verdict

    @property
    def error(self) -> float:
        """ln(final loss / forecast) at the verdict."""
        return math.log(self.run.loss) - self.verdict.forecast.log_loss

    @property
    def inside(self) -> bool:
        """Whether the final loss lies in the forecast's 90% interval."""
        low, high = self.verdict.forecast.interval()
        return low <= self.run.loss <= high

    def in_words(self) -> str:
        """One line."""
        seen = self.verdict.forecast
        when = f"decided at {100 * self.verdict.job.progress:.0f}%" if self.verdict.decided else "never decided"
        saved = f", {self.verdict.remaining_seconds:.0f} s saved" if self.verdict.decided else ""
        reason = f" ({self.verdict.reasons[0]})" if self.verdict.decided else ""
        return f"{self.run.job.name}: {when}{saved}; forecast {seen.loss:.3f}, final {self.run.loss:.3f}, {100 * self.error:+.1f}%{reason}"


def replays(
    table: RunsTable,
    finished: dict[str, Finished],
    target_flops: float,
    price: RunCost,
    threshold: float | None = None,
    seed: int = 0,
) -> Iterator[Replayed]:
    """Lets every finished run of the table go again, the others being what is known.

    Args:
      table: the records.
      finished: runs with curves, by run_id; those that are not in the table serve the others only.
      target_flops: as for :func:`analysis.laws.planning.proposal.learn`.
      price: of a run.
      threshold: as for :func:`analysis.laws.planning.stopping.decided`.
      seed: of the draws.
    """
    for run_id in table.frame["run_id"]:
        if run_id not in finished:
            continue
        run = finished[run_id]
        # The other branches of its trunk were made with it and share what it has seen.
        cluster = table.frame.loc[table.frame["run_id"] == run_id, "cluster"].iloc[0]
        others = (table.frame["run_id"] != run_id).to_numpy()
        apart = set(table.frame.loc[table.frame["cluster"] != cluster, "run_id"])
        known = learn(
            dataclasses.replace(table, frame=table.frame[others].reset_index(drop=True)), target_flops, price, seed
        )
        rest = [item for key, item in finished.items() if key in apart or key not in set(table.frame["run_id"])]
        verdict = None
        for share in SHARES:
            job = run.job.until(share)
            if not len(job.tokens) or not math.isfinite(job.log_loss_at(job.progress)):
                continue
            verdict = decided(job, rest, known.posterior, known.decision, seed_noise(table), threshold)
            if verdict.decided:
                break
        if verdict is not None:
            yield Replayed(run, verdict)


def summary(found: list[Replayed]) -> Iterator[str]:
    """What stopping would have saved, and how good the forecasts were."""
    stopped = [item for item in found if item.verdict.decided]
    if not stopped:
        yield f"none of {len(found)} runs would have been decided before its end"
        return
    saved = sum(item.verdict.remaining_seconds for item in stopped)
    # A branch's own steps begin where it left its trunk.
    whole = sum((item.run.job.horizon - item.run.job.tokens[0]) / item.run.job.tokens_per_second for item in found)
    errors = np.array([item.error for item in stopped])
    yield (
        f"{len(stopped)} of {len(found)} runs would have been decided, at {100 * np.median([item.verdict.job.progress for item in stopped]):.0f}% "
        f"of their horizon in the middle; that saves {saved:.0f} of {whole:.0f} s"
    )
    yield (
        f"their final losses were off the forecasts by {100 * np.sqrt(np.mean(errors**2)):.2g}% (root mean square), {100 * np.mean(errors):+.2g}% "
        f"in the mean; {sum(item.inside for item in stopped)} of {len(stopped)} lay in the 90% interval"
    )
