"""Going on from a manifest: resume, cancel, workers with a share, and what is refused before anything is submitted."""

import json
import sys

import pytest

from launch import manifest
from launch.engines import catalogue
from launch.engines.local import engine as local
from scaling import gin_files
from scaling.errors import ConfigError
from tests.launch.conftest import Ended, Laboratory, ended, start_verb
from tests.launch.test_sweep_verb import is_alive, pids, tree, wait_until


def verb(module: str, *arguments: str, **options) -> Ended:
    return ended(start_verb(f"launch.{module}", *arguments, **options))


def sweep_id(lab: Laboratory) -> str:
    (only,) = manifest.sweep_ids(str(lab.root))
    return only


@pytest.mark.slow
def test_resume_needs_no_gin_file_and_trains_what_has_no_record(lab, sweep):
    gin_file = lab.seeds(0, 1, 2)
    assert sweep(f"--gin_file={gin_file}", "--retries=0", behaviour={1: "crash"}).code == 1
    before = len(lab.started())
    shown = verb("resume", f"--root={lab.root}", "--dry_run")
    assert shown.code == 0 and "launch.worker" in shown.out and len(lab.started()) == before
    resumed = verb("resume", f"--root={lab.root}", f"--sweep_id={sweep_id(lab)}")
    assert resumed.code == 0 and "3 models: 3 completed" in resumed.out
    assert len(lab.started()) == before + 1
    submissions = manifest.read(str(lab.root), sweep_id(lab)).submissions
    assert [submitted.engine for submitted in submissions] == ["serial", "serial"]
    assert [len(job.run_ids) for job in submissions[1].jobs] == [1]
    again = verb("resume", f"--root={lab.root}")
    assert again.code == 0 and len(lab.started()) == before + 1


@pytest.mark.slow
def test_cancel_lets_trainers_save_and_resume_goes_on(lab, start_sweep):
    driver = start_sweep(f"--gin_file={lab.seeds(0, 1)}", seconds=60.0)
    wait_until(lambda: any(lab.root.glob("*/attempts/*/metrics.jsonl")))
    cancelled = verb("cancel", f"--root={lab.root}", f"--sweep_id={sweep_id(lab)}")
    assert cancelled.code == 0 and "asked 1 jobs of the serial engine to stop" in cancelled.out
    assert ended(driver).code == 75
    assert not any(is_alive(pid) for pid in pids(lab))
    assert "nothing of the sweep" in verb("cancel", f"--root={lab.root}", f"--sweep_id={sweep_id(lab)}").out
    assert verb("resume", f"--root={lab.root}").code == 0
    status = verb("status", f"--root={lab.root}")
    assert "2 models: 2 completed" in status.out and "1 jobs submitted to the engine serial" in status.out


@pytest.mark.slow
def test_workers_with_shares_train_each_run_once_and_together_all(lab, sweep):
    gin_file = lab.gin_file(
        "sweep_config.Sweep.parts = (@sweep_config.Part(),)\nsweep_config.Part.axes = (@sweep_config.Grid(),)\n"
        'sweep_config.Grid.binding = "WIDTH"\nsweep_config.Grid.values = (16, 32, 48)\n'
    )
    assert sweep(f"--gin_file={gin_file}", "--retries=0", behaviour={"*": "crash"}).code == 1
    before = len(lab.started())
    arguments = (f"--root={lab.root}", f"--sweep_id={sweep_id(lab)}", "--engine=serial")
    shares = []
    for index in range(2):
        start = len(lab.started())
        assert verb("worker", *arguments, f"--shard={index}/2").code == 0
        shares.append(lab.started()[start:])
    assert all(shares) and not set(shares[0]) & set(shares[1])
    assert len(lab.started()) == before + 3
    assert verb("worker", *arguments).code == 0 and len(lab.started()) == before + 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--sweep_id=nothing"], "nothing.json does not exist; sweeps there: none"),
        (["--shard=2/2", "--sweep_id=test-1"], "test-1.json"),
        (["--engine=slow"], "slow"),
    ],
)
def test_bad_usage_of_a_worker_is_one_line_and_exit_code_2(lab, arguments, named):
    refused = verb("worker", f"--root={lab.root}", *arguments)
    assert refused.code == 2 and named in refused.err and refused.err.count("\n") == 1
    assert not lab.root.exists()


