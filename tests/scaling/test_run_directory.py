"""A run's name is what it computes, and its files say what became of it."""

import dataclasses
import json

import pytest

from scaling import run_directory
from scaling.errors import ConfigError, OutputError
from scaling.gin_files import Loaded
from scaling.run_config import (
    CheckpointConfig,
    EvaluationConfig,
    EvaluationDomain,
    ExecutionConfig,
    StoreHashes,
    run_id,
)
from tests.scaling.training import small_runs

HASHES = StoreHashes("0" * 64, ("1" * 64,))


def name_of(config, stores=HASHES):
    return run_id(config, stores, "pretrain")


def test_the_name_depends_on_what_is_computed_and_on_nothing_else():
    config = small_runs.config("stores/here")
    elsewhere = small_runs.config(
        "stores/elsewhere",
        execution=ExecutionConfig(fsdp=2, remat="full"),
        checkpoint=CheckpointConfig(every_tokens=5),
    )
    assert name_of(config) == name_of(elsewhere)
    different = [
        dataclasses.replace(config, seed=1),
        dataclasses.replace(config, tokens=config.tokens + 512),
        dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, peak=0.02)),
        dataclasses.replace(config, data=dataclasses.replace(config.data, isolate_documents=False)),
        dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, domains=())),
    ]
    other_stores = [StoreHashes("2" * 64, HASHES.held_out), StoreHashes(HASHES.train, ("2" * 64,))]
    names = {name_of(config), *(name_of(config, stores) for stores in other_stores), *map(name_of, different)}
    assert len(names) == 1 + len(other_stores) + len(different)


LOADED = Loaded(small_runs.config("stores/here"), "a = 1", "b = 2")


def test_freezing_twice_changes_nothing(tmp_path):
    (first,) = run_directory.freeze(tmp_path, LOADED, HASHES, name="x", sweep_id="s", tags={"role": "fit"})
    before = (first.path / "spec.json").read_text()
    # By a verb that gives the run no name, sweep or tags: those of the sweep stay.
    (second,) = run_directory.freeze(tmp_path, LOADED, HASHES)
    assert second.path == first.path and (second.path / "spec.json").read_text() == before
    assert first.status() == "new" and first.spec.tags == {"role": "fit"}


def test_another_sweep_names_a_run_until_it_is_recorded(tmp_path):
    (run,) = run_directory.freeze(tmp_path, LOADED, HASHES, name="x", sweep_id="s", tags={"role": "fit"})
    run_directory.freeze(tmp_path, LOADED, HASHES, name="y", sweep_id="t", tags={"role": "held_out"})
    assert (run.spec.name, run.spec.sweep_id, run.spec.tags) == ("y", "t", {"role": "held_out"})
    run.write_record({"status": "completed"})
    run_directory.freeze(tmp_path, LOADED, HASHES, name="z", sweep_id="u", tags={"role": "fit"})
    assert (run.spec.name, run.spec.sweep_id, run.spec.tags) == ("y", "t", {"role": "held_out"})


def test_a_trunk_knows_its_branches_and_they_their_trunk():
    config = small_runs.config("stores/here", branches=(20 * 512, 40 * 512))
    trunk, short, long = run_directory.specs_of(config, HASHES, name="x")
    assert trunk.branches == (short.run_id, long.run_id)
    assert short.parent == run_directory.Parent(trunk.run_id, 16)
    assert (trunk.last_step, short.last_step, long.first_step) == (32, 20, 32)


@pytest.mark.parametrize("branches", [(40 * 512, 20 * 512), (20 * 512,), (512, 40 * 512)])
def test_impossible_branches_are_refused(branches):
    with pytest.raises(ConfigError, match="branches"):
        small_runs.config("stores/here", branches=branches)


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        run_directory.freeze(tmp_path / "root", Loaded(small_runs.config("stores/here"), "", ""), HASHES)


def written(directory, first_step, rows):
    """An attempt that left these rows."""
    attempt = directory.start_attempt({"first_step": first_step})
    (attempt.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return attempt


@pytest.fixture
def directory(tmp_path):
    return run_directory.freeze(tmp_path, Loaded(small_runs.config("stores/here"), "", ""), HASHES)[0]


def test_rows_of_one_step_are_one_row(directory):
    written(directory, 0, [{"step": 1, "loss": 3.0}, {"step": 1, "held_out": {"speeches": 4.0}}])
    assert directory.metrics() == [{"step": 1, "loss": 3.0, "held_out": {"speeches": 4.0}}]


def test_what_came_after_the_point_of_resumption_does_not_count(directory):
    """Row periods depend on where an attempt starts, so an overtaken row need not meet one of its own step."""
    written(directory, 0, [{"step": step, "loss": 3.0} for step in (1, 2, 3, 5)])
    written(directory, 2, [{"step": step, "loss": 2.0} for step in (4, 6)])
    expected = [(1, 3.0), (2, 3.0), (4, 2.0), (6, 2.0)]
    assert [(row["step"], row["loss"]) for row in directory.metrics()] == expected


@pytest.mark.parametrize("status", ["completed", "diverged"])
def test_an_end_without_a_record_is_an_interruption(directory, status):
    """Killed between the two files: whoever asks must train on, not look for a record that is not there."""
    attempt = directory.start_attempt({"first_step": 0})
    attempt.finish("failed", reason="a bug")
    assert directory.status() == "failed"
    attempt.finish(status)
    assert directory.status() == "interrupted"
    directory.write_record({"status": status})
    assert directory.status() == status


def test_two_held_out_domains_of_one_name_are_refused():
    """The second loss would silently replace the first in the record."""
    domain = EvaluationDomain("speeches", "stores/here")
    with pytest.raises(ConfigError, match="2 domains called 'speeches'"):
        EvaluationConfig(domains=(domain, domain))
