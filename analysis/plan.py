"""Which runs to make next for a target, at what they cost here, and which running ones are already decided.

python -m analysis.plan --runs=DIR|CSV --target_flops=8e12 [--budget_seconds=600 | --budget_flops=1e13] [--candidates=CSV] [--output_dir=DIR]
python -m analysis.plan --runs=DIR --target_flops=8e12 --watch=DIR [--every_seconds=30] [--threshold=2.4]     (what is running, again and again)
python -m analysis.plan --runs=DIR --target_flops=8e12 --watch=DIR --replay                                  (finished runs, as if they were running)

The first writes plan.json and plan.csv; `analysis.fit_laws --seal=plan.csv` seals forecasts of the proposed runs. With
--sweep_file=OUT.gin --base_file=configs/runs/X.gin it chooses among the models that the base file can make and writes them as a sweep, which
`launch.sweep --gin_file=OUT.gin` trains.
"""

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from absl import flags
from etils import epath

from analysis import runs_flags, watched_runs
from analysis.laws.errors import TableError
from scaling import gin_files, verbs
from scaling.errors import ConfigError, DataError, OutputError

if TYPE_CHECKING:
    from analysis.laws.planning.candidates import Candidates
    from analysis.laws.planning.proposal import Knowledge, Plan
    from analysis.laws.planning.run_cost import RunCost
    from analysis.laws.tables.table import RunsTable
    from analysis.sweep_file import BaseRun, RealCandidates

