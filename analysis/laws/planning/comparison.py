"""Planners against each other by simulation: who finds the optimum at the target best for a tenth of the grid's cost?

    python -m analysis.laws.planning.comparison [--published=DIR] [--repetitions=6] [--share=0.1]

Every method starts from the same six cheap runs, sees only the losses of the runs it chose, and spends what is left of a tenth of
the cost of all runs, in rounds of at most three. What it found is read in the same way for all of them: from the suite's own fit (sum
of Huber losses), and from the posterior (the choice of least expected regret).

Repetitions differ in the noise of the losses (grids), in the runs that are on offer (nine tenths of a table's, so that a published table
gives more than one replay), and in the first six.
"""

import argparse
import dataclasses
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import HUBER
from analysis.laws.forms.chinchilla import FORM
from analysis.laws.optima import optimal
from analysis.laws.planning import pools
from analysis.laws.planning.decision import Decision
from analysis.laws.planning.methods import METHODS, ROUND, Indices, State
from analysis.laws.planning.pools import Pool
from analysis.laws.planning.posterior import Posterior, posterior

FloatArray = npt.NDArray[np.float64]

SHARE = 0.1
_FIRST, _FIRST_SHARE = 6, 0.2
_OFFERED = 0.9
# A law that misses half of the losses by more is none of this table.
MISFIT = 0.02
_MEASURES = ("fit_error", "fit_regret", "error", "regret")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a method ended on one pool, once.

    Attributes:
      pool, method: names.
      repetition: equal for all methods that had the same runs on offer.
      error: ln N chosen − ln N_opt of the truth, by the posterior.
      regret: of that choice under the truth, nats per token.
      fit_error, fit_regret: the same for the optimum of the suite's fit.
      runs: made, the first six included.
    """

    pool: str
    method: str
    repetition: int
    error: float
    regret: float
    fit_error: float
    fit_regret: float
    runs: int


def replay(pool: Pool, method: str, repetition: int, share: float = SHARE) -> Outcome:
    """One method on one pool.

    Args:
      pool: all runs.
      method: a key of :data:`METHODS`.
      repetition: seeds the noise, the offer and the first runs, equally for all methods.
      share: of the cost of all runs that may be spent.
    """
    rng = np.random.default_rng(repetition)
    noisy = dataclasses.replace(pool, log_loss=pool.log_loss + pool.noise * rng.standard_normal(len(pool.cost)))
    budget = share * float(pool.cost.sum())
    offer = noisy.rows(np.sort(rng.permutation(len(pool.cost))[: round(_OFFERED * len(pool.cost))]))
    # The target is that of all runs, whatever is on offer.
    decision = pool.decision
    bought = first_runs(offer, _FIRST_SHARE * budget, rng)
    draws, own = np.random.default_rng((repetition, 1)), np.random.default_rng((repetition, 2))
    while True:
        seen = _posterior(offer, bought, decision, draws)
        left = budget - float(offer.cost[bought].sum())
        chosen = METHODS[method](State(offer, decision, bought, left, seen, own))
        if not chosen:
            break
        bought = [*bought, *chosen]
        if len(chosen) > ROUND:  # It does not look at losses, so it has chosen all at once.
            seen = _posterior(offer, bought, decision, draws)
            break
    regret_Q = decision.regret(pool.truth)[0]
    best = float(optimal.optimum(pool.theta[None], decision.log_flops).log_params[0])
    chosen_n, fitted_n = decision.log_params[decision.best(seen)[0]], _fitted(offer, bought, decision)
    by_fit = int(np.argmin(np.abs(decision.log_params - fitted_n)))
    return Outcome(
        pool.name, method, repetition, float(chosen_n - best), float(regret_Q[decision.best(seen)[0]]), fitted_n - best,
        float(regret_Q[by_fit]), len(bought),
    )  # fmt: skip


def first_runs(pool: Pool, budget: float, rng: np.random.Generator) -> Indices:
    """Six runs within a budget, spread over the sizes and tokens of the cheaper half: each as far as may be from those before it."""
    points = np.stack([pool.log_params, pool.log_tokens], axis=1)
    points = points / points.std(axis=0)
    near = np.argsort(pool.cost, kind="stable")
    near = near[: max(_FIRST, int(np.searchsorted(pool.cost[near], budget / _FIRST, side="right")))]
    chosen = [int(rng.choice(near))]
    while len(chosen) < _FIRST:
        away = np.linalg.norm(points[near][:, None] - points[chosen], axis=2).min(axis=1)
        chosen.append(int(near[np.argmax(away)]))
    return chosen


def _posterior(pool: Pool, bought: Indices, decision: Decision, rng: np.random.Generator) -> Posterior:
    spread = decision.spread(pool.log_flops[bought])
    return posterior(pool.log_params[bought], pool.log_tokens[bought], pool.log_loss[bought], rng, spread=spread)


def _fitted(pool: Pool, bought: Indices, decision: Decision) -> float:
    """ln N_opt by the suite's fit, held to the choices."""
    x = np.stack([pool.log_params[bought], pool.log_tokens[bought]], axis=1)
    centre = x.mean(axis=0)
    y = pool.log_loss[bought]
    found = solve.solve(FORM, x - centre, y, np.ones(len(y)), HUBER)
    theta = FORM.uncentred(found.theta[None], centre)
    log_n = float(optimal.optimum(theta, decision.log_flops).log_params[0])
    return float(np.clip(log_n, decision.log_params[0], decision.log_params[-1]))


