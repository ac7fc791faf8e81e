"""All laws over one table: the story that `analysis.fit_laws` tells."""

import dataclasses
from typing import Any

import numpy as np

from analysis.laws import critical_batch, downstream, kaplan, known_truth, parametric
from analysis.laws.accounting import conventions
from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting import objectives, recipes
from analysis.laws.forecasts import check, forecast, outlook, rollouts
from analysis.laws.forms import broken, data_constrained, over_training, skaling
from analysis.laws.forms import kaplan as kaplan_forms
from analysis.laws.forms.form import Form
from analysis.laws.intervals import bootstrap, noise
from analysis.laws.intervals.bootstrap import PERCENTILE
from analysis.laws.optima import akima, comparison, envelope, hull, inference, isoflop, lowest_size, optimal
from analysis.laws.result import NotFitted, Result
from analysis.laws.tables import cost
from analysis.laws.tables.table import RunsTable

SCHEMA_VERSION = 1

MEAN_HUBER = "mean_huber"
# Hoffmann et al.'s grid has 4,500 starts; a tenth of them says the same in seconds.
_STARTS_OF_RECIPE = 10
_RUNS_PER_PARAMETER = 3
_TASK_REPLICATES = 400
_REPEATED = 1 + 1e-9


@dataclasses.dataclass(frozen=True)
class Options:
    """How to fit.

    Attributes:
      bootstrap: replicates; 0 for no intervals.
      level: nominal coverage of all intervals.
      seed: of the bootstrap.
      objective: what is minimised, a key of :data:`analysis.laws.fitting.objectives.BY_NAME`; or `mean_huber`, Hoffmann et al.'s own
        recipe for the parametric law (:mod:`analysis.laws.fitting.recipes`).
      tolerance: of that recipe's optimiser.
      inference_tokens: what a model will serve over its life, for the inference-aware optimum; None leaves that out.
      budgets: FLOPs to allocate; empty for a default that reaches two decades beyond the data.
      interval: how refits become intervals, one of :data:`analysis.laws.intervals.bootstrap.INTERVALS`; the default is the one that
        :mod:`analysis.laws.simulation.calibration` finds to cover what it says.
    """

    bootstrap: int = 1000
    level: float = 0.9
    seed: int = 0
    objective: str = "huber"
    tolerance: float = recipes.DEFAULT_TOLERANCE
    inference_tokens: float | None = None
    budgets: tuple[float, ...] = ()
    interval: str = PERCENTILE

    @property
    def minimised(self) -> objectives.Objective:
        """The objective by its name; that of the sum where the recipe takes the mean."""
        return objectives.BY_NAME.get(self.objective, objectives.huber)()


@dataclasses.dataclass(frozen=True)
class Study:
    """Everything that was fitted to one table.

    Attributes:
      table: the runs.
      options: how they were fitted.
      laws: by name, in the order of the report.
      noise: of a run around the parametric law.
      outlook: what the runs say of runs beyond them.
      rollouts: how every form did in rollouts, and all of them weighed; empty where the runs are too few.
      compute_optimal: by budget, ascending.
      approaches: Chinchilla's three, at the same budgets.
      inference_aware: the cheapest model over its life, by budget; empty where nothing is said of inference.
      checks: held-out runs against their forecasts.
      truths: every law's E against the entropy of the text, where that is known.
      conventions: the parametric law under other conventions.
      cost: of all runs together.
    """

    table: RunsTable
    options: Options
    laws: dict[str, Result | NotFitted]
    noise: noise.Noise
    outlook: outlook.Outlook
    rollouts: tuple[rollouts.Score, ...]
    compute_optimal: list[optimal.ComputeOptimal]
    approaches: list[comparison.Approach]
    inference_aware: list[inference.InferenceAware]
    checks: list[check.Check]
    truths: list[known_truth.TruthCheck]
    conventions: list[conventions.UnderConvention]
    cost: cost.StudyCost

    @property
    def trusted(self) -> bool:
        """Whether the law that allocations and forecasts come from is a certified optimum that the runs determine."""
        return self.parametric.certificate is not None and self.parametric.certificate.trusted

    @property
    def parametric(self) -> Result:
        """The law that allocations and forecasts come from."""
        law = self.laws[parametric.NAME]
        assert isinstance(law, Result)
        return law

    def forecast(self, params: float, tokens: float, flops: float) -> forecast.Forecast:
        """The loss of a run that is still to be made, by the table's conventions; the same for the same run, whoever asks."""
        return forecast.forecast(
            self.parametric, self.table, self.noise, self.outlook, params=params, tokens=tokens, flops=flops
        )

    def to_json(self) -> dict[str, Any]:
        """laws.json: JSON numbers or null, never NaN."""
        table = self.table
        held_out = [{"run_id": run_id, "reason": "held out"} for run_id in table.held_out["run_id"]]
        excluded = table.excluded[["run_id", "reason"]].to_dict("records")
        counted = dataclasses.asdict(table.conventions)
        return {
            "schema_version": SCHEMA_VERSION,
            "runs": {
                "used": list(table.frame["run_id"]),
                "excluded": [*excluded, *held_out],
                "trunks": list(table.trunks["run_id"]),
            },
            "cost": self.cost.to_json(),
            "conventions": counted,
            "options": dataclasses.asdict(self.options) | {"budgets": list(self.options.budgets)},
            "table_flags": list(table.flags),
            "recognised": list(table.recognised),
            "loss_unit": table.loss_unit,
            # Every law says what its N and C are, for it may be read apart from the rest.
            "laws": {name: law.to_json() | {"conventions": counted} for name, law in self.laws.items()},
            "compute_optimal": [item.to_json() for item in self.compute_optimal],
            "inference_aware": [item.to_json() for item in self.inference_aware],
            "approaches": [
                item.to_json(tuple(best.flops for best in self.compute_optimal)) for item in self.approaches
            ],
            "held_out": [item.to_json() for item in self.checks],
            "noise": self.noise.to_json(),
            "known_truth": [item.to_json() for item in self.truths],
            "outlook": self.outlook.to_json(),
            "rollouts": [score.to_json() for score in self.rollouts],
            "other_conventions": [item.to_json() for item in self.conventions],
        }


