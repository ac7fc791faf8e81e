"""The phases that `tests.benchmarks.sweep_scale` measures and no verb has alone: `python -m tests.benchmarks.sweep_phases PHASE FOLDER RUNS`."""

import pathlib
import sys

from launch import conduct, index, jobs, manifest
from launch.engines.engine import Job
from launch.manifest import Submitted
from launch.plan import make_plan
from launch.rates import Rates
from launch.sweep_config import Sweep
from scaling import gin_files
from scaling.run_directory import RunDirectory
from tests.launch import simulated_runs
from tests.launch.conftest import BASE, write_store

HOSTS = 64
_SIZES = (16, 32, 48, 64, 80, 96, 112, 128, 160, 192)
_HORIZONS = tuple(12_800 * horizon for horizon in range(1, 11))

_SWEEP = """
sweep_config.Sweep.parts = (@sweep_config.Part(),)
sweep_config.Part.axes = (@seeds/sweep_config.Grid(), @sizes/sweep_config.Grid(), @horizons/sweep_config.Grid())
sweep_config.Part.tags = {{"role": "fit"}}
seeds/sweep_config.Grid.binding = "RunConfig.seed"
seeds/sweep_config.Grid.values = {seeds}
sizes/sweep_config.Grid.binding = "WIDTH"
sizes/sweep_config.Grid.values = {sizes}
horizons/sweep_config.Grid.binding = "TOKENS"
horizons/sweep_config.Grid.values = {horizons}
"""


def prepare(folder: pathlib.Path, runs: int) -> None:
    """A token store and a sweep over it."""
    store = write_store(folder / "store")
    seeds = tuple(range(-(-runs // (len(_SIZES) * len(_HORIZONS)))))
    text = BASE.format(store=store, root=folder / "runs") + _SWEEP.format(seeds=seeds, sizes=_SIZES, horizons=_HORIZONS)
    (folder / "sweep.gin").write_text(text)


def freeze(folder: pathlib.Path, runs: int) -> None:
    """What launch.sweep does before it submits, with an engine that does nothing."""
    root = str(folder / "runs")
    gin_files.parse(Sweep, [str(folder / "sweep.gin")])
    plan = make_plan(gin_files.build(Sweep).config, root, Rates())
    assert len(plan.runs) == runs
    conduct.freeze(plan)
    sweep = manifest.manifest_of(plan)
    cut: tuple[Job, ...] = tuple(jobs.jobs_of(sweep.unfinished(root), HOSTS))
    manifest.write(root, sweep.with_submission(Submitted("local", {}, cut, ("none",), "2026-01-01T00:00:00+00:00")))


def shard(folder: pathlib.Path, runs: int) -> None:
    """What each host of a pool does first."""
    (sweep_id,) = manifest.sweep_ids(str(folder / "runs"))
    sweep = manifest.read(str(folder / "runs"), sweep_id)
    assert len(sweep.runs) == runs and jobs.shard(sweep.submissions[-1].jobs, 0, HOSTS)


def finish(folder: pathlib.Path, runs: int) -> None:
    """Leaves what trainers leave, for nine runs in ten."""
    _finish(folder, 0, runs * 9 // 10)


def finish_more(folder: pathlib.Path, runs: int) -> None:
    """The same for one run in a hundred of the others."""
    _finish(folder, runs * 9 // 10, runs * 91 // 100)


def bring_index_up_to_date(folder: pathlib.Path, runs: int) -> None:
    """Brings the index up to date and reads it."""
    assert len(index.entries(str(folder / "runs"))) == runs


PHASES = {phase.__name__: phase for phase in (prepare, freeze, shard, finish, finish_more, bring_index_up_to_date)}


def _finish(folder: pathlib.Path, first: int, last: int) -> None:
    paths = sorted(path.parent for path in (folder / "runs").glob("*/spec.json"))
    for path in paths[first:last]:
        simulated_runs.finish(RunDirectory(path))


if __name__ == "__main__":
    PHASES[sys.argv[1]](pathlib.Path(sys.argv[2]), int(sys.argv[3]))
