"""A plan written as a sweep file: `launch` reads back exactly the runs that the plan chose."""

import json
import pathlib
import subprocess

import numpy as np
import pandas as pd
import pytest

from analysis import sweep_file
from analysis.laws.planning.candidates import Candidates
from analysis.laws.planning.proposal import ProposedRun
from analysis.laws.planning.run_cost import RunCost
from analysis.laws.tables import table
from launch import expand
from launch.sweep_config import Sweep
from scaling import gin_files
from scaling.accounting.parameters import count_parameters
from scaling.errors import ConfigError
from tests.analysis import synthetic
from tests.analysis.conftest import run_verb

BASE = """
from __gin__ import dynamic_registration
from scaling import run_config
from scaling.data import config as data_config
from scaling.models import ladder
from scaling.optim import config as optim_config
from scaling.optim import rules

WIDTH = 64
TOKENS = 1_000_000
SEED = 0

ladder.llama.width = %WIDTH
ladder.llama.vocab_size = 512
data_config.DataConfig.store = "store"
data_config.DataConfig.sequence_length = 64
optim_config.ScheduleConfig.peak = @rules.peak_learning_rate()
rules.peak_learning_rate.width = %WIDTH
rules.peak_learning_rate.base = 0.004
run_config.RunConfig.model = @ladder.llama()
run_config.RunConfig.data = @data_config.DataConfig()
run_config.RunConfig.schedule = @optim_config.ScheduleConfig()
run_config.RunConfig.batch_size = @rules.batch_sequences()
rules.batch_sequences.tokens = %TOKENS
rules.batch_sequences.sequence_length = 64
rules.batch_sequences.base_tokens = 2048
rules.batch_sequences.reference_tokens = 1_000_000
run_config.RunConfig.tokens = %TOKENS
run_config.RunConfig.seed = %SEED
"""


def run(*arguments: str) -> subprocess.CompletedProcess:
    return run_verb("analysis.plan", *arguments)


@pytest.fixture
def base_file(tmp_path) -> str:
    path = tmp_path / "base.gin"
    path.write_text(BASE)
    return str(path)


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> pathlib.Path:
    return synthetic.write(tmp_path_factory.mktemp("records"), synthetic.ladder(1))


def expanded(path: str) -> list:
    gin_files.parse(Sweep, [path])
    sweep = gin_files.build(Sweep).config
    return [expand.build(point).config for point in expand.points(sweep)]


