"""Speed of the law fitter on one core, beside scipy and published packages in one run: `make benchmarks`, or
`python -m tests.benchmarks.fitting_speed [--peer_python=PATH] [--full]`.

The job is the Epoch table (tests/benchmarks/epoch_table.py): Chinchilla's parametric law on 240 rows from a cold start, and 4,000 bootstrap replicates.

- Ours (fitting_ours.py) runs in fresh processes: one with an empty compilation cache, then `--rounds` with the filled one. Compilation is
  the first fit less the median of those that follow.
- scipy (fitting_scipy.py) follows the published recipe with the project's interpreter.
- The packages `chinchilla` and `simple-scaling-laws` (fitting_peers.py) are no dependencies: an interpreter that has both is given by --peer_python.

This process and all that it starts are pinned to one core by the scheduler's affinity (Linux), and OpenMP, BLAS, XLA and Polars are held to one
thread. CPU seconds are what is compared, since other load on the machine stretches the wall clock; it still slows CPU seconds where it
shares caches, so what is short alternates over rounds and medians are reported. Long recipes run each `--every`-th start, which is scaled to all.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import numpy as np
from absl import flags

from scaling import verbs
from scaling.errors import BadInputError
from scaling.gin_files import PROJECT_ROOT
from tests.benchmarks import epoch_table

_TABLE = flags.DEFINE_string(
    "table", "../shared/data/epoch_chinchilla/svg_extracted_data.csv", "The Epoch table; relative to the project."
)
_PEER_PYTHON = flags.DEFINE_string(
    "peer_python", "", "An interpreter with the published packages; empty leaves them out."
)
_FULL = flags.DEFINE_bool("full", False, "Every start and every replicate of the long recipes (about six CPU minutes).")
_EVERY = flags.DEFINE_integer("every", 23, "Takes each so many-th of the 4,500 starts, unless --full.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 3, "Processes of ours with a filled cache, and of the short peers.", lower_bound=1
)
_CORE = flags.DEFINE_integer("core", -1, "The core; -1 for the last that this process may use.")

REPLICATES = 4000
_SAMPLED_REPLICATES = 200
_REPEATS = 9
_FEW_DRAWS = 200
_MOST_FIT, _MOST_COMPILATION, _MOST_BOOTSTRAP = 0.1, 3.0, 5.0
# A replicate this close to the better of two ends, relative to it, has reached it.
_REACHED = 1e-4
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
}


def ask(python: str, worker: str, cache: str = "", **request: object) -> dict:
    """Runs a worker in a fresh process and returns its answer."""
    environment = os.environ | ONE_THREAD | {"JAX_COMPILATION_CACHE_DIR": cache}
    command = [python, "-m", f"tests.benchmarks.{worker}", json.dumps({"table": table_path(), **request})]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT, env=environment)
    if result.returncode:
        raise RuntimeError(f"{worker} {request} exited with {result.returncode}:\n{result.stderr}")
    print(f"{worker} {request} done", file=sys.stderr, flush=True)
    return json.loads(result.stdout.splitlines()[-1])


def table_path() -> str:
    """The table, wherever this is started from."""
    return str((pathlib.Path(PROJECT_ROOT) / _TABLE.value).resolve())


def median(laps: Sequence[dict[str, float]]) -> dict[str, float]:
    """Medians of CPU and wall seconds."""
    return {name: statistics.median(taken[name] for taken in laps) for name in ("cpu", "wall")}


def measure() -> tuple[dict, list[dict], dict, dict[str, list[dict]]]:
    """Everything, what is short in alternation: ours with an empty cache, ours with the filled one, scipy, the packages by name."""
    every = 1 if _FULL.value else _EVERY.value
    replicates = REPLICATES if _FULL.value else _SAMPLED_REPLICATES
    warm, peers = [], {}
    with tempfile.TemporaryDirectory() as cache:
        first = ask(sys.executable, "fitting_ours", cache, repeats=_REPEATS, replicates=0, compared=0)
        for _ in range(_ROUNDS.value):
            warm.append(
                ask(sys.executable, "fitting_ours", cache, repeats=_REPEATS, replicates=REPLICATES, compared=replicates)
            )
            if _PEER_PYTHON.value:
                few = ask(_PEER_PYTHON.value, "fitting_peers", package="simple-scaling-laws", draws=_FEW_DRAWS)
                peers.setdefault("few draws", []).append(few)
    scipy = ask(sys.executable, "fitting_scipy", every=every, replicates=replicates, replicates_of=REPLICATES)
    if _PEER_PYTHON.value:
        peers["chinchilla"] = [ask(_PEER_PYTHON.value, "fitting_peers", package="chinchilla", every=every)]
        peers["many draws"] = [
            ask(_PEER_PYTHON.value, "fitting_peers", package="simple-scaling-laws", draws=REPLICATES)
        ]
    return first, warm, scipy, peers


def row(what: str, lap: dict[str, float], ours: float, theta: Sequence[float] | None, at_optimum: str) -> str:
    """A line of the table; `ours` is the CPU time that the ratio is to."""
    above = "–"
    if theta is not None:
        data = epoch_table.read(table_path())
        objective = epoch_table.huber_sum(np.array(theta), data, np.ones(len(data.loss)))
        above = f"{objective / epoch_table.OPTIMUM - 1:.1e}"
    return f"| {what} | {lap['cpu']:.3g} | {lap['wall']:.3g} | {lap['cpu'] / ours:.3g} | {above} | {at_optimum} |"


def reached(ours: dict, scipy: dict) -> tuple[str, str]:
    """How many of the compared replicates reached the better of both ends, ours and scipy's, as text.

    Where ours rejected some, rows no longer answer each other and there is no comparison.
    """
    if ours["rejected"]:
        return (f"{ours['rejected']} of ours rejected, not compared",) * 2
    data = epoch_table.read(table_path())
    weights = epoch_table.replicate_weights(len(data.loss), len(scipy["thetas"]))
    values = np.array(
        [
            [
                epoch_table.huber_sum(np.array(theta), data, w_K)
                for theta, w_K in zip(side["thetas"], weights, strict=True)
            ]
            for side in (ours, scipy)
        ]
    )
    at_best = np.sum(values <= values.min(axis=0) * (1 + _REACHED), axis=1)
    return tuple(f"{count} of {len(weights)} compared" for count in at_best)


def table_lines(first: dict, warm: list[dict], scipy: dict, peers: dict[str, list[dict]]) -> list[str]:
    """The table: fits, then bootstraps."""
    fit = median([taken for process in warm for taken in process["fits"][1:]])
    bootstrap = median([process["bootstrap"] for process in warm])
    ours, last = fit["cpu"], warm[-1]
    part = "" if scipy["starts"] == epoch_table.STARTS else f", {scipy['starts']} run and scaled"
    drawn = "" if len(scipy["thetas"]) == REPLICATES else f", {len(scipy['thetas'])} run and scaled"
    ours_at_best, scipy_at_best = reached(last, scipy)
    lines = [
        "| on one core | CPU-s | wall s | times ours | objective above optimum | at the optimum |",
        "|---|---|---|---|---|---|",
        row(f"ours: cold fit, {last['starts']} starts", fit, ours, last["theta"], f"{last['starts_at_best']} of {last['starts']} starts"),
        row(f"scipy L-BFGS-B, 4,500 starts{part}", scipy["fit"], ours, scipy["theta"], f"{scipy['starts_at_best']} of {scipy['starts']} starts"),
    ]  # fmt: skip
    for found in peers.get("chinchilla", []):
        lines.append(row(f"chinchilla {found['version']}, 4,500 starts{part}", found["fit"], ours, found["theta"], "–"))
    if peers:
        few = peers["few draws"]
        name = f"simple-scaling-laws {few[0]['version']}, squares of raw loss"
        lines.append(
            row(f"{name}, {_FEW_DRAWS} draws", median([found["fit"] for found in few]), ours, few[0]["theta"], "–")
        )
    ours = bootstrap["cpu"]
    lines += [
        row("ours: 4,000 replicates, warm and cold start", bootstrap, ours, None, f"{REPLICATES - last['rejected']} of {REPLICATES} certified; {ours_at_best}"),
        row(f"scipy BFGS, 4,000 replicates{drawn}", scipy["bootstrap"], ours, None, scipy_at_best),
    ]  # fmt: skip
    for found in peers.get("many draws", []):
        lines.append(row(f"{name}, 4,000 draws", found["fit"], ours, found["theta"], "–"))
    return lines


def processes(first: dict, warm: list[dict]) -> list[str]:
    """What a process of ours spends before its first fit, with an empty and with a filled cache."""
    lines = []
    for name, group in (("empty", [first]), ("filled", warm)):
        imported = median([process["importing"] for process in group])
        start = statistics.median(process["importing"]["cpu"] + process["fits"][0]["cpu"] for process in group)
        lines.append(
            f"cache {name}: imports {imported['cpu']:.2f} CPU-s, compilation {compilation(group):.2f} CPU-s, "
            f"imports and first fit {start:.2f} CPU-s"
        )
    return lines


def compilation(group: list[dict]) -> float:
    """CPU seconds of the first fit beyond those of the next ones."""
    return statistics.median(process["fits"][0]["cpu"] - median(process["fits"][1:])["cpu"] for process in group)


def required(first: dict, warm: list[dict]) -> list[str]:
    """The figures that the fitter is held to."""
    fit = median([taken for process in warm for taken in process["fits"][1:]])["cpu"]
    bootstrap = median([process["bootstrap"] for process in warm])["cpu"]
    lines = []
    for what, value, most in (
        ("cold fit after compilation", fit, _MOST_FIT),
        ("compilation, empty cache", compilation([first]), _MOST_COMPILATION),
        ("4,000 replicates", bootstrap, _MOST_BOOTSTRAP),
    ):
        lines.append(f"{'pass' if value <= most else 'FAIL'}: {what} {value:.3g} CPU-s, at most {most:g}")
    return lines


def check_inputs() -> None:
    """Refuses a table or an interpreter that is not there before anything is measured."""
    if not pathlib.Path(table_path()).is_file():
        raise BadInputError(f"no table at {table_path()}", "give Besiroglu et al.'s svg_extracted_data.csv by --table")
    python = _PEER_PYTHON.value
    if not python:
        return
    remedy = "give an interpreter with both: pip install chinchilla==0.2.0 simple-scaling-laws==0.2.0 (Python 3.12)"
    if not shutil.which(python):
        raise BadInputError(f"--peer_python: {python} is no program", remedy)
    found = subprocess.run([python, "-c", "import chinchilla, simple_scaling_laws"], capture_output=True, text=True)
    if found.returncode:
        raise BadInputError(f"--peer_python: {(found.stderr.splitlines() or ['failed'])[-1]}", remedy)


def main(argv: Sequence[str]) -> None:
    """Prints the table, what our processes spend, and the required figures."""
    del argv
    check_inputs()
    core = max(os.sched_getaffinity(0)) if _CORE.value < 0 else _CORE.value
    os.sched_setaffinity(0, {core})
    print(f"core {core} of {os.cpu_count()}, load {os.getloadavg()[0]:.1f} at the start", file=sys.stderr)
    first, warm, scipy, peers = measure()
    print("\n".join([*table_lines(first, warm, scipy, peers), "", *processes(first, warm), "", *required(first, warm)]))


if __name__ == "__main__":
    verbs.run(main)
