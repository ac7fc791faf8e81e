"""The cost verb: formulas at once, memory and portability from abstract values."""

import json
import subprocess
import sys

import pytest

from tests.conftest import PROJECT_ROOT

BASE = "--gin_file=configs/runs/cpu_base.gin"
LARGE = "--gin_file=configs/runs/llama_10b.gin"


def cost(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "scaling.cost", *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def cost_json(*arguments: str) -> dict:
    done = cost(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_formulas_alone_need_no_jax():
    code = (
        "import sys; sys.argv[1:] = ['--nocompile', '" + BASE + "']; from scaling import cost, verbs\n"
        "try: verbs.run(cost.main)\n"
        "finally: assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kaplan_6nd_non_embedding" in done.stdout


def test_parts_sum_and_flops_scale_with_tokens():
    found = cost_json(BASE, "--nocompile", "--gin.TOKENS=2_000_000")
    assert sum(found["parameters"]["by_part"].values()) == found["parameters"]["total"]
    assert found["flops"]["6nd"] == 6 * found["parameters"]["total"] * 2_000_000


@pytest.mark.parametrize(
    "arguments,named",
    [
        ((), "--gin_file"),
        ((BASE, "--mesh=2x2"), "--mesh"),
        ((BASE, "--nocompile", "--gin.WIDTH=60"), "60"),
        # Refused before the compilation, which would take longer than the test may.
        ((LARGE, "--devices=256", "--accelerator=TPU v99"), "TPU v99"),
        ((LARGE, "--devices=256", "--export_platforms=tpu,abacus"), "abacus"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments, named):
    done = cost(*arguments)
    assert done.returncode == 2
    assert named in done.stderr and "Remedy" in done.stderr and done.stderr.count("\n") == 1


def test_the_ladder_reaches_from_1e4_to_1e10_within_a_factor_of_four():
    rungs = cost_json("--ladder")
    assert {rung["target"] for rung in rungs} == {10**decade for decade in range(4, 11)}
    for rung in rungs:
        assert 1 / 4 < rung["total"] / rung["target"] < 4, rung
        assert rung["total"] / rung["target"] < 1.4 or rung["target"] < 10**5


@pytest.mark.slow
def test_bytes_shrink_with_the_mesh_that_splits_them():
    """fsdp and tensor split the weights; data splits the activations only. Optimizer state is two moments of the weights."""
    single = cost_json(BASE)["bytes_per_device"]
    data = cost_json(BASE, "--mesh=4x1x1")["bytes_per_device"]
    split = cost_json(BASE, "--mesh=1x2x2")["bytes_per_device"]
    assert single["weights"] == 4 * cost_json(BASE, "--nocompile")["parameters"]["total"]
    assert single["optimizer"] == 2 * single["weights"] + 4, "AdamW: two moments and a counter"
    assert data["weights"] == single["weights"] and data["activations"] < 0.4 * single["activations"]
    assert split["weights"] < 0.27 * single["weights"]
    assert split["total"] == sum(size for name, size in split.items() if name != "total")


@pytest.mark.slow
def test_the_step_lowers_for_machines_that_are_not_here():
    found = cost_json(BASE, "--nocompile", "--mesh=2x2x2", "--export_platforms=tpu,cuda")
    assert set(found["exported_bytes"]) == {"tpu", "cuda"}
    assert min(found["exported_bytes"].values()) > 10_000


@pytest.mark.slow
def test_a_mesh_that_does_not_divide_is_refused():
    done = cost(BASE, "--mesh=1x1x3")
    assert done.returncode == 2 and "vocab_size" in done.stderr


@pytest.mark.slow
def test_ten_billion_parameters_on_256_devices():
    """Nothing of the model is allocated: the process stays below 4 GiB, of which the weights alone would take 43 GiB."""
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'scaling.cost', '--json', *sys.argv[1:]], capture_output=True, text=True)\n"
        "print(done.stdout); print(done.stderr, file=sys.stderr)\n"
        "assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 4 * 2**20\n"
        "sys.exit(done.returncode)"
    )
    arguments = ["--gin_file=configs/runs/llama_10b.gin", "--devices=256", "--accelerator=TPU v5p"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["parameters"]["total"] > 10**10
    # Kernels split 256 ways; norms only 64 ways along the width.
    assert found["bytes_per_device"]["weights"] < 1.001 * 4 * found["parameters"]["total"] / 256 + 2**20
    assert found["bytes_per_device"]["total"] < 95 * 2**30, "a TPU v5p device has 95 GiB"
    assert found["time"]["seconds_per_step"] > 0
