"""On an engine of this machine a search asks for the next trial as soon as one is told, and loses nothing to a kill."""

import json
import os
import pathlib
import signal
import time

import pytest

optuna = pytest.importorskip("optuna", reason="the extra `search` is not installed")

from launch import manifest, processes, states  # noqa: E402
from launch.reports import Failure  # noqa: E402
from launch.search_config import Search  # noqa: E402
from launch.tuning import trials  # noqa: E402
from launch.tuning.prepared import Prepared, prepare  # noqa: E402
from launch.tuning.refilling import Refill  # noqa: E402
from launch.tuning.study import Study  # noqa: E402
from scaling import gin_files  # noqa: E402
from scaling.run_directory import RunDirectory  # noqa: E402
from tests.launch import simulated_runs  # noqa: E402
from tests.launch.conftest import ended, start_verb  # noqa: E402


def prepared(lab, search_file: str, *bindings: str) -> Prepared:
    """The search with some fields bound otherwise; its objective is one that simulated runs have."""
    gin_files.parse(Search, [search_file], ["Search.objective=''", *bindings])
    return prepare(gin_files.build(Search).config, str(lab.root))


def study_of(search: Prepared) -> Study:
    return Study(
        search.search, search.search_id, search.journal, trials.on_disk(search.root, search.search_id, search.search)
    )


def finish(lab, run: manifest.ManifestRun) -> None:
    simulated_runs.finish(RunDirectory(lab.root / run.run_id))


def test_each_told_trial_makes_room_for_one_and_no_more_than_parallel_are_open(lab, search_file):
    search = prepared(lab, search_file, "Search.trials=5", "Search.parallel=3")
    study = study_of(search)
    refill = Refill(search, study)
    first = refill({})
    assert [job.name for job in first.jobs] == ["trial0000", "trial0001", "trial0002"] and not first.last
    assert refill({}) == manifest.Joining()
    finish(lab, first.runs[1])
    second = refill({})
    assert [job.run_ids for job in second.jobs] == [(run.run_id,) for run in second.runs] and len(second.runs) == 1
    assert [trial.number for trial in study.told()] == [1] and not second.last
    finish(lab, first.runs[0])
    third = refill({})
    assert third.last and [job.name for job in third.jobs] == ["trial0004"]
    for run in (first.runs[2], *second.runs, *third.runs):
        finish(lab, run)
    assert refill({}) == manifest.Joining(last=True) and len(study.told()) == 5 and not study.running()
    assert all(RunDirectory(path.parent).spec.sweep_id == search.search_id for path in lab.root.glob("*/spec.json"))


def test_a_crashed_trial_makes_room_and_a_refused_one_ends_the_asking(lab, search_file):
    search = prepared(lab, search_file, "Search.trials=9")
    study = study_of(search)
    refill = Refill(search, study)
    first = refill({})
    failures = {first.runs[0].run_id: Failure("exit code 1", "log", bad_input=False)}
    second = refill(failures)
    assert study.failed() == [0] and len(second.jobs) == 1 and not refill.refused
    failures[second.runs[0].run_id] = Failure("the store is altered", "log", bad_input=True)
    finish(lab, first.runs[1])
    assert refill(failures) == manifest.Joining(last=True)
    assert list(refill.refused) == [second.runs[0].run_id]
    assert [trial.number for trial in study.running()] == [2] and [trial.number for trial in study.told()] == [1]


def test_a_new_driver_trains_what_is_open_and_tells_what_was_recorded_meanwhile(lab, search_file):
    """It asks for no more than there is room for, and what has its record needs no job."""
    search = prepared(lab, search_file, "Search.trials=6", "Search.parallel=3")
    first = Refill(search, study_of(search))({})
    finish(lab, first.runs[2])
    study = study_of(search)
    again = Refill(search, study)({})
    assert [run.run_id for run in again.runs[:2]] == [run.run_id for run in first.runs[:2]]
    assert [job.name for job in again.jobs] == ["trial0000", "trial0001", "trial0003"]
    assert [trial.number for trial in study.told()] == [2]


def test_trials_of_equal_parameters_are_one_run(lab, search_file):
    """A space of one point: three trials, one job, and each is told what it scored."""
    one_point = ("Search.space=(@width/sweep_config.Grid(),)", "width/sweep_config.Grid.values=(32,)")
    search = prepared(lab, search_file, *one_point, "Search.trials=3", "Search.parallel=2")
    study = study_of(search)
    refill = Refill(search, study)
    first = refill({})
    assert len(first.jobs) == 1 and len(study.running()) == 2
    finish(lab, first.runs[0])
    assert refill({}) == manifest.Joining(last=True)
    assert len({trial.score.value for trial in study.told()}) == 1 and len(study.told()) == 3


