"""Mirrors say what the files say, at any time, however often an export is repeated, interrupted or begun twice at once.

The services' own packages are extras: PLUMBLINE_MIRRORS_PYTHON names an interpreter that has them (docs/tracking.md); by default it is this one.
"""

import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from launch import index
from launch.mirrors import content, exporting
from launch.mirrors.content import RunContent
from launch.mirrors.mirror import Exported
from scaling.errors import ConfigError
from scaling.mirrors import values
from scaling.run_directory import RunDirectory
from tests.launch import simulated_runs
from tests.launch.conftest import PROJECT_ROOT, SEEDS

PYTHON = os.environ.get("PLUMBLINE_MIRRORS_PYTHON", sys.executable)
PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


@functools.cache
def has(package: str) -> bool:
    # A folder of that name in the working directory is no package: it has no origin.
    code = f"from importlib.util import find_spec; import sys; sys.exit(getattr(find_spec({package!r}), 'origin', None) is None)"
    return subprocess.run([PYTHON, "-c", code], check=False).returncode == 0


def run(home: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a command of the project in the interpreter of the mirrors."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "HOME": str(home), "WANDB_SILENT": "true"}
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        environment.pop(name, None)
    return subprocess.run(
        [PYTHON, *arguments], env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture
def directories(lab) -> list[RunDirectory]:
    """Four frozen runs."""
    return [directory for unit in lab.frozen_units(SEEDS.format(values=(0, 1, 2, 3))) for directory in unit.directories]


@dataclasses.dataclass
class MemoryMirror:
    """Keeps points in memory as a service would: every value that it is given, so that doubled ones are seen."""

    appends: bool = True
    fails_on: frozenset[str] = frozenset()
    states: dict[str, Exported] = dataclasses.field(default_factory=dict)
    points: dict[str, list[tuple[int, str, float]]] = dataclasses.field(default_factory=dict)

    def exported(self) -> dict[str, Exported]:
        return self.states

    def write(self, content: RunContent, before: Exported | None) -> None:
        run_id = content.entry.run_id
        if run_id in self.fails_on:
            raise TimeoutError("the service\ndoes not answer")
        kept = (
            self.points.setdefault(run_id, [])
            if self.appends
            else self.points.__setitem__(run_id, []) or self.points[run_id]
        )
        kept += [(row.step, name, value) for row in content.rows for name, value in row.values.items()]
        step = content.last_step if content.last_step is not None else (before.step if before else -1)
        self.states[run_id] = Exported(content.entry.stamp, content.entry.status, step)

    def close(self) -> None:
        pass


def points_of(directory: RunDirectory) -> list[tuple[int, str, float]]:
    """What the files say: every number of every row, by step."""
    return [(row["step"], name, value) for row in directory.metrics() for name, value in values.of_row(row).items()]


@pytest.mark.parametrize("appends", [True, False])
def test_exports_during_a_run_add_up_to_its_curve_with_nothing_twice(lab, directories, appends):
    """After every event of a run's life an export follows: it goes on, is killed, resumed from an earlier step, and ends."""
    mirror, directory = MemoryMirror(appends), directories[0]

    def export() -> exporting.Counts:
        return exporting.export([str(lab.root)], mirror)

    assert (export().new, export().unchanged) == (4, 4)
    attempt = simulated_runs.start(directory)
    simulated_runs.write_curve(directory, attempt, 0, 20)
    counts = export()
    assert (counts.updated, counts.unchanged) == (1, 3)
    # The held-out loss of step 20 may still come, so the step is held back.
    assert {step for step, _, _ in mirror.points[directory.path.name]} == set(range(1, 20))
    simulated_runs.write_curve(directory, attempt, 20, 30, rows=5)
    export()
    # Killed: the next attempt continues from step 20 and computes steps 21..30 again.
    attempt = simulated_runs.start(directory, 20)
    simulated_runs.write_curve(directory, attempt, 20, 50, rows=15)
    attempt.finish("completed", wall_seconds=1.0, device_seconds=1.0)
    directory.write_record(simulated_runs.record(directory.spec, "completed"))
    export()
    assert export().unchanged == 4
    found = mirror.points[directory.path.name]
    steps = {step for step, _, _ in found}
    assert len(found) == len(set(found)) == len({(step, name) for step, name, _ in found})
    assert {point for point in points_of(directory) if point[0] > 28 or not appends} <= set(found)
    assert max(steps) == 50 and set(range(1, 21)) <= steps


def test_a_service_that_fails_keeps_no_other_run_back_and_is_tried_again(lab, directories):
    for directory in directories:
        simulated_runs.finish(directory)
    names = [directory.path.name for directory in directories]
    mirror = MemoryMirror(fails_on=frozenset(names[:2]))
    counts = exporting.export([str(lab.root)], mirror)
    assert counts.new == 2 and exporting.reasons(counts) == ["2 runs: TimeoutError: the service does not answer"]
    mirror.fails_on = frozenset()
    counts = exporting.export([str(lab.root)], mirror)
    assert (counts.new, counts.unchanged, counts.refused) == (2, 2, {})
    assert {name: set(points) for name, points in mirror.points.items()} == {
        directory.path.name: set(points_of(directory)) for directory in directories
    }


def test_a_run_under_two_roots_is_exported_once(lab, directories):
    for directory in directories:
        simulated_runs.finish(directory)
    mirror = MemoryMirror()
    counts = exporting.export([str(lab.root), str(lab.folder), str(lab.root)], mirror)
    assert (counts.new, counts.updated, counts.unchanged) == (4, 0, 0)
    assert all(sorted(mirror.points[directory.path.name]) == sorted(points_of(directory)) for directory in directories)


def test_curves_left_out_at_first_come_when_they_are_asked_for(lab, directories):
    simulated_runs.finish(directories[0])
    mirror = MemoryMirror()
    assert exporting.export([str(lab.root)], mirror, curves=False).rows == 0
    assert exporting.export([str(lab.root)], mirror, curves=False).unchanged == 4
    assert exporting.export([str(lab.root)], mirror).rows == 20
    assert sorted(mirror.points[directories[0].path.name]) == sorted(points_of(directories[0]))
    assert exporting.export([str(lab.root)], mirror).unchanged == 4


def test_a_damaged_run_is_named_and_the_others_exported(lab, directories):
    for directory in directories:
        simulated_runs.finish(directory)
    (directories[1].path / "record.json").write_text("{")
    (directories[2].path / "attempts" / "0000" / "metrics.jsonl").write_text("{\n")
    counts = exporting.export([str(lab.root)], MemoryMirror())
    assert set(counts.refused) == {directories[1].path.name, directories[2].path.name} and counts.new == 2


def test_whether_a_run_is_being_trained_reaches_the_mirror_both_ways(lab, directories):
    mirror = MemoryMirror()
    attempt = simulated_runs.start(directories[0])
    with directories[0].lock():
        exporting.export([str(lab.root)], mirror)
        assert mirror.states[directories[0].path.name].status == "running"
    assert attempt.end == {}
    exporting.export([str(lab.root)], mirror)
    assert mirror.states[directories[0].path.name].status == "interrupted"


def test_results_and_settings_are_those_of_the_files(lab, directories):
    simulated_runs.finish(directories[2])
    entry = next(e for e in index.entries(str(lab.root)) if e.run_id == directories[2].path.name)
    found = content.read(str(lab.root), entry)
    record, spec = directories[2].record(), directories[2].spec
    assert found.results["final/losses/speeches/nats_per_token"] == record["losses"]["speeches"]["nats_per_token"]
    assert found.results["final/parameters"] == record["parameters"]["total"]
    assert found.settings["seed"] == 2 and found.settings["model.width"] == spec.config.model.width
    assert found.lineage["data.train"] == spec.stores.train and found.lineage["git_commit"] == simulated_runs.COMMIT
    assert found.ended - found.started == pytest.approx(
        max(row["wall_seconds"] for row in directories[2].metrics() if "wall_seconds" in row)
    )


def test_best_of_n_is_a_curve_over_n(lab, directories):
    """It takes no steps; its measurements say at which n."""
    path = lab.root / "stage"
    path.mkdir()
    spec = {
        "run_id": "stage",
        "kind": "best_of_n",
        "name": "",
        "config": {"training": {"seed": 0}},
        "parents": {"policy": "p"},
        "data": {},
    }
    (path / "stage.json").write_text(json.dumps(spec))
    (path / "config.gin").write_text("")
    rows = [{"step": 0, "n": n, "kl": 0.1 * n, "gold": 1.0, "disagreement": None} for n in (1, 2, 4)]
    (path / "measurements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = next(e for e in index.entries(str(lab.root)) if e.run_id == "stage")
    found = content.read(str(lab.root), entry)
    assert [(row.step, row.values["policy/kl"]) for row in found.rows] == [(1, 0.1), (2, 0.2), (4, 0.4)]
    assert found.lineage["parent.policy"] == "p"


def test_two_exports_to_one_place_do_not_run_at_once(tmp_path):
    with exporting.only_writer(str(tmp_path / "out")):
        with pytest.raises(ConfigError, match="another process exports"), exporting.only_writer(str(tmp_path / "out")):
            pass
    with exporting.only_writer(str(tmp_path / "out")):
        pass


@pytest.mark.parametrize("service", [name for name, package in PACKAGES.items()])
def test_the_verb_refuses_what_it_cannot_do_with_code_2_and_writes_nothing(service, lab, tmp_path):
    lab.root.mkdir()
    arguments = ("-m", "launch.export", f"--to={service}")
    refused = run(tmp_path, *arguments, f"--root={lab.root / 'nowhere'}")
    assert refused.returncode == 2 and "is not a directory" in refused.stderr
    if not has(PACKAGES[service]):
        refused = run(tmp_path, *arguments, f"--root={lab.root}")
        assert refused.returncode == 2 and f"-c requirements-extras.lock {PACKAGES[service]}" in refused.stderr
        assert list(lab.root.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("service", list(PACKAGES))
def test_each_service_reads_back_what_the_files_say(service, lab, directories, tmp_path):
    """Exported while a run is under way, again when it has ended, and a third time: the service's own reader finds every point of the files once."""
    if not has(PACKAGES[service]):
        pytest.skip(f"{PACKAGES[service]} is not installed; set PLUMBLINE_MIRRORS_PYTHON")
    if service == "mlflow" and not has("sqlalchemy"):
        pytest.skip("mlflow-skinny has no database; install the extra mlflow")
    output, first = tmp_path / "out", directories[0]
    for directory in directories[1:3]:
        simulated_runs.finish(directory)
    attempt = simulated_runs.start(first)
    simulated_runs.write_curve(first, attempt, 0, 20)
    written = []
    for _ in range(2):
        done = run(tmp_path, "-m", "launch.export", f"--to={service}", f"--root={lab.root}", f"--output={output}")
        assert done.returncode == 0, done.stderr
        written.append(done.stdout.splitlines()[-1])
        if attempt.end == {}:
            simulated_runs.write_curve(first, attempt, 20, 50)
            attempt.finish("completed", wall_seconds=1.0, device_seconds=1.0)
            first.write_record(simulated_runs.record(first.spec, "completed"))
    again = run(tmp_path, "-m", "launch.export", f"--to={service}", f"--root={lab.root}", f"--output={output}")
    assert "4 new, 0 updated and 0 unchanged" in written[0] and "0 new, 1 updated and 3 unchanged" in written[1]
    assert "0 new, 0 updated and 4 unchanged runs, 0 rows" in again.stdout
    read = run(tmp_path, str(pathlib.Path(__file__).with_name("read_mirrors.py")), service, str(output))
    assert read.returncode == 0, read.stderr
    found = json.loads(read.stdout)
    assert set(found) == {directory.path.name for directory in directories}
    for directory in directories[:3]:
        assert_same_points(directory, found[directory.path.name])
    assert (
        found[first.path.name]["status"]
        in {"tensorboard": {None}, "mlflow": {"FINISHED"}, "wandb": {"completed"}}[service]
    )
    assert float(found[first.path.name]["settings"]["model.width"]) == first.spec.config.model.width


def assert_same_points(directory: RunDirectory, found: dict) -> None:
    for name in {name for _, name, _ in points_of(directory)}:
        ours = [(step, value) for step, key, value in points_of(directory) if key == name]
        theirs = [tuple(point) for point in found["points"][name]]
        # TensorBoard keeps single precision.
        assert [step for step, _ in theirs] == [step for step, _ in ours]
        assert [value for _, value in theirs] == pytest.approx([value for _, value in ours], rel=1e-6)


def test_a_deleted_copy_is_made_again(lab, directories, tmp_path):
    if not has("tensorboardX"):
        pytest.skip("tensorboardX is not installed; set PLUMBLINE_MIRRORS_PYTHON")
    simulated_runs.finish(directories[0])
    command = ("-m", "launch.export", "--to=tensorboard", f"--root={lab.root}", f"--output={tmp_path / 'out'}")
    assert run(tmp_path, *command).returncode == 0
    shutil.rmtree(next((tmp_path / "out").rglob(directories[0].path.name)))
    assert "1 new, 0 updated and 3 unchanged runs, 21 rows" in run(tmp_path, *command).stdout.replace(
        "20 rows", "21 rows"
    )