_TARGET = flags.DEFINE_float(
    "target_flops", None, "C at which N is to be chosen, by the table's convention.", required=True, lower_bound=1.0
)
_SECONDS = flags.DEFINE_float("budget_seconds", None, "Device seconds for all new runs together.", lower_bound=0.0)
_FLOPS = flags.DEFINE_float("budget_flops", None, "The same in FLOPs; runs then cost their FLOPs.", lower_bound=0.0)
_CANDIDATES = flags.DEFINE_string(
    "candidates",
    None,
    "A CSV of runs to choose from (params, tokens [cost, name]); by default a grid around the records.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where plan.json and plan.csv go; needed unless --dry_run or --watch."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the posterior's draws.")
_WATCH = flags.DEFINE_string("watch", None, "A directory of runs: says of each that is running whether it is decided.")
_EVERY = flags.DEFINE_float(
    "every_seconds", 0.0, "Look again after so many seconds while something runs; 0 looks once."
)
_THRESHOLD = flags.DEFINE_float("threshold", None, "With --watch: a loss in nats per token that a run is to beat.")
_REPLAY = flags.DEFINE_bool("replay", False, "With --watch: when would the finished runs have been decided?")
_SWEEP_FILE = flags.DEFINE_string(
    "sweep_file", None, "Where the plan goes as a Gin file for launch.sweep; needs --base_file."
)
_BASE_FILE = flags.DEFINE_string(
    "base_file", None, "The Gin file of the run that the sweep file includes, e.g. configs/runs/cpu_base.gin."
)
_SIZE_BINDING = flags.DEFINE_string("size_binding", "WIDTH", "The binding of --base_file that sets the model's size.")
_TOKENS_BINDING = flags.DEFINE_string("tokens_binding", "TOKENS", "The binding of --base_file that sets the horizon.")
_SIZES = flags.DEFINE_list(
    "sizes", [], "Values of the size binding to choose from; by default every multiple of 8 that makes a model."
)
_SWEEP_ROOT = flags.DEFINE_string(
    "sweep_root", None, "Sweep.root of the sweep file; by default runs/ and the file's name."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the plan, and write nothing.")


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    verbs.share_compilations()
    if verbs.gin_file_flags() or verbs.gin_binding_flags():
        raise ConfigError("plan reads no Gin file and no binding", "remove --gin_file and --gin.NAME=value")
    if _SECONDS.value is not None and _FLOPS.value is not None:
        raise ConfigError("--budget_seconds and --budget_flops are both given", "give one budget")
    if not (_OUTPUT_DIR.value or _SWEEP_FILE.value or _DRY_RUN.value or _WATCH.value):
        raise ConfigError("--output_dir is missing", "say where the plan goes, or add --dry_run")
    if bool(_SWEEP_FILE.value) != bool(_BASE_FILE.value) or (_SWEEP_FILE.value and (_CANDIDATES.value or _WATCH.value)):
        raise ConfigError(
            "--sweep_file goes with --base_file, and with neither --candidates nor --watch",
            "name the run file that the sweep is to include; --sizes lists sizes to choose from",
        )
    if not _WATCH.value and (_REPLAY.value or _EVERY.value or _THRESHOLD.value is not None):
        raise ConfigError(
            "--replay, --every_seconds and --threshold are of --watch", "add --watch=DIR, or leave them out"
        )
    try:
        if _WATCH.value:
            _watch()
        else:
            _plan()
    except TableError as error:
        raise DataError(error.what, error.remedy) from error


def _plan() -> None:
    from analysis.laws.planning import proposal

    base = _base_run() if _SWEEP_FILE.value else None
    table = runs_flags.load()
    price, budget = _price_and_budget(table)
    knowledge = proposal.learn(table, _TARGET.value, price, _SEED.value)
    candidates = _candidates(table, price, budget, knowledge)
    real = _real(base, table, price, budget, candidates) if base else None
    plan = proposal.propose(knowledge, real.candidates if real else candidates, budget)
    print("\n".join(_lines(plan)))
    if _DRY_RUN.value:
        return
    if _OUTPUT_DIR.value:
        _write(plan)
    if real:
        _write_sweep(plan, real)


def _price_and_budget(table: "RunsTable") -> tuple["RunCost", float]:
    """Seconds where the records measured them, FLOPs where they did not or where the budget says so."""
    from analysis.laws.planning import run_cost

    price = run_cost.flops_price(table) if _FLOPS.value is not None else run_cost.price_of(table)
    if _SECONDS.value is not None and price.unit != "s":
        raise TableError(
            f"{table.source} times fewer than four runs of two sizes, so seconds cannot be priced",
            "give --budget_flops instead",
        )
    given = _SECONDS.value if _SECONDS.value is not None else _FLOPS.value
    if given is not None:
        return price, given
    # As much again as one in ten of what is there.
    spent = float(price(table.log("params"), table.log("tokens")).sum())
    print(
        f"no budget is given; a tenth of what the {len(table)} runs would cost, each trained alone, is taken: {spent / 10:.3g} {price.unit}"
    )
    return price, spent / 10


def _candidates(table: "RunsTable", price: "RunCost", budget: float, knowledge: "Knowledge") -> "Candidates":
    from analysis.laws.planning import candidates

    if _CANDIDATES.value is None:
        return candidates.grid(table, price, budget, knowledge.decision.log_flops)
    try:
        frame = pd.read_csv(_CANDIDATES.value)
    except (OSError, ValueError) as error:
        message = " ".join(str(error).split())
        raise TableError(
            f"--candidates={_CANDIDATES.value} cannot be read as CSV: {message}", "give params, tokens [cost, name]"
        ) from error
    return candidates.listed(frame, _CANDIDATES.value, price, budget)


def _base_run() -> "BaseRun":
    from analysis import sweep_file

    return sweep_file.BaseRun(_BASE_FILE.value, _SIZE_BINDING.value, _TOKENS_BINDING.value)


def _real(
    base: "BaseRun", table: "RunsTable", price: "RunCost", budget: float, wanted: "Candidates"
) -> "RealCandidates":
    from analysis import sweep_file

    sizes = [int(size) if size.isdecimal() else size for size in _SIZES.value]
    return sweep_file.real(base, wanted, price, budget, table.conventions.parameters, sizes)


def _write_sweep(plan: "Plan", real: "RealCandidates") -> None:
    from analysis import sweep_file

    if not plan.runs:
        print(f"{_SWEEP_FILE.value} is not written: there is nothing to train")
        return
    path = _SWEEP_FILE.value
    root = _SWEEP_ROOT.value or f"runs/{epath.Path(path).stem}"
    sweep_file.write(path, sweep_file.text(plan, real, path, root, gin_files.command_line()))
    print(f"wrote {path}: python -m launch.sweep --gin_file={path} --dry_run")


def _lines(plan: "Plan") -> list[str]:
    """The plan for a terminal."""
    from analysis.report.formatting import number, short, short_interval

    knowledge = plan.knowledge
    params, loss = knowledge.optimum
    now, then = plan.regret
    unit = knowledge.price.unit
    lines = [
        f"{len(knowledge.table)} runs say for {_TARGET.value:.3g} FLOPs: N = {short(params.value)} {short_interval(params)}, "
        f"loss {number(loss.value)}; choosing it costs {1e3 * now:.2g} mnats per token in expectation",
        knowledge.price.in_words(),
    ]
    if not plan.runs:
        return [
            *lines,
            f"none of {plan.considered} candidates within {plan.budget:.3g} {unit} would lower that: make the choice",
        ]
    lines += [
        f"{len(plan.runs)} of {plan.considered} candidates, {sum(run.cost for run in plan.runs):.3g} of {plan.budget:.3g} {unit}, "
        f"lower it to {1e3 * then:.2g} mnats:",
        f"{'':>3} {'N':>8} {'D':>8} {'D/N':>7} {unit:>10} {'mnats before':>13} {'after':>7}  what it decides",
    ]
    for place, run in enumerate(plan.runs, 1):
        name = f"{run.name}: " if run.name else ""
        lines.append(
            f"{place:>3} {short(run.params):>8} {short(run.tokens):>8} {run.tokens / run.params:>7.3g} {run.cost:>10.3g} "
            f"{1e3 * run.before:>13.3g} {1e3 * run.after:>7.3g}  {name}{run.decides}"
        )
    return lines


def _write(plan: "Plan") -> None:
    directory = epath.Path(_OUTPUT_DIR.value)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"--output_dir={directory} is not a directory", "choose another path") from error
    (directory / "plan.json").write_text(json.dumps(plan.to_json(), indent=1) + "\n")
    columns = ("params", "tokens", "flops", "cost", "name")
    rows = [[getattr(run, column) for column in columns] for run in plan.runs]
    (directory / "plan.csv").write_text(pd.DataFrame(rows, columns=list(columns)).to_csv(index=False))
    print(f"wrote {directory}: plan.json, plan.csv")


def _watch() -> None:
    """Says of every running job whether it is decided, once or until nothing runs any more."""
    if _REPLAY.value:
        _replay()
        return
    while _look() and _EVERY.value:
        time.sleep(_EVERY.value)


def _look() -> int:
    """One look; the number of runs that have begun and are not finished."""
    from analysis.laws.planning import proposal, replay, run_cost, stopping

    table = runs_flags.load()
    known = proposal.learn(table, _TARGET.value, run_cost.price_of(table), _SEED.value)
    finished = list(watched_runs.finished(table).values())
    jobs = watched_runs.running(_WATCH.value, table.conventions.parameters)
    noise = replay.seed_noise(table)
    for job in jobs:
        verdict = stopping.decided(job, finished, known.posterior, known.decision, noise, _THRESHOLD.value)
        print(verdict.in_words(), flush=True)
    if not jobs:
        print(f"{_WATCH.value} holds no run that has begun and is not finished")
    return len(jobs)


def _replay() -> None:
    """Finished runs as if they were running."""
    from analysis.laws.planning import replay, run_cost

    table = runs_flags.load()
    runs = watched_runs.finished(table)
    if not runs:
        raise TableError(
            f"{table.source} holds no finished run with a learning curve", "point --runs at run directories"
        )
    found = []
    for item in replay.replays(table, runs, _TARGET.value, run_cost.price_of(table), _THRESHOLD.value, _SEED.value):
        print(item.in_words(), flush=True)
        found.append(item)
    print("\n".join(replay.summary(found)))


if __name__ == "__main__":
    verbs.run(main)