def fit_all(table: RunsTable, options: Options = Options()) -> Study:
    """Fits every law to a table and checks the held-out runs."""
    rng = np.random.default_rng(options.seed)
    table = dataclasses.replace(table, flags=(*table.flags, *noise.mixtures(table)))
    plain = parametric.fit(table, level=options.level, objective=options.minimised)
    jacobian_PxK = fitting.jacobian(parametric.FORM, plain.theta, table)
    run_noise = noise.estimate(table, plain.details["residual"], len(plain.theta), jacobian_PxK)
    draws = bootstrap.draw(table, run_noise, options.bootstrap, rng, interval=options.interval)
    surface = _surface(table, draws, options)
    surface = dataclasses.replace(surface, flags=(*surface.flags, *_slope_flags(surface, table), *run_noise.flags))
    fitted = [
        envelope.fit(table, draws, options.level),
        lowest_size.fit(table, draws, options.level),
        hull.fit(table, draws, options.level),
        isoflop.fit(table, draws, options.level, surface),
        akima.fit(table, draws, options.level),
        surface,
        *kaplan.fit_all(table, draws, options.level, surface, options.minimised),
        *_other_forms(table, draws, options),
        *_batch_laws(table, draws, options),
        *_downstream(table, options),
    ]
    laws = {law.name: law for law in fitted}
    ahead = outlook.of(table, options.level)
    checks = [
        check.check(
            row.loss, row.run_id,
            forecast.forecast(surface, table, run_noise, ahead, params=row.params, tokens=row.tokens, flops=row.flops),
            row.name, row.loss_standard_error, table.loss_unit,
        )
        for row in table.held_out.itertuples()
    ]  # fmt: skip
    allocated = optimal.allocate(surface, table, options.budgets or default_budgets(table))
    return Study(
        table,
        options,
        laws,
        run_noise,
        ahead,
        rollouts.scores(ahead),
        allocated,
        comparison.compare(laws, table, allocated),
        _inference_aware(surface, allocated, options),
        checks,
        _truths(table, laws),
        conventions.side_by_side(table, draws, options.level, options.minimised),
        cost.cost_of_study(table),
    )


def _surface(table: RunsTable, draws: bootstrap.Draws, options: Options) -> Result:
    """The parametric law, by the engine or by the recipe that was asked for."""
    if options.objective == MEAN_HUBER:
        return recipes.fit(table, recipes.Recipe(tolerance=options.tolerance, every=_STARTS_OF_RECIPE), options.level)
    return parametric.fit(table, draws, options.level, options.minimised)


def _other_forms(table: RunsTable, draws: bootstrap.Draws, options: Options) -> list[Result | NotFitted]:
    """Rivals of Chinchilla's surface, each where the runs are enough for its parameters."""
    found: list[Result | NotFitted] = []
    forms = [skaling.FORM, over_training.FORM]
    if "unique_tokens" in table.frame and (table.frame["tokens"] > table.frame["unique_tokens"] * _REPEATED).any():
        forms.append(data_constrained.FORM)
    for form in forms:
        found.append(_too_few(form, table) or fitting.fit(form, table, draws, options.level, options.minimised))
    return [*found, _broken_frontier(table, draws, options)]


