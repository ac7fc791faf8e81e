"""The verbs as a user runs them: exit codes, faults, and what they leave behind."""

import collections
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]

MISSPELT = """
sweep_config.Sweep.parts = (@sweep_config.Part(),)
sweep_config.Part.axes = (@sweep_config.Grid(),)
sweep_config.Grid.binding = "RunConfig.sede"
sweep_config.Grid.values = (1, 2)
"""


def wait_until(condition, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def pids(lab) -> list[int]:
    return [int(line[1]) for line in lab.journal()]


def is_alive(pid: int) -> bool:
    try:
        # A zombie is dead; its parent was killed and init has not collected it yet.
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def tree(folder: pathlib.Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_sweep_ends_with_a_table_and_exit_code_0(lab, sweep):
    ended = sweep(f"--gin_file={lab.seeds(0, 1)}")
    assert ended.code == 0, ended.err
    assert "2 models: 2 completed" in ended.out and "3.0000" in ended.out


def test_diverged_runs_end_in_70_with_the_others_finished(lab, sweep):
    ended = sweep(f"--gin_file={lab.seeds(0, 1, 2)}", behaviour={1: "diverge"})
    assert ended.code == 70
    assert "3 models: 2 completed, 1 diverged" in ended.out
    again = sweep(f"--gin_file={lab.seeds(0, 1, 2)}")
    assert again.code == 70 and len(lab.started()) == 3


def test_failed_runs_end_in_1_and_the_same_command_tries_them_again(lab, sweep):
    ended = sweep(f"--gin_file={lab.seeds(0, 1)}", "--retries=0", behaviour={1: "crash"})
    assert ended.code == 1 and "SIGKILL" in ended.out and "1 completed" in ended.out
    assert sweep(f"--gin_file={lab.seeds(0, 1)}").code == 0
    assert collections.Counter(collections.Counter(lab.started()).values()) == {1: 1, 2: 1}


def test_refused_runs_end_in_2(lab, sweep):
    ended = sweep(f"--gin_file={lab.seeds(0, 1)}", behaviour={1: "refuse"})
    assert ended.code == 2 and "the store is altered" in ended.out


def test_completed_runs_are_skipped_and_the_plan_says_so(lab, sweep):
    sweep(f"--gin_file={lab.seeds(0, 1)}")
    ended = sweep(f"--gin_file={lab.seeds(0, 1, 2)}")
    assert ended.code == 0 and "to do: 1 runs" in ended.out
    assert len(lab.started()) == 3


def test_dry_run_shows_the_plan_and_writes_nothing(lab, sweep):
    gin_file = lab.seeds(0, 1)
    before = tree(lab.folder)
    ended = sweep(f"--gin_file={gin_file}", "--dry_run", "--slots=3", "--engine=local")
    assert ended.code == 0 and "to do: 2 runs" in ended.out and "3 slots" in ended.out and "llama-16x2" in ended.out
    assert tree(lab.folder) == before
    sweep(f"--gin_file={gin_file}")
    before = tree(lab.folder)
    assert "completed" in sweep(f"--gin_file={gin_file}", "--dry_run").out
    assert tree(lab.folder) == before


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (MISSPELT, "sede"),
        (MISSPELT.replace("RunConfig.sede", "WIDTH").replace("(1, 2)", "(16, 33)"), "33"),
        (MISSPELT.replace("RunConfig.sede", "WIDTH").replace("(1, 2)", "()"), "empty"),
        (MISSPELT.replace("Grid.values", "Grid.valeus"), "valeus"),
        (MISSPELT.replace("RunConfig.sede", "RunConfig.seed").replace("(1, 2)", "(1, 1)"), "same run"),
        (MISSPELT.replace("RunConfig.sede", "TOKENS").replace("(1, 2)", "(6_400, 1)"), "less than one batch"),
        (MISSPELT + "sweep_config.Sweep.parts = 3\n", "Sweep.parts is 3"),
        (MISSPELT + "sweep_config.Part.axes = @sweep_config.Grid()\n", "Part.axes is Grid("),
        (MISSPELT.replace("(1, 2)", "16"), "Grid.values is 16"),
        (MISSPELT.replace("(1, 2)", '"12"'), "Grid.values is '12'"),
    ],
    ids=[
        *("misspelt axis", "does not divide", "empty axis", "misspelt field", "duplicate", "too few tokens"),
        *("a number for parts", "an axis without parentheses", "a number for values", "a word for values"),
    ],
)
def test_a_bad_sweep_is_one_line_exit_code_2_and_no_files(lab, sweep, text, named):
    ended = sweep(f"--gin_file={lab.gin_file(text)}")
    assert ended.code == 2
    assert ended.err.startswith("error: ") and "Remedy: " in ended.err and named in ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert not lab.root.exists()


@pytest.mark.parametrize("arguments", [[], ["--gin_file=nowhere.gin"], ["--slots=0", "--gin_file=x"], ["--flags"]])
def test_bad_usage_is_exit_code_2(sweep, arguments):
    ended = sweep(*arguments)
    assert ended.code == 2 and "Traceback" not in ended.err


