"""The verb: what it proposes, writes and refuses, and what it says of running and finished runs."""

import json
import pathlib
import subprocess

import numpy as np
import pandas as pd
import pytest

from scaling import run_directory
from scaling.accounting.parameters import count_parameters
from scaling.data.config import DataConfig
from scaling.gin_files import Loaded
from scaling.models import ladder
from scaling.run_config import RunConfig, StoreHashes
from tests.analysis import synthetic
from tests.analysis.conftest import noise_free_frame, run_verb

TARGET = "--target_flops=1e13"


def run(*arguments: str) -> subprocess.CompletedProcess:
    return run_verb("analysis.plan", *arguments)


@pytest.fixture(scope="module")
def timed_directory(tmp_path_factory):
    """A ladder whose runs took 3 s and 2e-11 s · N · D, with learning curves."""
    records = synthetic.ladder(1)
    for item in records:
        item["device_seconds"] = 3.0 + 2e-11 * item["parameters"]["total"] * item["tokens"]
        item["own_flops"] = item["flops"]
    root = synthetic.write(tmp_path_factory.mktemp("timed"), records)
    for path in root.rglob("record.json"):
        write_curve(path.parent, json.loads(path.read_text()))
    return root


def write_curve(directory, record, share=1.0):
    """metrics.jsonl of a run: a tenth above the law until the last quarter."""
    rng = np.random.default_rng(abs(hash(record["run_id"])) % 2**32)
    folder = directory / "attempts" / "0000"
    folder.mkdir(parents=True)
    (folder / "start.json").write_text(json.dumps({"first_step": 0}))
    law, final = synthetic.KnownLaw(), record["train_loss"]
    horizon, params = record["tokens"], record["parameters"]["total"]
    level = (final or law.loss(params, horizon)) / law.loss(params, horizon)
    rows = []
    for step in range(1, int(200 * share) + 1):
        tokens = horizon * step / 200
        above = 1 + 0.1 * min(1.0, (horizon - tokens) / (0.25 * horizon))
        loss = float(level * above * law.loss(params, tokens) * np.exp(0.002 * rng.standard_normal()))
        rows.append({"step": step, "tokens": tokens, "loss": loss, "tokens_per_second": 5e4})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_plan_is_priced_in_seconds_and_keeps_its_budget(timed_directory, tmp_path):
    done = run(f"--runs={timed_directory}", TARGET, "--budget_seconds=300", f"--output_dir={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    price = plan["price"]
    assert price["unit"] == "s" and price["overhead"] == pytest.approx(3.0, rel=0.01)
    assert price["exponent"] == pytest.approx(1.0, abs=0.01)
    assert plan["runs"] and sum(item["cost"] for item in plan["runs"]) <= 300
    for item in plan["runs"]:
        assert item["cost"] == pytest.approx(3.0 + 2e-11 * item["params"] * item["tokens"], rel=0.01)
        assert item["after"] < item["before"]
    regret = plan["target"]["expected_regret"]
    assert regret["after"] < regret["now"]
    listed = pd.read_csv(tmp_path / "out" / "plan.csv")
    assert listed["params"].tolist() == [item["params"] for item in plan["runs"]]
    assert (
        f"{len(listed)} of {plan['considered']} candidates" in done.stdout and "how the loss falls with" in done.stdout
    )


def test_candidates_of_a_user_and_flops_for_a_table_without_times(tmp_path):
    """Only listed runs are proposed, under their names, and a dry run writes nothing."""
    noise_free_frame().to_csv(tmp_path / "runs.csv", index=False)
    candidates = pd.DataFrame(
        {"params": [1e8, 3e8, 1e9], "tokens": [1e10, 1e9, 1e12], "name": ["small", "middle", "too dear"]}
    )
    candidates.to_csv(tmp_path / "next.csv", index=False)
    done = run(
        f"--runs={tmp_path / 'runs.csv'}", "--target_flops=1e21", "--budget_flops=1e19", f"--candidates={tmp_path / 'next.csv'}",
        "--dry_run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no times are recorded" in done.stdout and "small: " in done.stdout and "too dear" not in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["next.csv", "runs.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget_seconds=10", "--dry_run"), "give --budget_flops instead"),
        (("--budget_flops=1", "--dry_run"), "affords no run"),
        (("--budget_flops=1e19", "--candidates=missing.csv", "--dry_run"), "missing.csv cannot be read"),
        (("--budget_flops=1e19", "--budget_seconds=3", "--dry_run"), "give one budget"),
    ],
    ids=["no times", "too small", "no candidates", "two budgets"],
)
def test_bad_input_is_one_line_and_exit_code_two(tmp_path, arguments, message):
    noise_free_frame().to_csv(tmp_path / "runs.csv", index=False)
    done = run(f"--runs={tmp_path / 'runs.csv'}", "--target_flops=1e21", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_finished_runs_are_replayed(timed_directory):
    """Every run of the fit goes again, and the summary adds them up."""
    done = run(f"--runs={timed_directory}", TARGET, f"--watch={timed_directory}", "--replay")
    assert done.returncode == 0, done.stderr
    assert "of 39 runs would have been decided" in done.stdout and "lay in the 90% interval" in done.stdout


@pytest.mark.slow
def test_a_running_job_is_judged(timed_directory, tmp_path):
    """A frozen run with half a curve and no record is found, counted and forecast."""
    running = RunConfig(
        model=ladder.llama(width=32, vocab_size=512), data=DataConfig(store="store", sequence_length=64), tokens=1_024_000, batch_size=8
    )  # fmt: skip
    directory = run_directory.freeze(tmp_path, Loaded(running, "", ""), StoreHashes("none"), name="job")[0]
    params = count_parameters(running.model).total
    record = {"run_id": "job", "tokens": 1_024_000, "train_loss": None, "parameters": {"total": params}}
    write_curve(pathlib.Path(directory.path), record, share=0.95)
    done = run(f"--runs={timed_directory}", TARGET, f"--watch={tmp_path}", "--threshold=1.0")
    assert done.returncode == 0, done.stderr
    assert "(job): 95% done, final loss" in done.stdout and "misses 1 with a probability of 1.000" in done.stdout