def _too_few(form: Form, table: RunsTable) -> NotFitted | None:
    if len(table) >= _RUNS_PER_PARAMETER * len(form.names):
        return None
    reason = (
        f"{len(table)} runs for {len(form.names)} parameters, and {_RUNS_PER_PARAMETER} runs a parameter are needed"
    )
    return NotFitted(form.name, form.equation, form.source, reason)


def _broken_frontier(table: RunsTable, draws: bootstrap.Draws, options: Options) -> Result | NotFitted:
    """The broken law along the efficient frontier: off it, the loss is no function of compute."""
    rows = kaplan.chosen_runs(table, kaplan.COMPUTE)
    frontier = dataclasses.replace(table, frame=table.frame.iloc[rows].reset_index(drop=True))
    form = broken.broken()
    chosen = draws.rows(rows).noise_only() if len(draws) else draws
    return _too_few(form, frontier) or fitting.fit(form, frontier, chosen, options.level, options.minimised)


def _batch_laws(table: RunsTable, draws: bootstrap.Draws, options: Options) -> list[Result | NotFitted]:
    """B_crit(L), and the laws of least compute and least steps that it makes possible."""
    batch = critical_batch.fit(table.frame, options.level)
    forms = (kaplan_forms.power("minimum_flops"), kaplan_forms.NS)
    if isinstance(batch, NotFitted):
        reason = "the critical batch size is not known"
        return [batch, *(NotFitted(form.name, form.equation, form.source, reason) for form in forms)]
    corrected = critical_batch.corrected(table, batch)
    return [batch, *(fitting.fit(form, corrected, draws, options.level, options.minimised) for form in forms)]


def _downstream(table: RunsTable, options: Options) -> list[Result | NotFitted]:
    """Accuracy from loss, where runs were asked questions."""
    asked = np.isfinite(table.frame[["accuracy", "trials"]].to_numpy(np.float64)).all(axis=1)
    if not asked.any():
        return []
    rng = np.random.default_rng(options.seed)
    return [downstream.fit(table.frame[asked], min(options.bootstrap, _TASK_REPLICATES), options.level, rng)]


def _inference_aware(
    surface: Result, allocated: list[optimal.ComputeOptimal], options: Options
) -> list[inference.InferenceAware]:
    if options.inference_tokens is None:
        return []
    return inference.allocate(surface, tuple(item.flops for item in allocated), options.inference_tokens)


def default_budgets(table: RunsTable) -> tuple[float, ...]:
    """Powers of ten over the fitted compute and two decades beyond it, and the compute of held-out runs."""
    low, high = (np.log10(bound) for bound in (table.frame["flops"].min(), table.frame["flops"].max()))
    decades = 10.0 ** np.arange(np.ceil(low), np.floor(high) + 3)
    return tuple(sorted({*map(float, decades), *map(float, table.held_out["flops"])}))


def _slope_flags(surface: Result, table: RunsTable) -> tuple[str, ...]:
    """Says where the frontier of the FLOPs in use is not the one that the closed form's exponents describe."""
    if optimal.cost_of(table).six_n:
        return ()
    found = optimal.exponents(surface, table)
    return (
        f"a, b and G are the closed form's, for C = 6·N·D; in {table.conventions.flops} FLOPs N_opt grows as C^{found.a.value:.3g} "
        f"between {found.low_flops:.3g} and {found.high_flops:.3g} FLOPs, and otherwise elsewhere",
    )


def _truths(table: RunsTable, laws: dict[str, Result | NotFitted]) -> list[known_truth.TruthCheck]:
    """The E of every law of N and D that has one, against the entropy of the held-out text; empty where no record states one."""
    column = f"entropy_{table.conventions.domain}"
    if column not in table.raw.columns:
        return []
    used = table.raw[table.raw["run_id"].isin(table.frame["run_id"])]
    entropy, error = (float(used[name].mean()) for name in (column, f"entropy_error_{table.conventions.domain}"))
    if not np.isfinite(entropy):
        return []
    # All runs read the same text, so its sampling error moves E as a whole.
    text = float(table.frame["loss_standard_error"].mean())
    together = float(np.hypot(np.nan_to_num(error), np.nan_to_num(text)))
    chosen = (laws[name] for name in (parametric.NAME, skaling.FORM.name, over_training.FORM.name))
    return [known_truth.check(law, entropy, together) for law in chosen if isinstance(law, Result)]
