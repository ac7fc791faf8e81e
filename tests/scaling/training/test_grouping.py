"""Which runs may share a population."""

import dataclasses

import pytest

from scaling.models import ladder
from scaling.optim.config import OptimizerConfig
from scaling.run_config import CheckpointConfig, ExecutionConfig
from scaling.training.population import grouping
from tests.scaling.training import small_runs


def grouped(root, runs, size):
    """The populations, as lists of the positions of their runs."""
    directories = [small_runs.freeze(root, run)[0] for run in runs]
    place = {directory.path: number for number, directory in enumerate(directories)}
    return [[place[directory.path] for directory in group] for group in grouping.grouped(directories, size)]


def variants(store):
    """A run, and what differs from it by a field each."""
    base = small_runs.config(store)
    return {
        "base": base,
        "seed": dataclasses.replace(base, seed=1),
        "rate": dataclasses.replace(base, schedule=dataclasses.replace(base.schedule, peak=0.5)),
        "decay": dataclasses.replace(base, optimizer=OptimizerConfig(weight_decay=0.7)),
        "period": dataclasses.replace(base, seed=3, checkpoint=CheckpointConfig(every_tokens=512)),
        "horizon": dataclasses.replace(base, tokens=2 * base.tokens),
        "clip": dataclasses.replace(base, optimizer=OptimizerConfig(clip_norm=0.5)),
        "batch": dataclasses.replace(base, batch_size=16),
        "trunk": dataclasses.replace(base, branches=(base.tokens,)),
    }


def test_only_what_the_step_takes_as_input_may_differ(byte_store, tmp_path):
    runs = variants(byte_store)
    assert grouped(tmp_path, runs.values(), 16) == [[0, 1, 2, 3, 4], [5], [6], [7], [8]]


def test_a_population_is_no_larger_than_asked_for(byte_store, tmp_path):
    runs = [small_runs.config(byte_store, seed=seed) for seed in range(5)]
    assert grouped(tmp_path, runs, 2) == [[0, 1], [2, 3], [4]]
    assert grouped(tmp_path, runs, 0) == grouped(tmp_path, runs, 1) == [[0], [1], [2], [3], [4]]


def test_what_is_recorded_or_unreadable_stays_alone(byte_store, tmp_path):
    runs = [small_runs.config(byte_store, seed=seed) for seed in range(4)]
    directories = [small_runs.freeze(tmp_path, run)[0] for run in runs]
    (directories[0].path / "record.json").write_text("{}")
    (directories[2].path / "spec.json").write_text("{")
    groups = grouping.grouped(directories, 4)
    assert [[directories.index(directory) for directory in group] for group in groups] == [[0], [1, 3], [2]]


def test_automatic_populations_are_of_small_models_on_one_device_each(byte_store):
    base = small_runs.config(byte_store)
    assert grouping.automatic_size(base) == 8
    assert grouping.automatic_size(dataclasses.replace(base, execution=ExecutionConfig(fsdp=2))) == 1
    # 11.3 and 99.5 million parameters, 16 bytes each, into 1 GiB.
    assert grouping.automatic_size(dataclasses.replace(base, model=ladder.llama(width=320, vocab_size=259))) == 5
    assert grouping.automatic_size(dataclasses.replace(base, model=ladder.llama(width=768, vocab_size=259))) == 1


def test_several_processes_refuse_a_population(monkeypatch):
    monkeypatch.setattr(grouping.distributed, "process_count", lambda: 2)
    with pytest.raises(grouping.ConfigError, match="--population=4 in a run of 2 processes"):
        grouping.grouped([], 4)
    assert grouping.automatic_size(small_runs.config("nowhere")) == 1
