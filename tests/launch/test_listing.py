"""The table of runs says what specifications and records say, reads each of them once, and leaves the root as it is."""

import collections
import json

import pytest

from launch import listing
from scaling.accounting.parameters import count_parameters
from scaling.errors import DataError
from scaling.run_directory import RunDirectory
from tests.launch import simulated_runs
from tests.launch.conftest import ended, start_verb
from tests.launch.test_index import TRUNKS


@pytest.fixture
def directories(lab) -> list[RunDirectory]:
    """Three trunks with two branches each: completed, diverged, failed twice, begun, new."""
    found = [directory for unit in lab.frozen_units(TRUNKS) for directory in unit.directories]
    for directory in found[:2]:
        simulated_runs.finish(directory)
    simulated_runs.finish(found[2], "diverged")
    for reason in ("a bug", "another"):
        simulated_runs.start(found[3]).finish("failed", reason=reason)
    simulated_runs.start(found[4])
    return found


def test_a_row_says_what_the_checked_dataclasses_say(lab, directories):
    """Plain JSON is read for speed; sizes, horizons, losses and states must be those of Spec, of the record and of RunDirectory.status."""
    rows = {run.run_id: run for run in listing.below(str(lab.root))}
    assert len(rows) == 9
    for directory in directories:
        row, spec, record = rows[directory.path.name], directory.spec, directory.record()
        assert (row.kind, row.name, row.sweep_id, row.tags) == (spec.kind, spec.name, spec.sweep_id, spec.tags)
        assert row.parameters == count_parameters(spec.config.model).total
        assert row.tokens == spec.last_step * spec.config.batch_tokens
        losses = record["losses"] if record else {}
        assert row.loss == (losses["speeches"]["nats_per_token"] if losses else None)
        assert row.wall_seconds == (record["wall_seconds"] if record else None)
        assert row.status == directory.status()
    states = [rows[directory.path.name].state for directory in directories[:6]]
    assert states == [
        *("completed", "completed", "diverged", "failed (2 failed attempts)"),
        *("interrupted (1 failed attempt)", "new"),
    ]


def test_a_trunk_is_followed_by_its_branches(lab, directories):
    rows = listing.below(str(lab.root))
    assert [run.kind for run in rows] == ["trunk", "branch", "branch"] * 3
    for trunk, *branches in (rows[place : place + 3] for place in (0, 3, 6)):
        assert {branch.run_id for branch in branches} == set(RunDirectory(lab.root / trunk.run_id).spec.branches)


def test_each_specification_and_record_is_read_once(lab, directories, monkeypatch):
    """At ten thousand runs every further look is seconds."""
    looks = collections.Counter()
    read_json = RunDirectory._read_json

    def counted(self, name):
        looks[name] += 1
        return read_json(self, name)

    monkeypatch.setattr(RunDirectory, "_read_json", counted)
    listing.below(str(lab.root))
    assert looks == {"spec.json": 9, "record.json": 3}


def test_status_leaves_the_root_as_it_is(lab, directories):
    """It works where nothing may be written, so it writes nothing: no index, no lock."""

    def content():
        return {path: path.stat().st_mtime_ns for path in lab.root.rglob("*")}

    before = content()
    shown = ended(start_verb("launch.status", f"--root={lab.root}"))
    assert shown.code == 0, shown.err
    assert shown.out.splitlines()[-1] == "6 models: 1 completed, 1 diverged, 1 interrupted, 3 new"
    assert content() == before


@pytest.mark.parametrize(("field", "value"), [("config", None), ("parent", "a name"), ("tags", ...)])
def test_a_specification_without_a_field_is_one_line_with_its_path(lab, directories, field, value):
    """A missing or mistyped field is bad input that names the directory, not a KeyError."""
    path = directories[0].path / "spec.json"
    values = json.loads(path.read_text())
    if value is ...:
        del values[field]
    else:
        values[field] = value
    path.write_text(json.dumps(values))
    shown = ended(start_verb("launch.status", f"--root={lab.root}"))
    assert shown.code == 2 and str(directories[0].path) in shown.err and shown.err.count("\n") == 1, shown.err
    with pytest.raises(DataError, match="is missing or of another type"):
        listing.read(directories[0])
