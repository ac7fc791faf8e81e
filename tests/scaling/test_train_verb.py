"""`python -m scaling.train` as a shell sees it: exit codes and one line on bad input."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.conftest import PROJECT_ROOT
from tests.scaling.training import small_runs


def verb(*words: str, module: str = "scaling.train") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", module, *words], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )


def assert_one_line(result: subprocess.CompletedProcess, message: str) -> None:
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert message in lines[0] and "Remedy: " in lines[0], result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def gin_file(byte_store, tmp_path_factory):
    return small_runs.write_gin(tmp_path_factory.mktemp("gin") / "run.gin", byte_store)


def test_dry_run_shows_the_cost_and_writes_nothing(gin_file, tmp_path):
    result = verb(f"--gin_file={gin_file}", f"--root={tmp_path / 'runs'}", "--dry_run")
    assert result.returncode == 0 and "15,024 parameters" in result.stdout and "FLOPs" in result.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gin.RunConfig.sede=1"], "'sede'"),
        (["--gin.llama.width=44"], "multiple of 8"),
        (["--gin.DataConfig.store=nowhere"], "nowhere"),
        (["--gin_file=nowhere.gin"], "nowhere.gin"),
        (["--no_such_flag=1"], "no_such_flag"),
        (["stray"], "stray"),
    ],
)
def test_bad_words_give_one_line_and_exit_code_2(gin_file, tmp_path, words, message):
    result = verb(f"--gin_file={gin_file}", f"--root={tmp_path / 'runs'}", *words)
    assert_one_line(result, message)
    assert not (tmp_path / "runs").exists()


def test_neither_gin_nor_directory():
    assert_one_line(verb(), "--gin_file or --run_dir")


def test_a_vocabulary_of_another_size(gin_file, tmp_path):
    assert_one_line(verb(f"--gin_file={gin_file}", f"--root={tmp_path}", "--gin.llama.vocab_size=300"), "has 259 ids")


@pytest.mark.slow
def test_mesh_batch_and_root_that_do_not_fit(gin_file, tmp_path):
    (tmp_path / "file").write_text("")
    assert_one_line(verb(f"--gin_file={gin_file}", f"--root={tmp_path / 'file'}"), "cannot be written")
    mesh = ["--gin.RunConfig.execution=@ExecutionConfig()", "--gin.ExecutionConfig.fsdp=3"]
    assert_one_line(verb(f"--gin_file={gin_file}", f"--root={tmp_path / 'runs'}", *mesh), "1 device")


@pytest.mark.slow
def test_a_store_that_changed_after_the_run_was_frozen(byte_store, tmp_path):
    """The run keeps the hash of what it was frozen with, so other data at the same path cannot slip in."""
    store = tmp_path / "store"
    shutil.copytree(byte_store, store)
    gin_file = small_runs.write_gin(tmp_path / "run.gin", str(store))
    assert verb(f"--gin_file={gin_file}", f"--root={tmp_path / 'runs'}").returncode == 0
    (directory,) = (tmp_path / "runs").iterdir()
    for name in ("record.json",):
        (directory / name).unlink()
    manifest = pathlib.Path(store / "manifest.json")
    manifest.write_text(manifest.read_text().replace('"store_hash": "', '"store_hash": "f'))
    result = verb(f"--run_dir={directory}")
    assert_one_line(result, "store")


@pytest.mark.slow
def test_a_checkpoint_of_another_shape(byte_store, tmp_path):
    """Checkpoints of a wider model, moved into this run's directory, are refused by name."""
    narrow = small_runs.write_gin(tmp_path / "narrow.gin", byte_store)
    wide = small_runs.write_gin(tmp_path / "wide.gin", byte_store, width=32)
    for gin_file, root in ((narrow, "narrow"), (wide, "wide")):
        assert verb(f"--gin_file={gin_file}", f"--root={tmp_path / root}").returncode == 0
    (narrow_run,), (wide_run,) = ((tmp_path / root).iterdir() for root in ("narrow", "wide"))
    (narrow_run / "record.json").unlink()
    shutil.rmtree(narrow_run / "checkpoints")
    shutil.copytree(wide_run / "checkpoints", narrow_run / "checkpoints")
    assert_one_line(verb(f"--gin_file={narrow}", f"--root={tmp_path / 'narrow'}"), "does not fit the model")


@pytest.mark.slow
def test_divergence_exits_70(gin_file, tmp_path):
    words = ["--gin.ScheduleConfig.peak=1e20", "--gin.RunConfig.optimizer=@OptimizerConfig()"]
    result = verb(f"--gin_file={gin_file}", f"--root={tmp_path}", *words, "--gin.OptimizerConfig.clip_norm=0.0")
    assert result.returncode == 70 and "diverged" in result.stderr


def test_training_never_imports_tensorflow():
    code = (
        "import sys, scaling.train, scaling.training.family; "
        "bad = {'tensorflow', 'seqio', 'tensorflow_datasets'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_training_shares_compilations_with_the_other_verbs():
    """JAX reads where it keeps programs when it is imported, so the verb must have said so before."""
    code = (
        "import sys, scaling.train; from absl import flags\n"
        "def show(paths, population):\n"
        "    import jax\n"
        "    print(jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs)\n"
        "scaling.train._train = show; flags.FLAGS(['train', '--run_dir=x']); scaling.train.main(['train'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert result.stdout.split() == [str(PROJECT_ROOT / ".cache" / "jax"), "0.2"], result.stderr
