"""The verb: what it prints, writes and refuses."""

import json
import os
import subprocess
import sys

import pytest

from tests.analysis.conftest import PROJECT, noise_free_frame


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "analysis.fit_laws", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_ladder_gives_laws_plots_and_report(ladder_directory, tmp_path):
    done = run(
        f"--runs={ladder_directory}", f"--output_dir={tmp_path / 'out'}", "--bootstrap=50", "--budgets=1e13,1e14"
    )
    assert done.returncode == 0, done.stderr
    assert "held out w128 (held-out): predicted" in done.stdout
    laws = json.loads((tmp_path / "out" / "laws.json").read_text())
    assert [item["flops"] for item in laws["compute_optimal"]] == [1e13, 1e14]
    assert laws["held_out"][0]["run_id"] == "held-out"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "analysis at commit" in page and f"--runs={ladder_directory}" in page


def test_dry_run_shows_the_table_and_writes_nothing(ladder_directory, tmp_path):
    done = run(f"--runs={ladder_directory}", f"--output_dir={tmp_path / 'out'}", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "39 runs of 7 sizes" in done.stdout and "excluded 1: diverged" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_csv_with_a_named_held_out_run(tmp_path):
    frame = noise_free_frame().sort_values("flops").reset_index(drop=True)
    frame.to_csv(tmp_path / "runs.csv", index=False)
    last = f"row {len(frame)}"
    done = run(
        f"--runs={tmp_path / 'runs.csv'}", f"--output_dir={tmp_path / 'out'}", "--bootstrap=0", f"--held_out={last}"
    )
    assert done.returncode == 0, done.stderr
    assert f"held out {last}: predicted" in done.stdout
    assert (
        json.loads((tmp_path / "out" / "laws.json").read_text())["laws"]["chinchilla_parametric"]["parameters"][
            "alpha"
        ]["interval"]
        is None
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="loss"), "lacks the column loss"),
        (lambda frame: frame.assign(loss=frame["loss"].where(frame.index != 6)), "row 7"),
        (lambda frame: frame.assign(run_id="twice"), "'twice'"),
        (lambda frame: frame.head(3), "3 usable runs"),
    ],
    ids=["missing column", "NaN", "duplicate ids", "too few"],
)
def test_bad_tables_exit_2_with_one_line(tmp_path, change, message):
    change(noise_free_frame()).to_csv(tmp_path / "runs.csv", index=False)
    done = run(f"--runs={tmp_path / 'runs.csv'}", f"--output_dir={tmp_path / 'out'}")
    assert done.returncode == 2
    assert message in done.stderr and "Remedy:" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--runs=/nowhere/at/all",), "does not exist"),
        ((), "--output_dir is missing"),
        (("--budgets=1e13,many",), "many"),
        (("--parameters=some",), "parameters"),
        (("--flops=7nd",), "7nd"),
        (("--domain=books",), "books"),
        (("--sweep=other",), "no run of the sweep 'other'"),
        (("--gin_file=configs/sweeps/cpu_demo.gin",), "reads no Gin file"),
        (("--gin.Sweep.name=demo",), "no binding"),
    ],
)
def test_bad_flags_exit_2_with_one_line(ladder_directory, tmp_path, arguments, message):
    defaults = (
        {"--runs": str(ladder_directory), "--output_dir": str(tmp_path / "out")}
        if arguments
        else {"--runs": str(ladder_directory)}
    )
    defaults.update(dict(argument.split("=", 1) for argument in arguments))
    done = run(*(f"{name}={value}" for name, value in defaults.items()))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_output_that_is_a_file_exits_2(ladder_directory, tmp_path):
    (tmp_path / "out").write_text("in the way")
    done = run(f"--runs={ladder_directory}", f"--output_dir={tmp_path / 'out'}", "--bootstrap=0")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1


def test_it_starts_without_tensorflow_jax_and_matplotlib():
    code = "import sys, analysis.fit_laws; sys.exit(any(name in sys.modules for name in ('tensorflow', 'jax', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=os.environ, check=False).returncode == 0


@pytest.mark.slow
def test_a_recipe_that_stops_early_is_written_flagged_and_exits_3(epoch_frame, tmp_path):
    """Hoffmann et al.'s mean and default tolerance, asked for by flags: everything is written, and nobody can miss what it is worth."""
    epoch_frame.to_csv(tmp_path / "epoch.csv", index=False)
    done = run(
        f"--runs={tmp_path / 'epoch.csv'}",
        f"--output_dir={tmp_path / 'out'}",
        "--objective=mean_huber",
        "--bootstrap=0",
    )
    assert done.returncode == 3, done.stderr
    assert "stopped before the optimum" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert "NOT TO BE TRUSTED" in done.stdout
    law = json.loads((tmp_path / "out" / "laws.json").read_text())["laws"]["chinchilla_parametric"]
    assert law["certificate"]["gradient_relative"] > 1e-3 and any(
        flag.startswith("stopped early") for flag in law["flags"]
    )
    assert "not to be trusted" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_inference_tokens_add_the_inference_aware_optimum(ladder_directory, tmp_path):
    done = run(f"--runs={ladder_directory}", f"--output_dir={tmp_path}", "--bootstrap=0", "--inference_tokens=1e9")
    assert done.returncode == 0 and "tokens served" in done.stdout
    rows = json.loads((tmp_path / "laws.json").read_text())
    for best, aware in zip(rows["compute_optimal"], rows["inference_aware"], strict=True):
        assert aware["params"]["value"] < best["params"]["value"] and aware["saved"]["value"] > 0


@pytest.mark.slow
def test_a_forecast_is_sealed_before_the_run_and_graded_after_it(ladder_directory, tmp_path):
    """--seal writes hashed forecasts, never over an earlier file; --score grades the run that came later."""
    (tmp_path / "plan.csv").write_text("params,tokens,name\n4e6,2e8,next\n")
    sealing = (
        f"--runs={ladder_directory}",
        f"--output_dir={tmp_path}",
        "--bootstrap=50",
        f"--seal={tmp_path / 'plan.csv'}",
    )
    done = run(*sealing)
    assert done.returncode == 0 and "sha256" in done.stdout, done.stderr
    document = json.loads((tmp_path / "forecast.json").read_text())
    again = run(*sealing)
    assert again.returncode == 2 and "not replaced" in again.stderr
    loss = document["forecasts"][0]["loss"]
    (tmp_path / "made.csv").write_text(f"params,tokens,loss,run_id\n4e6,2e8,{loss * 1.0001},next\n")
    score = (
        f"--runs={tmp_path / 'made.csv'}",
        f"--output_dir={tmp_path}",
        f"--score={tmp_path / 'forecast.json'}",
        "--domain=as_given",
    )
    graded = run(*score)
    assert graded.returncode == 0 and "1 of 1 inside" in graded.stdout, graded.stderr
    assert json.loads((tmp_path / "score.json").read_text())["coverage"] == 1.0
    refused = run(*score, "--loss_unit=bits_per_byte")
    assert refused.returncode == 2 and "losses in bits per byte" in refused.stderr
    assert "sealed in nats per token" in refused.stderr
    document["forecasts"][0]["loss"] = 1.0
    (tmp_path / "forecast.json").write_text(json.dumps(document))
    forged = run(*score)
    assert forged.returncode == 2 and "altered" in forged.stderr
