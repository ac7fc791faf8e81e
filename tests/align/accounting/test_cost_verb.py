"""`python -m align.cost`: the shipped stage at ten billion parameters by formula, and what it refuses."""

import json
import subprocess
import sys

import pytest

from tests.conftest import PROJECT_ROOT

STAGE = "--gin_file=configs/align/stages/dpo_llama_10b.gin"
MODEL = "--model_gin_file=configs/runs/llama_10b.gin"


def run(*arguments):
    command = [sys.executable, "-m", "align.cost", "--kind=preference", *arguments]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_dpo_at_ten_billion_parameters():
    """256 pairs of 1,536 columns: 8 N FLOPs a column with a live reference, 6 N and 2 N once with a cached one; the time is theirs over 40% of the peak."""
    found = {}
    for reference in ("live", "cached"):
        result = run(
            STAGE,
            MODEL,
            f"--gin.REFERENCE={reference}",
            "--devices=256",
            "--accelerator=TPU v5p",
            "--nocompile",
            "--json",
        )
        assert result.returncode == 0, result.stderr
        found[reference] = json.loads(result.stdout)
    columns, layers = 256 * 1536, 11_658_572_800 - 2 * 32000 * 5120
    live, cached = (found[name]["flops_per_step"] for name in ("live", "cached"))
    by_layers = "kaplan_6nd_non_embedding"
    assert live["flops"][by_layers] == pytest.approx(8 * layers * columns, rel=1e-3)
    assert cached["flops"][by_layers] == pytest.approx(6 * layers * columns, rel=1e-3)
    assert cached["flops_preparation"][by_layers] == pytest.approx(2 * layers * columns, rel=1e-3)
    time = found["live"]["time"]
    assert time["seconds_per_step"] == pytest.approx(live["flops"]["6nd_head_attention"] / (256 * 459e12 * 0.4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no --gin_file is given"),
        ((STAGE, MODEL, "--accelerator=Abacus", "--nocompile"), "has no published peak"),
        ((STAGE, "--nocompile"), "does not exist"),
        ((STAGE, MODEL, "--mesh=2x2", "--nocompile"), "give DATAxFSDPxTENSOR"),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
