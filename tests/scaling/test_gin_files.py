"""Gin at the edge: what a user mistypes becomes one line that names the place and the remedy."""

import dataclasses
import math
import pathlib

import pytest

from scaling import gin_files
from scaling.errors import ConfigError
from scaling.models import ladder
from scaling.optim.config import OptimizerConfig, ScheduleConfig
from scaling.run_config import CheckpointConfig, ExecutionConfig, RunConfig
from tests.scaling.training import small_runs

MACRO_FILE = """
from __gin__ import dynamic_registration
from scaling import run_config
run_config.RunConfig.seed = %SEED
SEED = 3
"""


@pytest.fixture
def gin_file(tmp_path):
    return small_runs.write_gin(tmp_path / "run.gin", "stores/none")


def load(gin_file: str, *bindings: str) -> RunConfig:
    return gin_files.load(RunConfig, [gin_file], bindings).config


def test_bindings_override_files_and_bare_words_need_no_quotes(gin_file):
    config = load(gin_file, "RunConfig.seed=7", "DataConfig.store=/some/where", "ScheduleConfig.peak=1")
    assert (config.seed, config.data.store, config.schedule.peak) == (7, "/some/where", 1.0)


def test_a_config_survives_json(gin_file):
    config = load(gin_file)
    assert gin_files.from_dict(RunConfig, gin_files.to_dict(config)) == config


def test_overridden_binds_inside_the_block_only(gin_file):
    load(gin_file)
    with gin_files.overridden({"RunConfig.seed": 5, "llama.width": 32}):
        inside = gin_files.build(RunConfig).config
    outside = gin_files.build(RunConfig).config
    assert (inside.seed, inside.model.width) == (5, 32)
    assert (outside.seed, outside.model.width) == (0, 16)


def test_a_block_that_overrides_leaves_every_binding_import_and_text_as_it_was(gin_file):
    """Also when it fails half-way, and when it binds what was not bound before."""
    before = gin_files.load(RunConfig, [gin_file])
    with gin_files.overridden({"RunConfig.seed": 5, "ScheduleConfig.final_fraction": 0.3}):
        inside = gin_files.build(RunConfig)
    with pytest.raises(ConfigError), gin_files.overridden({"RunConfig.seed": 6, "RunConfig.sede": 1}):
        pass
    after = gin_files.build(RunConfig)
    assert after == before
    assert (
        inside.config.schedule.final_fraction == 0.3 != before.config.schedule.final_fraction
        and "seed = 5" in inside.bindings
    )
    with gin_files.overridden({"RunConfig.seed": 5, "ScheduleConfig.final_fraction": 0.3}):
        assert gin_files.build(RunConfig) == inside


def test_the_operative_text_holds_defaults_that_were_not_bound(gin_file):
    loaded = gin_files.load(RunConfig, [gin_file])
    assert "beta2" not in loaded.bindings
    assert "isolate_documents = True" in loaded.operative


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("RunConfig.sede=1", "'sede'"),
        ("RunConfgi.seed=1", "RunConfgi"),
        ("RunConfig.seed=0.5", r"RunConfig\.seed is 0\.5, not int"),
        ("ScheduleConfig.name=cosin", "not one of 'cosine', 'linear'"),
        ("RunConfig.seed=%NOWHERE", "%NOWHERE is used but not defined"),
        ("WDITH=16", "WDITH is defined but nothing uses it"),
        ("RunConfig.seed", "has no '='"),
        ("llama.width=44", "multiple of 8"),
        ("RunConfig.tokens=100", "less than one batch"),
        ("RunConfig.tokens=%gin.REQUIRED", r"RunConfig\.tokens is required and has no value.* bind the named value"),
        ("DataConfig.store=%gin.REQUIRED", r"DataConfig\.store is required and has no value.* bind the named value"),
        ("RunConfig.seed=-1", r"RunConfig\.seed is -1"),
        ("EvaluationConfig.batch_size=0", r"EvaluationConfig\.batch_size is 0"),
        ("EvaluationConfig.every_tokens=-1", r"EvaluationConfig\.every_tokens is -1"),
        ("CheckpointConfig.every_tokens=-1", r"CheckpointConfig\.every_tokens is -1"),
    ],
)
def test_mistakes_are_named(gin_file, binding, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(gin_file, binding)
    assert "\n" not in str(caught.value) and "Remedy: " in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"'nowhere\.gin' does not exist"):
        gin_files.load(RunConfig, ["nowhere.gin"])


def test_required_values_are_named(tmp_path):
    path = tmp_path / "run.gin"
    path.write_text(MACRO_FILE)
    with pytest.raises(ConfigError, match="model"):
        gin_files.load(RunConfig, [str(path)])


@pytest.mark.parametrize("field", ["RunConfig.tokens", "DataConfig.store", "llama.width"])
def test_an_unbound_field_is_named(gin_file, field):
    path = pathlib.Path(gin_file)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if f"{field} =" not in line))
    with pytest.raises(ConfigError, match=rf"{field} has no value\. Remedy: bind the named value"):
        load(gin_file)


def test_arithmetic_of_a_rule_that_fails_is_a_mistake_in_the_file(gin_file):
    rule = ["ScheduleConfig.peak=@peak_learning_rate()", "peak_learning_rate.width=0", "peak_learning_rate.base=0.1"]
    with open(gin_file, "a") as lines:
        lines.write("from scaling.optim import rules\n")
    with pytest.raises(ConfigError, match="peak_learning_rate"):
        load(gin_file, *rule)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ExecutionConfig(accumulation=0), "ExecutionConfig.accumulation is 0"),
        (lambda: ExecutionConfig(attention_chunk=-1), "ExecutionConfig.attention_chunk is -1"),
        (lambda: CheckpointConfig(keep=0), "CheckpointConfig.keep is 0"),
        (lambda: small_runs.config("stores/none", seed=2**32), "RunConfig.seed is 4294967296"),
        (lambda: dataclasses.replace(ladder.llama(16, 259), rope_fraction=1.5), "rope_fraction is 1.5"),
        (lambda: dataclasses.replace(ladder.llama(16, 259), rope_fraction=0.0), "rope_fraction is 0.0"),
        (lambda: ScheduleConfig(peak=math.inf), "ScheduleConfig.peak is inf"),
        (lambda: ScheduleConfig(peak=math.nan), "ScheduleConfig.peak is nan"),
        (lambda: ScheduleConfig(warmup_tokens=-1), "ScheduleConfig.warmup_tokens is -1"),
        (lambda: OptimizerConfig(weight_decay=math.nan), "OptimizerConfig.weight_decay is nan"),
        (lambda: OptimizerConfig(clip_norm=-1.0), "OptimizerConfig.clip_norm is -1.0"),
        (lambda: OptimizerConfig(beta1=1.0), "OptimizerConfig.beta1 is 1.0"),
        (lambda: OptimizerConfig(beta2=-0.1), "OptimizerConfig.beta2 is -0.1"),
    ],
)
def test_values_out_of_range_are_named(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_accumulation_must_divide_the_batch():
    config = small_runs.config("stores/none")
    with pytest.raises(ConfigError, match=r"batch_size \(8\) is not a multiple of ExecutionConfig\.accumulation"):
        dataclasses.replace(config, execution=dataclasses.replace(config.execution, accumulation=3))