def test_a_missing_store_is_one_line_with_the_remedy(lab, sweep):
    gin_file = lab.seeds(0)
    ended = sweep(f"--gin_file={gin_file}", "--gin.DataConfig.store=/nowhere")
    assert ended.code == 2 and "/nowhere" in ended.err and "prepare_data" in ended.err
    assert not lab.root.exists()


def test_a_root_that_cannot_be_written_is_exit_code_2(lab, sweep):
    (lab.folder / "file").write_text("")
    ended = sweep(f"--gin_file={lab.seeds(0)}", f"--root={lab.folder / 'file'}")
    assert ended.code == 2 and "Remedy" in ended.err and ended.err.count("\n") == 1, ended.err


def test_a_root_in_an_object_store_is_refused_before_anything_looks_at_it(lab, sweep):
    ended = sweep(f"--gin_file={lab.seeds(0)}", "--root=gs://nobody/runs", "--dry_run")
    assert ended.code == 2 and "gs://nobody/runs is not on a local disk" in ended.err
    assert ended.err.count("\n") == 1, ended.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_trainers_save_exits_75_and_the_same_command_continues(lab, start_sweep, sweep, number):
    gin_file = lab.seeds(0, 1, 2)
    driver = start_sweep(f"--gin_file={gin_file}", seconds=4.0)
    wait_until(lambda: any(lab.root.glob("*/attempts/*/metrics.jsonl")))
    driver.send_signal(number)
    out, err = driver.communicate(timeout=180)
    assert driver.returncode == 75, err
    assert "the same command continues" in err and "1 interrupted" in out
    assert not any(is_alive(pid) for pid in pids(lab))
    assert sweep(f"--gin_file={gin_file}").code == 0
    first, second = (lab.root / lab.started()[0] / "attempts").iterdir()
    steps = [[line for line in (path / "metrics.jsonl").read_text().splitlines()] for path in (first, second)]
    assert all(steps) and not set(steps[0]) & set(steps[1]), "the second attempt must go on where the first stopped"


@pytest.mark.slow
def test_kill_9_of_the_driver_leaves_no_orphan_and_the_same_command_finishes(lab, start_sweep, sweep):
    gin_file = lab.gin_file(MISSPELT.replace("RunConfig.sede", "WIDTH").replace("(1, 2)", "(16, 32, 48)"))
    driver = start_sweep(f"--gin_file={gin_file}", seconds=60.0)
    wait_until(lambda: pids(lab))
    driver.kill()
    driver.communicate()
    wait_until(lambda: not any(is_alive(pid) for pid in pids(lab)), timeout=20.0)
    ended = sweep(f"--gin_file={gin_file}")
    assert ended.code == 0, ended.out
    assert sorted(collections.Counter(lab.started()).values()) == [1, 1, 2]


@pytest.mark.slow
def test_two_drivers_on_one_root_train_each_run_once(lab, start_sweep):
    gin_file = lab.gin_file(MISSPELT.replace("RunConfig.sede", "WIDTH").replace("(1, 2)", "(16, 32, 48, 64)"))
    drivers = [start_sweep(f"--gin_file={gin_file}", seconds=0.5) for _ in range(2)]
    for driver in drivers:
        out, err = driver.communicate(timeout=180)
        assert driver.returncode == 0, err
        assert "4 models: 4 completed" in out
    assert sorted(collections.Counter(lab.started()).values()) == [1, 1, 1, 1]


def test_status_shows_the_same_from_files_alone(lab, sweep):
    sweep(f"--gin_file={lab.seeds(0, 1)}", behaviour={1: "diverge"})
    status = [sys.executable, "-m", "launch.status", f"--root={lab.root}"]
    shown = subprocess.run(status, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout
    assert "2 models: 1 completed, 1 diverged" in shown and "seed=1" in shown
    none = subprocess.run([*status, "--sweep=other"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert none.returncode == 2 and "other" in none.stderr


def test_status_of_a_file_says_that_it_is_one(tmp_path):
    (tmp_path / "file").write_text("")
    status = [sys.executable, "-m", "launch.status", f"--root={tmp_path / 'file'}"]
    shown = subprocess.run(status, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 2 and "is a file" in shown.stderr and shown.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "module", [f"launch.{verb}" for verb in ("sweep", "status", "resume", "cancel", "run_one", "worker")]
)
def test_verbs_start_without_jax_and_tensorflow(module):
    program = f"import sys, {module}; print(sorted({{'jax', 'jaxlib', 'tensorflow', 'flax', 'orbax', 'distributed', 'submitit'}} & set(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


def test_a_plan_is_shown_in_less_than_two_seconds_of_processor_time(lab, sweep):
    """Processor time, because the wall clock of a loaded machine says nothing about the program."""
    gin_file = lab.seeds(*range(20))
    before = os.times()
    assert sweep(f"--gin_file={gin_file}", "--dry_run").code == 0
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2.0
