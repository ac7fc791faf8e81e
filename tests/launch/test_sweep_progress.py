"""Progress and tables, read from run directories."""

import io
import json

import pytest

from launch import progress, rates, states
from launch.progress import SweepProgress, WatchedRun, WorkMeter
from launch.reports import Snapshot
from scaling import run_directory

GRID = """
sweep_config.Sweep.parts = (@sweep_config.Part(),)
sweep_config.Part.axes = (@sweep_config.Grid(),)
sweep_config.Grid.binding = "{binding}"
sweep_config.Grid.values = {values}
"""


def frozen_plan(lab, binding: str, values: object):
    plan = lab.plan(GRID.format(binding=binding, values=values))
    for run in plan.runs:
        run_directory.freeze(lab.root, run.loaded, run.unit.specs[0].stores)
    return plan


def watched(plan) -> list[WatchedRun]:
    return [WatchedRun(run.unit, run.label, run.seconds) for run in plan.runs]


def attempt_at(directory, step: int | None, first_step: int = 0) -> None:
    attempt = directory.start_attempt({"first_step": first_step})
    if step is not None:
        rows = [{"step": s, "loss": 3.0} for s in range(first_step + 1, step + 1)]
        (attempt.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 9')


def test_work_is_read_from_the_last_complete_row(lab):
    plan = frozen_plan(lab, "RunConfig.seed", (0, 1))
    attempt_at(plan.runs[0].unit.directories[0], 25)
    work = WorkMeter(watched(plan)).read()
    assert (work.models, work.done, work.tokens) == (2, 0, 25 * plan.runs[0].config.batch_tokens)
    assert work.seconds == pytest.approx(0.5 * plan.runs[0].seconds)
    assert work.left == pytest.approx(1.5 * plan.runs[0].seconds)


def test_a_resumed_attempt_without_a_row_counts_from_where_it_resumed(lab):
    plan = frozen_plan(lab, "RunConfig.seed", (0, 1))
    (directory,) = plan.runs[0].unit.directories
    attempt_at(directory, 25)
    attempt_at(directory, None, first_step=20)
    assert states.tokens_done(plan.runs[0].unit) == 20 * plan.runs[0].config.batch_tokens


def test_branches_count_their_own_tokens_only(lab):
    plan = frozen_plan(lab, "BRANCHES", "((3_200, 6_400),)")
    (unit,) = (run.unit for run in plan.runs)
    trunk, first, _ = unit.directories
    trunk.write_record({"status": "completed"})
    attempt_at(first, 22, first_step=20)
    batch_tokens = unit.specs[0].config.batch_tokens
    assert states.tokens_done(unit) == 40 * batch_tokens + 2 * batch_tokens
    assert states.unit_status(unit) == "interrupted"


def test_the_line_shows_what_a_person_wants_to_know(lab):
    plan = frozen_plan(lab, "RunConfig.seed", (0, 1, 2))
    shown = SweepProgress(watched(plan), slots=2, stream=io.StringIO())
    plan.runs[0].unit.directories[0].write_record({"status": "diverged"})
    attempt_at(plan.runs[1].unit.directories[0], 25)
    snapshot = Snapshot(failed=1, crashes=2)
    with plan.runs[1].unit.directories[0].lock():
        line = shown.line(shown.meter.read(), snapshot, elapsed=10.0)
    tokens_per_second = 75 * plan.runs[0].config.batch_tokens / 10
    assert line.startswith(
        f"1/3 models | training seed=1 | 1 diverged | 2 crashes (see logs/) | 1 failed | {tokens_per_second:.0f} tokens/s | 10s elapsed"
    )
    assert line.endswith("left")


def test_time_left_follows_the_measured_speed(lab):
    """When the work so far took three times the prediction, the rest will, too."""
    plan = frozen_plan(lab, "RunConfig.seed", tuple(range(8)))
    shown = SweepProgress(watched(plan), slots=1, stream=io.StringIO())
    work = progress.Work(models=8, done=4, diverged=0, tokens=1, seconds=3_000.0, left=3_000.0, longest_left=10.0)
    assert shown._left(work, elapsed=9_000.0) == pytest.approx(9_000.0, rel=0.03)


def test_lines_are_appended_where_there_is_no_terminal_and_not_too_often(lab):
    plan = frozen_plan(lab, "RunConfig.seed", (0,))
    stream = io.StringIO()
    shown = SweepProgress(watched(plan), slots=1, stream=stream, every_seconds=3600)
    snapshot = Snapshot()
    shown.tick(snapshot)
    assert stream.getvalue() == ""
    shown._every_seconds = 0
    shown.tick(snapshot)
    assert stream.getvalue().count("\n") == 1 and "\r" not in stream.getvalue()


def record(params: int, seconds: float, kind: str = "cpu", created: str = "2026-01-01", **changes) -> dict:
    return {
        "status": "completed",
        "parameters": {"total": params},
        "tokens": 1_000,
        "flops": {"6nd": 10.0},
        "own_flops": {"6nd": 2.0},
        "device_seconds": seconds,
        "wall_seconds": 100 + seconds,
        "device": {"kind": kind, "count": 1},
        "created": created,
        **changes,
    }


def test_rates_are_medians_of_own_tokens_on_the_newest_device(tmp_path):
    records = [
        record(10, 2.0),
        record(10, 4.0),
        record(10, 90.0),
        record(20, 8.0),
        record(30, 1.0, kind="gpu", created="2025-01-01"),
        record(40, 1.0, status="diverged"),
    ]
    for i, each in enumerate(records):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "record.json").write_text(json.dumps(each))
    assert rates.rates_of(str(tmp_path), None).measured == ((10, 0.02), (20, 0.04))
    assert rates.rates_of(str(tmp_path), 1e9) == rates.Rates(1e9)
    assert rates.rates_of(str(tmp_path / "nowhere"), None) == rates.Rates()


@pytest.mark.parametrize(
    "foreign",
    [b"{", b"[1]", b'{"a": "\xff"}', b'{"status": "completed", "tokens": "many"}', b'{"schema": 7}'],
    ids=["torn", "a list", "not UTF-8", "misused", "foreign"],
)
def test_a_record_that_cannot_be_read_only_costs_its_rate(tmp_path, foreign):
    for name, content in (("good", json.dumps(record(10, 2.0)).encode()), ("bad", foreign)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_bytes(content)
    assert rates.rates_of(str(tmp_path), None).measured == ((10, 0.01),)
