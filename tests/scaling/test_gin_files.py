"""Gin at the edge: what a user mistypes becomes one line that names the place and the remedy."""

import dataclasses

import pytest

from scaling import gin_files
from scaling.errors import ConfigError
from scaling.run_config import RunConfig
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


def test_accumulation_must_divide_the_batch():
    config = small_runs.config("stores/none")
    with pytest.raises(ConfigError, match=r"batch_size \(8\) is not a multiple of ExecutionConfig\.accumulation"):
        dataclasses.replace(config, execution=dataclasses.replace(config.execution, accumulation=3))
