"""Live mirrors of stages: rows, measurements and the record reach a service, an outage reaches nothing, and the stage is the same with and without."""

import importlib

import pytest

from align.stages import catalogue
from align.stages.best_of_n import BestOfNConfig
from align.stages.preference_config import PreferenceStageConfig
from align.training import stage_directory
from launch import index
from launch.mirrors import content
from scaling.errors import InterruptedRunError
from scaling.mirrors import live, values
from scaling.mirrors.config import MirrorsConfig
from scaling.training.interruption import Interruption
from tests.align.stages import small_stages
from tests.scaling.training.shown_service import Shown

BOTH = MirrorsConfig(("tensorboard", "wandb"))


@pytest.fixture
def shown(monkeypatch) -> Shown:
    """What the service "tensorboard" is shown; it refuses step 3, and the other service is not installed."""
    service = Shown(fails_at=frozenset({3}))
    monkeypatch.setattr(live, "_TensorBoard", lambda attempt: service)
    monkeypatch.setattr(live, "_Wandb", lambda identity, config, attempt: importlib.import_module("no_such_package"))
    return service


def preference(laboratory, **training) -> PreferenceStageConfig:
    fields = dict(steps=4, measure_every=2) | training
    return PreferenceStageConfig(
        laboratory.policy,
        small_stages.data(laboratory.pairs),
        training=small_stages.training(**fields),
        meter=laboratory.meter(),
    )


def best_of_n(laboratory, **training) -> BestOfNConfig:
    fields = small_stages.training(**training)
    return BestOfNConfig(laboratory.policy, laboratory.meter(), sizes=(2, 1), training=fields)


def as_exported(root, run_id) -> content.RunContent:
    """What `launch.export` would tell a service of the same run."""
    (entry,) = (entry for entry in index.entries(str(root)) if entry.run_id == run_id)
    return content.read(str(root), entry)


def merged(rows) -> dict[int, dict[str, float]]:
    """By step: a measurement joins the row of its step."""
    found: dict[int, dict[str, float]] = {}
    for step, measured in rows:
        found.setdefault(step, {}).update(measured)
    return found


def test_a_stage_shows_its_rows_its_measurements_and_its_record_and_no_outage_stops_it(laboratory, tmp_path, shown):
    directory, status = small_stages.run("preference", preference(laboratory, mirrors=BOTH), tmp_path)
    record = directory.record()
    assert status == record["status"] == "completed"
    exported = as_exported(tmp_path, directory.spec.run_id)
    assert merged(shown.rows) == {row.step: dict(row.values) for row in exported.rows if row.step != 3}
    assert {"policy/kl", "policy/gold"} <= merged(shown.rows)[4].keys() and "loss" in merged(shown.rows)[4]
    # Four training rows and three measurements.
    assert record["mirrors"]["tensorboard"] == {"rows": 6, "lost": 1, "failure": "ConnectionError: step 3 was refused"}
    failure = "ModuleNotFoundError: No module named 'no_such_package'"
    assert record["mirrors"]["wandb"] == {"rows": 0, "lost": 7, "failure": failure}
    assert shown.ended == (exported.results, "completed")
    assert record["final"]["policy"]["gold"] in exported.results.values()


def test_best_of_n_is_shown_by_n(laboratory, tmp_path, shown):
    directory, _ = small_stages.run("best_of_n", best_of_n(laboratory, mirrors=BOTH), tmp_path)
    exported = as_exported(tmp_path, directory.spec.run_id)
    assert merged(shown.rows) == {row.step: dict(row.values) for row in exported.rows} and len(shown.rows) == 2
    assert [step for step, _ in shown.rows] == [1, 2]
    assert directory.record()["mirrors"]["tensorboard"] == {"rows": 2, "lost": 0, "failure": ""}
    assert shown.ended == (exported.results, "completed") and exported.results["final/wall_seconds"] > 0


@pytest.mark.parametrize("kind", ["preference", "best_of_n"])
def test_a_stage_that_stops_leaves_its_services_and_says_so_in_its_attempt(kind, laboratory, tmp_path, shown):
    config = {"preference": preference, "best_of_n": best_of_n}[kind](laboratory, mirrors=BOTH)
    spec = catalogue.KINDS[kind].spec(config, "")
    directory = stage_directory.freeze(tmp_path, spec)
    asked = Interruption()
    asked.signal_name = "SIGTERM"
    with pytest.raises(InterruptedRunError):
        catalogue.KINDS[kind].run(directory, config, asked)
    assert shown.ended == ({}, "interrupted") and directory.record() is None
    (attempt,) = directory.attempts()
    assert attempt.end["status"] == "interrupted" and "SIGTERM" in attempt.end["reason"]


def test_mirrors_are_no_part_of_what_a_stage_is(laboratory):
    for kind, make in (("preference", preference), ("best_of_n", best_of_n)):
        plain, seen = (catalogue.KINDS[kind].spec(make(laboratory, **fields), "") for fields in ({}, {"mirrors": BOTH}))
        assert plain.run_id == seen.run_id and plain.config != seen.config


def test_services_are_told_what_a_stage_is_and_where_it_comes_from(laboratory, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(live, "_Wandb", lambda identity, config, attempt: told.append((identity, config)) or Shown())
    mirrors = MirrorsConfig(("wandb",), project="alignment")
    directory, _ = small_stages.run("best_of_n", best_of_n(laboratory, mirrors=mirrors), tmp_path)
    spec, ((identity, config),) = directory.spec, told
    assert (identity.run_id, identity.kind, identity.group) == (spec.run_id, "best_of_n", tmp_path.name)
    assert config == mirrors and values.settings(spec.config).items() <= identity.config.items()
    lineage = as_exported(tmp_path, spec.run_id).lineage
    assert identity.config["lineage"] == {
        name: lineage[name] for name in lineage if name.startswith(("parent.", "data."))
    }
    assert identity.config["lineage"]["parent.policy"] == spec.parents["policy"]
