"""The verb: what it prints, writes and refuses."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.analysis.alignment import runs
from tests.analysis.conftest import PROJECT, run_verb


def run(*arguments: str) -> subprocess.CompletedProcess:
    return run_verb("analysis.frontier", *arguments)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return runs.write_study(tmp_path_factory.mktemp("alignment"), seeds=3, sizes=(100_000, 400_000, 1_600_000))


@pytest.mark.slow
def test_a_study_gives_numbers_plots_and_a_page(directory, tmp_path):
    done = run(f"--runs={directory}", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "dpo sigmoid dominates" in done.stdout and "among all 9 comparisons" in done.stdout
    found = json.loads((tmp_path / "frontier.json").read_text())
    panel = found["panels"][0]
    assert [item["method"] for item in panel["methods"]][0] == "dpo sigmoid" and found["objections"] == []
    low, high = panel["laws"]["ppo"]["parameters"]["beta"]["interval"]
    assert low < 0.3 < high
    assert found["gain_by_size"][0]["laws"][0]["form"].startswith("gain = ")
    page = (tmp_path / "report.html").read_text()
    for name in ("frontier-0", "laws-2", "differences-1", "gain_by_size"):
        assert (tmp_path / "plots" / f"{name}.svg").exists() and (tmp_path / "plots" / f"{name}.png").read_bytes()[
            :4
        ] == b"\x89PNG"
    assert page.count("<svg") == 10 and not re.search(r"<script|https?://", page)
    assert "Held-out part" in page and "analysis at commit" in page


def test_two_directories_and_dry_run(directory, tmp_path):
    runs.write(tmp_path / "more", "rloo", {}, 0, [runs.row(0, 0.0, 0.5), runs.row(5, 1.0, 0.9)], kind="ppo")
    done = run(f"--runs={directory}", f"--runs={tmp_path / 'more'}", f"--output_dir={tmp_path / 'out'}", "--dry_run")
    assert done.returncode == 0 and "rloo: 1 runs, 2 policies" in done.stdout and not (tmp_path / "out").exists()


def test_a_law_that_misses_its_held_out_part_is_written_and_exits_3(tmp_path):
    """The gold reward collapses beyond d = 3: the law of the near points foretells nothing of it."""
    for seed in range(3):
        near = [runs.row(i, 0.25 * i, 0.5 + 0.4 * (0.25 * i) ** 0.5 + 0.001 * seed) for i in range(13)]
        far = [runs.row(20 + i, 9.0 + i, -30.0 - i) for i in range(8)]
        runs.write(tmp_path / "runs", "ppo", {}, seed, [*near, *far], kind="ppo")
    done = run(f"--runs={tmp_path / 'runs'}", f"--output_dir={tmp_path / 'out'}")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "misses its held-out part" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert json.loads((tmp_path / "out" / "frontier.json").read_text())["objections"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--runs=/nowhere/at/all", "--output_dir=out"), "is not a directory"),
        (("--runs=tests/golden", "--output_dir=out"), "no run of alignment"),
        (("--runs=tests",), "--output_dir is missing"),
        (("--runs=tests", "--output_dir=out", "--gin.A.b=1"), "no binding"),
        (("--output_dir=out",), "runs"),
    ],
)
def test_bad_input_exits_2_with_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (PROJECT / "out").exists()


def test_refusals_need_neither_jax_nor_matplotlib():
    code = "import sys, analysis.frontier, analysis.alignment.measurements; sys.exit(any(name in sys.modules for name in ('tensorflow', 'jax', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=os.environ, check=False).returncode == 0


def test_a_run_whose_answers_double_in_length_is_in_the_report(tmp_path):
    course = runs.curve(1.0, 0.3, 9.0, np.random.default_rng(0), points=11)
    rows = [{**row, "length": 20.0 if index < 8 else 44.0} for index, row in enumerate(course)]
    runs.write(tmp_path / "runs", "ppo", {"target": 6.0}, 4, rows, kind="ppo")
    done = run(f"--runs={tmp_path / 'runs'}", f"--output_dir={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "(ppo target=6 seed 4): length drift at step 80" in done.stdout
    raised = {item["alarm"]: item for item in json.loads((tmp_path / "out" / "frontier.json").read_text())["alarms"]}
    # Largest where both recent answers are long, for each unit of the distance there.
    distance = np.sqrt([row["kl"] for row in rows[8:10]]).mean()
    assert raised["length_drift"]["largest"] == pytest.approx(np.log(2.2) / distance)
    assert "length drift" in (tmp_path / "out" / "report.html").read_text()