@pytest.mark.parametrize(
    ("bindings", "named"),
    [
        (["--gin.Sweep.budget_flops=1e6"], "Sweep.budget_flops allows 1e+06"),
        (["--gin.Sweep.budget_seconds=1"], "Sweep.budget_seconds allows 1"),
        (["--gin.Sweep.budget_cost=0.001"], "the engine knows no price"),
        (["--gin.Sweep.budget_cost=0.001", "--gin.SerialEngine.price_per_hour=1000"], "Sweep.budget_cost allows 0.001"),
        (["--engine=nowhere"], "there is no engine 'nowhere'"),
        (["--engine=slurm"], "Slurm"),
        (["--slots=3"], "the serial engine has one slot"),
        (["--gin.SerialEngine.retires=3"], "retires"),
        (["--nowatch"], "--nowatch would stop it"),
    ],
)
def test_what_cannot_be_submitted_is_one_line_exit_code_2_and_nothing_is_written(lab, bindings, named, monkeypatch):
    # Where Slurm is installed, the engine would not be missing.
    monkeypatch.setenv("PATH", "/nowhere")
    gin_file = lab.seeds(0, 1)
    before = tree(lab.folder)
    named_engine = any(word.startswith("--engine") for word in bindings)
    refused = verb("sweep", f"--gin_file={gin_file}", *([] if named_engine else ["--engine=serial"]), *bindings)
    assert refused.code == 2 and named in refused.err and refused.err.count("\n") == 1, refused.err
    assert tree(lab.folder) == before


def test_a_root_that_belongs_to_another_sweep_is_refused_unless_it_is_shared(lab, sweep):
    assert sweep(f"--gin_file={lab.seeds(0)}").code == 0
    other = (f"--gin_file={lab.seeds(1)}", "--gin.Sweep.name=other")
    before = tree(lab.folder)
    refused = sweep(*other)
    assert refused.code == 2 and "belongs to the sweep 'test'" in refused.err and refused.err.count("\n") == 1
    assert tree(lab.folder) == before
    assert sweep(*other, "--share_root").code == 0


def test_dry_run_names_every_job_in_order_with_its_cost_and_the_command(lab, sweep):
    gin_file = lab.gin_file(
        "sweep_config.Sweep.parts = (@sweep_config.Part(),)\nsweep_config.Part.axes = (@sweep_config.Grid(),)\n"
        'sweep_config.Grid.binding = "TOKENS"\nsweep_config.Grid.values = (6_400, 640_000)\n'
    )
    shown = sweep(
        f"--gin_file={gin_file}", "--dry_run", "--flops_per_second=1e8", "--gin.SerialEngine.price_per_hour=36"
    )
    assert shown.code == 0
    rows = [line.split() for line in shown.out.splitlines() if line.startswith("llama-16x2") and line.endswith("B")]
    flops = [float(row[2]) for row in rows]
    assert flops == sorted(flops, reverse=True) and sum(flops) == pytest.approx(5.83e10, rel=0.01)
    assert "$ " + sys.executable in shown.out and "cost about" in shown.out
    assert not lab.root.exists()


def test_a_manifest_that_was_spoilt_is_one_line(lab, sweep):
    sweep(f"--gin_file={lab.seeds(0)}")
    path = lab.root / "sweeps" / f"{sweep_id(lab)}.json"
    path.write_text(json.dumps({"sweep_id": 3}))
    refused = verb("resume", f"--root={lab.root}")
    assert refused.code == 2 and "is no manifest" in refused.err and refused.err.count("\n") == 1


def test_settings_of_an_engine_survive_the_manifest():
    engine = local.LocalEngine(places=3, chips_per_slot=4, accelerator="tpu", chips=8, price_per_hour=1.5)
    assert gin_files.from_dict(catalogue.engine_class("local"), manifest.settings_of(engine)) == engine


@pytest.mark.parametrize("settings", [{"places": -1}, {"chips_per_slot": 0}, {"backoff_seconds": -1.0}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match="LocalEngine"):
        local.LocalEngine(**settings)
