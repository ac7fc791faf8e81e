"""`python -m scaling.convert` as a shell sees it."""

import json

import pytest

from tests.scaling.foreign import small_weights
from tests.scaling.foreign.small_weights import FAMILIES
from tests.scaling.test_train_verb import assert_one_line, verb


def convert(*words):
    return verb(*words, module="scaling.convert")


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    path = tmp_path_factory.mktemp("foreign") / "hf"
    small_weights.write(path, FAMILIES["llama"])
    return path


@pytest.mark.slow
def test_there_and_back_again(hugging_face, tmp_path):
    """Import, then export: the same tensors; both directories say where they come from; nothing half-made stays."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    result = convert(f"--from_hugging_face={hugging_face}", f"--to={ours}")
    assert result.returncode == 0 and "LlamaForCausalLM (F32) -> llama width 32" in result.stdout, result.stderr
    source = json.loads((ours / "source.json").read_text())
    assert source["architecture"] == "LlamaForCausalLM" and len(source["files"]["model.safetensors"]) == 64
    result = convert(f"--from_run={ours}", f"--to_hugging_face={theirs}")
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert (theirs / "model.safetensors").read_bytes() == (hugging_face / "model.safetensors").read_bytes()
    assert json.loads((theirs / "source.json").read_text())["step"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]


def test_dry_run_checks_and_writes_nothing(hugging_face, tmp_path):
    result = convert(f"--from_hugging_face={hugging_face}", f"--to={tmp_path / 'ours'}", "--dry_run")
    assert result.returncode == 0 and "parameters" in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_bad_input_gives_one_line_and_exit_code_2(hugging_face, tmp_path):
    target = tmp_path / "ours"
    assert_one_line(convert(f"--from_hugging_face={hugging_face}"), "--from_hugging_face with --to")
    assert_one_line(convert(f"--from_hugging_face={tmp_path}", f"--to={target}"), "config.json does not exist")
    assert_one_line(convert(f"--from_hugging_face={hugging_face}", f"--to={tmp_path}"), "exists already")
    assert_one_line(convert(f"--from_run={tmp_path}", f"--to_hugging_face={target}"), "spec.json does not exist")
    wider = tmp_path / "wider"
    small_weights.write(wider, FAMILIES["llama"])
    small_weights.edit_config(wider, intermediate_size=97)
    result = convert(f"--from_hugging_face={wider}", f"--to={target}")
    assert_one_line(result, "mlp.gate_proj.weight has shape (96, 32)")
    small_weights.edit_config(wider, architectures=["BertModel"])
    assert_one_line(convert(f"--from_hugging_face={wider}", f"--to={target}"), "BertModel")
    assert not target.exists()
