"""The index says what the directories say: after any change the same as one made anew, from few reads, and never a hindrance when it is damaged."""

import json
import os
import shutil

import pytest

from launch import index, index_entries
from scaling import run_directory
from scaling.errors import ConfigError, OutputError
from scaling.run_directory import RunDirectory
from tests.launch import simulated_runs

TRUNKS = """
sweep_config.Sweep.parts = (@sweep_config.Part(),)
sweep_config.Part.axes = (@sweep_config.Grid(), @sweep_config.TokensPerParameter(),)
sweep_config.Part.tags = {"role": "fit"}
sweep_config.Grid.binding = "RunConfig.seed"
sweep_config.Grid.values = (0, 1, 2)
sweep_config.TokensPerParameter.ratios = (0.5, 1.0)
sweep_config.TokensPerParameter.size_binding = "WIDTH"
sweep_config.TokensPerParameter.sizes = (16,)
sweep_config.TokensPerParameter.tokens_binding = "TOKENS"
sweep_config.TokensPerParameter.branches_binding = "BRANCHES"
"""


@pytest.fixture
def directories(lab) -> list[RunDirectory]:
    """Three trunks with two branches each, frozen."""
    return [directory for unit in lab.frozen_units(TRUNKS) for directory in unit.directories]


def assert_as_if_made_anew(root) -> list[index.Entry]:
    """The rows of the index as it stands, once they are seen to be those of a rebuild."""
    kept = index.entries(str(root))
    index.refresh(str(root), str(root / "anew.sqlite"), rebuild=True)
    assert kept == index.entries(str(root), str(root / "anew.sqlite"))
    return kept


def test_every_change_of_a_sweep_leaves_the_index_equal_to_a_full_rebuild(lab, directories):
    """Runs begin, go on, are interrupted, end, diverge, are renamed, copied and deleted; the index is brought up to date after each."""
    assert [entry.status for entry in assert_as_if_made_anew(lab.root)] == ["new"] * 9
    first, second, third, fourth = directories[:4]
    attempt = simulated_runs.start(first)
    assert_as_if_made_anew(lab.root)
    simulated_runs.write_curve(first, attempt, 0, 10)
    assert_as_if_made_anew(lab.root)
    attempt.finish("interrupted", reason="SIGTERM")
    assert_as_if_made_anew(lab.root)
    simulated_runs.finish(first)
    simulated_runs.finish(second)
    simulated_runs.finish(third, "diverged")
    simulated_runs.start(fourth).finish("failed", reason="a bug")
    found = {entry.run_id: entry for entry in assert_as_if_made_anew(lab.root)}
    assert [found[directory.path.name].status for directory in directories[:5]] == [
        *("completed", "completed", "diverged", "failed", "new")
    ]
    assert found[first.path.name].attempts == 1 and found[fourth.path.name].reason == "a bug"
    shutil.move(fourth.path, lab.root / "elsewhere")
    shutil.rmtree(third.path)
    assert len(assert_as_if_made_anew(lab.root)) == 8


def test_an_entry_holds_what_the_files_say(lab, directories):
    trunk, branch = directories[:2]
    for directory in (trunk, branch):
        simulated_runs.finish(directory)
    entry = {entry.run_id: entry for entry in index.entries(str(lab.root))}[branch.path.name]
    record, spec = branch.record(), branch.spec
    assert (entry.kind, entry.parents, entry.tags) == ("branch", {"trunk": trunk.path.name}, {"role": "fit"})
    assert (entry.tokens, entry.parameters, entry.seed) == (record["tokens"], record["parameters"]["total"], 0)
    assert entry.flops == record["own_flops"]["6nd"] < record["flops"]["6nd"]
    assert entry.loss == record["losses"]["speeches"]["nats_per_token"]
    assert entry.data == {"train": spec.stores.train}


def test_only_what_changed_is_read(lab, directories, monkeypatch):
    index.refresh(str(lab.root))
    read = []
    monkeypatch.setattr(
        index, "entry_of", lambda root, path, stamp: read.append(path) or index_entries.entry_of(root, path, stamp)
    )
    simulated_runs.finish(directories[4])
    changes = index.refresh(str(lab.root))
    assert read == [directories[4].path.name]
    assert (changes.added, changes.changed, changes.removed, changes.total) == (0, 1, 0, 9)


def test_a_file_replaced_within_the_same_instant_and_of_the_same_size_is_noticed(lab, directories):
    """Times may be as coarse as a clock tick, so time and size alone would miss it."""
    path = directories[0].path / "spec.json"
    index.refresh(str(lab.root))
    before = os.stat(path)
    spec = json.loads(path.read_text())
    spec["config"]["seed"] = 7
    (directories[0].path / "new").write_text(json.dumps(spec, indent=1, sort_keys=True) + "\n")
    os.replace(directories[0].path / "new", path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(path)
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    assert {entry.run_id: entry.seed for entry in index.entries(str(lab.root))}[directories[0].path.name] == 7


def test_an_unreadable_directory_hides_no_other(lab, directories):
    simulated_runs.finish(directories[0])
    (directories[0].path / "record.json").write_text("{")
    (directories[1].path / "spec.json").write_text("[]")
    found = {entry.run_id: entry for entry in assert_as_if_made_anew(lab.root)}
    assert len(found) == 9
    for directory in directories[:2]:
        assert found[directory.path.name].status == index_entries.UNREADABLE and found[directory.path.name].reason
    assert "JSONDecodeError" in found[directories[0].path.name].reason


@pytest.mark.parametrize("damage", ["not a database at all, and longer than any header" * 9, ""])
def test_a_damaged_index_is_made_anew(lab, directories, damage):
    index.refresh(str(lab.root))
    (lab.root / index.FILE).write_text(damage)
    assert len(index.entries(str(lab.root))) == 9


def test_an_index_of_another_version_is_made_anew(lab, directories, monkeypatch):
    monkeypatch.setattr(index, "_VERSION", 999)
    index.refresh(str(lab.root))
    monkeypatch.undo()
    assert index.refresh(str(lab.root)).added == 9


def test_a_running_run_is_told_by_its_lock_alone(lab, directories):
    simulated_runs.start(directories[0])
    entry = next(e for e in index.entries(str(lab.root)) if e.run_id == directories[0].path.name)
    with directories[0].lock():
        assert (entry.status, index.present_status(str(lab.root), entry)) == ("interrupted", "running")
    assert index.present_status(str(lab.root), entry) == "interrupted"


def test_runs_of_one_sweep_are_kept_by_name_or_id(lab):
    plan = lab.plan(TRUNKS)
    assert plan.sweep_id.startswith("test-")
    run_directory.freeze(plan.root, plan.runs[0].loaded, plan.runs[0].unit.specs[0].stores, sweep_id=plan.sweep_id)
    for name, count in (("test", 3), (plan.sweep_id, 3), ("other", 0), (None, 3)):
        assert len(index.entries(str(lab.root), sweep=name)) == count


def test_bad_roots_and_places_are_one_line(lab, directories):
    with pytest.raises(ConfigError, match="not on a local disk"):
        index.refresh("gs://bucket/runs")
    with pytest.raises(ConfigError, match="not a directory"):
        index.refresh(str(lab.root / "nowhere"))
    with pytest.raises(OutputError, match="cannot be opened or written"):
        index.refresh(str(lab.root), str(lab.root / "no" / "folder" / "index.sqlite"))