def arguments(search_file: str, *others: str) -> list[str]:
    return [f"--gin_file={search_file}", "--engine=local", "--slots=2", "--gin.Search.trials=4", *others]


@pytest.mark.slow
def test_no_slot_waits_for_the_slowest_trial_of_a_round(lab, search_file):
    """Trial 0 ends when two others have: in rounds of two it would wait for a trial that nobody asks for."""
    ran = ended(start_verb("launch.search", *arguments(search_file), behaviour={"trial0": "outlast 2"}))
    assert ran.code == 0, ran.err
    assert len(set(lab.started())) == len(lab.started()) == 4
    (search_id,) = manifest.sweep_ids(str(lab.root))
    (submitted,) = manifest.read(str(lab.root), search_id).submissions
    assert len(submitted.jobs) == 4 and not submitted.open
    shown = ended(start_verb("launch.status", f"--root={lab.root}", f"--sweep={search_id}"))
    assert "4 models: 4 completed" in shown.out and "ended, 0 crashes" in shown.out


@pytest.mark.slow
def test_a_record_without_the_objective_ends_the_search_in_one_line_and_leaves_no_worker(lab, search_file):
    """It is found while the worker waits for more jobs, which nobody would close."""
    ran = ended(
        start_verb("launch.search", f"--gin_file={search_file}", "--engine=serial", "--gin.Search.objective=no.such")
    )
    assert ran.code == 2 and "Search.objective names 'no.such'" in ran.err and ran.err.count("\n") == 1, ran.err
    (search_id,) = manifest.sweep_ids(str(lab.root))
    (worker,) = manifest.read(str(lab.root), search_id).submissions[-1].handles
    wait_for(lambda: not processes.is_alive(worker))


def test_a_submission_that_jobs_join_has_one_worker(lab):
    """A share of jobs that are not known yet would be another one at each look."""
    manifest.write(str(lab.root), manifest.Manifest("s-1", "s", "", "", ()))
    refused = ended(start_verb("launch.worker", f"--root={lab.root}", "--follow", "--shard=0/2"))
    assert refused.code == 2 and "--follow and --shard=0/2" in refused.err


@pytest.mark.slow
def test_rounds_where_they_are_asked_for(lab, search_file):
    """Each is a sweep of its own, as on engines of other machines."""
    ran = ended(start_verb("launch.search", f"--gin_file={search_file}", "--engine=serial", "--gin.Search.rounds=True"))
    assert ran.code == 0, ran.err
    sweeps = [manifest.read(str(lab.root), sweep_id) for sweep_id in manifest.sweep_ids(str(lab.root))]
    assert [len(sweep.runs) for sweep in sweeps] == [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["driver", "worker"])
def test_a_kill_loses_no_trial_and_repeats_none(lab, search_file, victim):
    """kill -9 while two trials train; the same command continues them and asks for the rest."""
    driver = start_verb("launch.search", *arguments(search_file), seconds=3.0)
    wait_for(lambda: len(lab.started()) >= 2)
    (search_id,) = manifest.sweep_ids(str(lab.root))
    (worker,) = manifest.read(str(lab.root), search_id).submissions[-1].handles
    os.kill(driver.pid if victim == "driver" else int(worker.split(":")[1]), signal.SIGKILL)
    first = ended(driver)
    assert first.code == (-signal.SIGKILL if victim == "driver" else 1), first.err
    asked = frozen_trials(lab.root)
    wait_for(lambda: not any(states.is_held(states.unit_of(str(lab.root), run_id)) for run_id in set(lab.started())))
    again = ended(start_verb("launch.search", *arguments(search_file)))
    assert again.code == 0, again.err
    assert len(set(lab.started())) == 4, "a trial was trained as another run"
    assert asked < frozen_trials(lab.root) and len(frozen_trials(lab.root)) == 4
    assert len(list(lab.root.glob("*/record.json"))) == 4


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def frozen_trials(root: pathlib.Path) -> set[int]:
    """The trials that were asked for, from the tags of their runs."""
    return {int(json.loads(path.read_text())["tags"]["trial"]) for path in root.glob("*/spec.json")}
