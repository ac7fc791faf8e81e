"""The verb that prepares examples, as a user calls it: on a task that needs neither text nor TensorFlow."""

import subprocess
import sys

import pytest

from align.data.store import ExampleStore
from scaling import gin_files

CONFIG = "--gin_file=configs/align/data/symbols_parity.gin"


def run(*arguments):
    command = [sys.executable, "-m", "align.prepare_data", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=gin_files.PROJECT_ROOT, check=False)


@pytest.mark.slow
def test_plans_writes_repeats_and_verifies(tmp_path):
    """A dry run writes nothing; the second call leaves what is there; --verify re-reads every byte; a changed request exits with 2 in one line."""
    output = f"--output_dir={tmp_path / 'out'}"
    dry = run(CONFIG, output, "--dry_run")
    assert dry.returncode == 0 and "symbol_task: to write" in dry.stdout and not (tmp_path / "out").exists()
    written = run(CONFIG, output)
    assert written.returncode == 0 and "label noise of train 0.2" in written.stdout
    assert ExampleStore.open(tmp_path / "out" / "pairs").store_hash in written.stdout
    again = run(CONFIG, output)
    assert again.returncode == 0 and again.stdout.count("is already there") == 2
    verified = run(f"--verify={tmp_path / 'out' / 'pairs'}")
    assert verified.returncode == 0 and "intact" in verified.stdout
    changed = run(CONFIG, output, "--gin.SymbolTask.seed=1")
    assert changed.returncode == 2 and "holds a store of another request: it differs in source" in changed.stderr
    assert len(changed.stderr.splitlines()) == 1


def test_a_call_without_a_configuration_says_which_to_name():
    result = run()
    assert (
        result.returncode == 2 and "no --gin_file was given" in result.stderr and "configs/align/data" in result.stderr
    )


@pytest.mark.slow
def test_reading_examples_does_not_load_tensorflow():
    """Stages open stores and plan preparations; TensorFlow's start would cost each of them seconds and a gigabyte."""
    code = (
        "import sys, align.prepare_data, align.data.packing, align.data.ranking; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=gin_files.PROJECT_ROOT, check=False).returncode == 0