@pytest.mark.slow
def test_the_sweep_file_expands_to_the_runs_of_the_plan(records, base_file, tmp_path):
    """Sizes, tokens in whole batches of a batch that follows the horizon, and the learning rate of the base file's rule."""
    out = str(tmp_path / "next.gin")
    done = run(
        f"--runs={records}", "--target_flops=1e13", "--budget_flops=3e13", f"--output_dir={tmp_path / 'plan'}", f"--sweep_file={out}",
        f"--base_file={base_file}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    planned = json.loads((tmp_path / "plan" / "plan.json").read_text())["runs"]
    configs = expanded(out)
    assert len(planned) > 1 and len({config.batch_size for config in configs}) > 1
    assert [(count_parameters(config.model).total, config.tokens) for config in configs] == [
        (item["params"], item["tokens"]) for item in planned
    ]
    for config, item in zip(configs, planned, strict=True):
        assert config.tokens == config.steps * config.batch_tokens
        assert item["name"] == f"WIDTH={config.model.width}"
        assert config.schedule.peak == pytest.approx(0.004 * (config.model.width / 64) ** -0.5)
    assert gin_files.build(Sweep).config.root == "runs/next" and out in pathlib.Path(out).read_text()


@pytest.mark.slow
def test_listed_sizes_are_the_only_ones_and_a_dry_run_writes_nothing(records, base_file, tmp_path):
    out = tmp_path / "next.gin"
    done = run(
        f"--runs={records}", "--target_flops=1e13", "--budget_flops=3e13", f"--sweep_file={out}", f"--base_file={base_file}",
        "--sizes=48,80", "--dry_run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    named = {word.rstrip(":") for word in done.stdout.split() if word.startswith("WIDTH=")}
    assert named and named <= {"WIDTH=48", "WIDTH=80"} and not out.exists()


def test_a_repeated_run_gets_a_seed_that_none_like_it_has_had(base_file, tmp_path):
    rows = [
        (10_000, 1e6, 3.3, 0),
        (10_000, 1e6, 3.2, 4),
        (20_000, 1e6, 3.1, 0),
        (30_000, 2e6, 3.0, 0),
        (40_000, 4e6, 2.9, 0),
        (50_000, 4e6, 2.8, 0),
    ]
    pd.DataFrame(rows, columns=["params", "tokens", "loss", "seed"]).to_csv(tmp_path / "runs.csv", index=False)
    seeds = sweep_file.Seeds(table.load(str(tmp_path / "runs.csv")), sweep_file.BaseRun(base_file))
    point = ProposedRun("", 10_020, 1_000_400, 1.0, 1.0, 1.0, 0.5, "")
    assert [seeds.next(point), seeds.next(point)] == [5, 6]
    other = ProposedRun("", 10_020, 3_000_000, 1.0, 1.0, 1.0, 0.5, "")
    assert [seeds.next(other), seeds.next(other)] == [0, 1]


def test_a_base_file_that_is_missing_or_not_named_is_one_line_and_exit_code_two(records, tmp_path):
    out = tmp_path / "next.gin"
    for arguments, message in (
        ((), "goes with --base_file"),
        (("--base_file=nowhere.gin",), "'nowhere.gin' does not exist"),
    ):
        done = run(f"--runs={records}", "--target_flops=1e13", "--budget_flops=3e13", f"--sweep_file={out}", *arguments)
        assert done.returncode == 2, done.stdout
        assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert not out.exists()


def wanted(*params: float) -> Candidates:
    ones = np.ones(len(params))
    return Candidates(np.log(params), np.log(1e6) * ones, ones, ("",) * len(params))


def price() -> RunCost:
    return RunCost("FLOPs", 0.0, 0.0, 1.0, lambda log_params: np.log(6.0) + log_params)


def test_candidates_become_the_nearest_models_each_once(base_file):
    """The first two wanted sizes lie nearest to one model; the cost is that of the model, not of what was wanted."""
    made = sweep_file.real(sweep_file.BaseRun(base_file), wanted(58_000, 60_000, 3e5), price(), 1e15, "total")
    assert made.sizes == (nearest(made.base, 58_000), nearest(made.base, 3e5))
    totals = np.array([count_parameters(made.base.config(size).model).total for size in made.sizes])
    assert np.exp(made.candidates.log_params) == pytest.approx(totals)
    tokens = np.round(np.exp(made.candidates.log_tokens))
    assert made.candidates.cost == pytest.approx(6 * totals * tokens)
    assert len(sweep_file.real(made.base, wanted(58_000, 3e5), price(), 1e12, "total").sizes) == 1


def nearest(base: sweep_file.BaseRun, params: float) -> int:
    counted = {width: count_parameters(base.config(width).model).total for width in range(8, 128, 8)}
    return min(counted, key=lambda width: abs(np.log(counted[width] / params)))


@pytest.mark.parametrize(
    ("names", "sizes", "message"),
    [
        (dict(size_binding="WIDHT"), (), "size_binding=WIDHT: nothing in .*base.gin uses that macro"),
        (dict(tokens_binding="WIDTH"), (64,), "'WIDTH' does not set RunConfig.tokens"),
        (dict(size_binding="ladder.llama.widht"), (), "widht"),
        (dict(), (33,), "not a multiple"),
    ],
)
def test_bindings_that_do_not_do_what_they_should_are_named(base_file, names, sizes, message):
    with pytest.raises(ConfigError, match=message):
        sweep_file.real(sweep_file.BaseRun(base_file, **names), wanted(1e5), price(), 1e15, "total", sizes)


def test_a_budget_below_every_model_is_refused(base_file):
    with pytest.raises(ConfigError, match="affords no run of .*the cheapest costs"):
        sweep_file.real(sweep_file.BaseRun(base_file), wanted(1e5), price(), 1e9, "total")


def test_a_base_with_branches_is_refused(base_file):
    path = pathlib.Path(base_file)
    path.write_text(
        BASE + 'run_config.RunConfig.branches = (500_000, 1_000_000)\noptim_config.ScheduleConfig.name = "wsd"\n'
    )
    with pytest.raises(ConfigError, match="without branches|branches"):
        sweep_file.BaseRun(base_file).config(32, 1_000_000)