def replays(chosen: Iterable[Pool], repetitions: int, share: float = SHARE) -> Iterator[Outcome]:
    """Every method on every pool, as often as asked for; repetition by repetition."""
    for pool in chosen:
        for repetition in range(repetitions):
            for method in METHODS:
                yield replay(pool, method, repetition, share)


def table_of(outcomes: list[Outcome]) -> pd.DataFrame:
    """Per pool and method: mean squared errors of ln N_opt, mean regrets, their standard errors, and runs made."""
    frame = pd.DataFrame([dataclasses.asdict(item) for item in outcomes])
    for name in ("error", "fit_error"):
        frame[name] = frame[name] ** 2
    groups = frame.groupby(["pool", "method"], sort=False)[list(_MEASURES)]
    means, errors = groups.mean(), groups.sem().add_suffix("_se")
    return pd.concat([means, errors, frame.groupby(["pool", "method"], sort=False)["runs"].mean()], axis=1)


def pooled_ratios(table: pd.DataFrame, measure: str) -> pd.Series:
    """Geometric mean over pools of each method's measure over the planner's; above one, the planner is better.

    The mean over pools of arithmetic means would be that of the worst pool.
    """
    wide = table[measure].unstack("method")
    # A choice on the nearest point of the grid has no regret, and a ratio needs some: a thousandth of the pool's mean.
    wide = wide.clip(lower=1e-3 * wide.mean(axis=1), axis=0)
    return np.exp(np.log(wide.div(wide["planner"], axis=0)).mean()).reindex(list(METHODS))


def in_words(table: pd.DataFrame, misfit: dict[str, float]) -> Iterator[str]:
    """The comparison, line by line."""
    titles = {
        "fit_error": "mean squared error of ln N_opt, by the suite's fit", "fit_regret": "regret in mnats per token, by the suite's fit",
        "error": "mean squared error of ln N_opt, by the posterior", "regret": "regret in mnats per token, by the posterior",
    }  # fmt: skip
    for measure, title in titles.items():
        yield f"\n{title} (± standard error)"
        yield f"{'':42}" + "".join(f"{method:>18}" for method in METHODS)
        scale = 1e3 if "regret" in measure else 1.0
        for pool in table.index.unique("pool"):
            values, errors = scale * table.loc[pool, measure], scale * table.loc[pool, f"{measure}_se"]
            shown = "".join(f"{f'{values[method]:.3g} ± {errors[method]:.1g}':>18}" for method in METHODS)
            yield f"{pool + ('  (*)' if misfit[pool] > MISFIT else ''):42}{shown}"
        fitted = [pool for pool in table.index.unique("pool") if misfit[pool] <= MISFIT]
        ratios = pooled_ratios(table.loc[fitted], measure)
        yield f"{'over that of the planner, geometric mean':42}" + "".join(
            f"{ratios[method]:>18.2f}" for method in METHODS
        )
    if any(value > MISFIT for value in misfit.values()):
        yield f"\n(*) the law misses half of this table's losses by more than {100 * MISFIT:.0f}%, so it has no truth to find; not in the means"


def main() -> None:
    """Prints the comparison, with progress on standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--published", type=pathlib.Path, help="directory of the published tables; without it, known laws only"
    )
    parser.add_argument("--repetitions", type=int, default=6)
    parser.add_argument("--share", type=float, default=SHARE, help="of the cost of all runs")
    given = parser.parse_args()
    started = time.monotonic()
    sets = [("known laws", [pools.grid_pool(grid) for grid in pools.GRIDS])]
    if given.published:
        try:
            sets.append(("published tables", pools.published_pools(given.published)))
        except (TableError, OSError) as error:
            sys.exit(
                f"error: {given.published} is not read: {error}. Remedy: name the directory that holds the tables by --published."
            )
    for title, chosen in sets:
        outcomes = []
        for outcome in replays(chosen, given.repetitions, given.share):
            outcomes.append(outcome)
            if outcome.method == list(METHODS)[-1]:
                print(
                    f"{time.monotonic() - started:5.0f} s  {outcome.pool}, repetition {outcome.repetition + 1}",
                    file=sys.stderr,
                    flush=True,
                )
        print(f"\n{title}: {given.repetitions} repetitions, {100 * given.share:.0f}% of the cost of all runs")
        print("\n".join(in_words(table_of(outcomes), {pool.name: pool.misfit for pool in chosen})))


if __name__ == "__main__":
    main()
