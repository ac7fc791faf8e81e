"""The search: what Optuna is asked and told, and that the run directories alone are enough to go on."""

import math
import shlex
import signal
import subprocess
import sys
import time

import pytest

optuna = pytest.importorskip("optuna", reason="the extra `search` is not installed")

from launch.search_config import Search  # noqa: E402
from launch.sweep_config import Grid, Range  # noqa: E402
from launch.tuning import objective, report  # noqa: E402
from launch.tuning.objective import Score  # noqa: E402
from launch.tuning.space import Space  # noqa: E402
from launch.tuning.study import Study  # noqa: E402
from launch.tuning.trials import Trial  # noqa: E402
from scaling.errors import ConfigError  # noqa: E402
from tests.launch.conftest import PROJECT_ROOT, Ended, ended, start_verb  # noqa: E402

SPACE = (
    Range("ScheduleConfig.peak", 1e-4, 1e-1, "log"),
    Range("WIDTH", 16, 64, multiple_of=16),
    Grid("RunConfig.model", ("@ladder.llama()", "@ladder.neox()", True)),
)


def search(**fields) -> Search:
    return Search(**{"name": "rates", "root": "runs", "space": SPACE, "trials": 12, "startup": 3, **fields})


def play(study: Study, count: int, diverging: int = 4) -> list[Trial]:
    """Trials that score their learning rate's distance from 0.01; every fourth diverges, or none."""
    played = []
    for _ in range(count):
        asked = study.ask()
        value = abs(math.log(asked.parameters["ScheduleConfig.peak"] / 0.01))
        score = Score(1e3, diverged=True) if diverging and asked.number % diverging == diverging - 1 else Score(value)
        study.tell(asked.number, score)
        played.append(Trial(asked.number, asked.parameters, score))
    return played


def test_parameters_come_back_from_tags_exactly():
    space = Space(SPACE)
    for parameters in (
        {"ScheduleConfig.peak": 0.1 / 3, "WIDTH": 3, "RunConfig.model": "'@ladder.neox()'"},
        {"ScheduleConfig.peak": 1e-4, "WIDTH": 1, "RunConfig.model": "True"},
    ):
        assert space.parameters(space.tags(parameters)) == parameters
    values = space.values({"ScheduleConfig.peak": 1e-3, "WIDTH": 2, "RunConfig.model": "'@ladder.llama()'"})
    assert values == {"ScheduleConfig.peak": 1e-3, "WIDTH": 32, "RunConfig.model": "@ladder.llama()"}


@pytest.mark.parametrize(
    "tags", [{"WIDTH": "40"}, {"WIDTH": "80"}, {"ScheduleConfig.peak": "0.5"}, {"RunConfig.model": "1"}]
)
def test_tags_outside_the_space_are_no_trial_of_it(tags):
    inside = {"ScheduleConfig.peak": "0.001", "WIDTH": "32", "RunConfig.model": "True"}
    assert Space(SPACE).parameters(inside) is not None
    assert Space(SPACE).parameters({**inside, **tags}) is None


def test_a_lost_journal_is_rebuilt_with_the_same_numbers_values_and_next_suggestion(tmp_path):
    kept = Study(search(), "study", tmp_path / "kept", [])
    disk = play(kept, 9)
    asked = kept.ask()
    rebuilt = Study(search(), "study", tmp_path / "lost", [*disk, asked])
    assert rebuilt.rebuilt and rebuilt.told() == kept.told() == disk
    assert rebuilt.running() == kept.running() == [asked]
    assert rebuilt.ask() == kept.ask()


def test_a_whole_journal_is_kept_and_a_torn_one_is_set_aside(tmp_path):
    journal = tmp_path / "journal"
    disk = play(Study(search(), "study", journal, []), 4)
    assert not Study(search(), "study", journal, disk).rebuilt
    journal.write_bytes(journal.read_bytes()[:-7])
    again = Study(search(), "study", journal, disk)
    assert again.rebuilt and again.told() == disk
    assert (tmp_path / "journal.set_aside").exists()


@pytest.mark.parametrize(
    "case", ["another score", "a trial that the journal lacks", "a run that is gone", "another direction"]
)
def test_a_journal_that_disagrees_with_the_directories_is_not_believed(tmp_path, case):
    journal = tmp_path / "journal"
    disk = play(Study(search(), "study", journal, []), 3)
    changed = {
        "another score": [*disk[:2], Trial(2, disk[2].parameters, Score(0.5))],
        "a trial that the journal lacks": [*disk, Trial(5, disk[0].parameters | {"WIDTH": 2}, Score(0.1))],
        "a run that is gone": disk[1:],
        "another direction": disk,
    }[case]
    direction = "maximize" if case == "another direction" else "minimize"
    study = Study(search(direction=direction), "study", journal, changed)
    assert study.rebuilt and study.told() == changed


def test_the_model_comes_nearer_to_the_optimum_than_chance(tmp_path):
    """The median distance of the last 15 of 30 trials from the best rate, in factors of e."""

    def distance(sampler: str) -> float:
        settings = search(space=SPACE[:1], trials=30, startup=8, sampler=sampler)
        study = Study(settings, "study", tmp_path / sampler, [])
        return sorted(trial.score.value for trial in play(study, 30, diverging=0)[-15:])[7]

    assert distance("tpe") < distance("random") / 2


def test_diverged_trials_are_pruned_at_the_stated_value_and_never_the_best(tmp_path):
    study = Study(search(), "study", tmp_path / "journal", [])
    play(study, 4)
    told = optuna.load_study(
        study_name="study",
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))),
    )
    assert [trial.state.name for trial in told.trials] == ["COMPLETE"] * 3 + ["PRUNED"]
    assert told.trials[3].intermediate_values == {0: 1e3} and told.best_trial.number != 3


def test_the_best_trial_is_said_as_flags_that_gin_reads_back(tmp_path):
    """Ranked by direction, diverged trials last; numbers to the last digit and references without quotes."""
    study = Study(search(), "study", tmp_path / "journal", [])
    disk = play(study, 5)
    best = min((trial for trial in disk if not trial.score.diverged), key=lambda trial: trial.score.value)
    line = report.best_lines(study, search())
    assert line.startswith(f"best: trial {best.number}, {best.score.value:.4f}: ")
    peak, width, model = (word.partition("=")[2] for word in shlex.split(line.rpartition(": ")[2]))
    values = Space(SPACE).values(best.parameters)
    assert float(peak) == values["ScheduleConfig.peak"] and int(width) == values["WIDTH"]
    assert model == str(values["RunConfig.model"])
    assert report.ranked(study, search())[-1].score.diverged
    assert report.ranked(study, search(direction="maximize"))[0].number != best.number


def record(**fields) -> dict:
    losses = {"speeches": {"nats_per_token": 2.5, "bits_per_byte": 1.1}}
    return {
        "run_id": "r",
        "status": "completed",
        "losses": losses,
        "primary_domain": "speeches",
        "train_loss": 2.0,
        **fields,
    }


def test_the_objective_is_the_primary_loss_or_any_number_of_the_record():
    assert objective.score(record(), search()) == Score(2.5)
    assert objective.score(record(), search(objective="train_loss")) == Score(2.0)
    assert objective.score(record(), search(objective="losses.speeches.bits_per_byte")) == Score(1.1)
    assert objective.score(record(status="diverged", losses={}), search(diverged_value=9.0)) == Score(
        9.0, diverged=True
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [("losses.poems.nats", "there are speeches"), ("status", "is 'completed'"), ("loss", "does not have")],
)
def test_an_objective_that_is_no_number_is_refused(path, said):
    with pytest.raises(ConfigError, match=said):
        objective.score(record(), search(objective=path))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(space=()), "is empty"),
        (dict(space=(SPACE[1], SPACE[1])), "sets 'WIDTH' 2 times"),
        (dict(trials=0), "trials is 0"),
        (dict(parallel=0), "parallel is 0"),
        (dict(diverged_value=math.inf), "diverged_value"),
    ],
)
def test_a_search_that_cannot_be_run_is_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        search(**fields)


def test_a_missing_optuna_is_named_with_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match="needs optuna, which is not installed.*requirements-extras.lock optuna"):
        Study(search(), "study", tmp_path / "journal", [])
    assert not list(tmp_path.iterdir())


def run(*arguments: str, behaviour: dict[int, str] | None = None) -> Ended:
    return ended(start_verb("launch.search", *arguments, "--engine=serial", behaviour=behaviour))


def rows(out: str) -> dict[str, str]:
    """From trial to its row of the table."""
    lines = [line.split() for line in out.splitlines()]
    return {line[0]: " ".join(line[1:]) for line in lines if line and line[0].isdecimal()}


@pytest.mark.slow
def test_without_its_journal_a_search_repeats_no_run_and_says_the_same(lab, search_file):
    first = run(f"--gin_file={search_file}")
    assert first.code == 0, first.err
    assert len(rows(first.out)) == 4 and len(set(lab.started())) == len(lab.started()) == 4
    (journal,) = (lab.root / "searches").glob("*.journal")
    journal.unlink()
    again = run(f"--gin_file={search_file}")
    assert again.code == 0, again.err
    assert "written anew from 4 recorded trials" in again.out
    assert rows(again.out) == rows(first.out) and len(lab.started()) == 4
    more = run(f"--gin_file={search_file}", "--gin.Search.trials=6")
    assert more.code == 0 and len(lab.started()) == 6
    assert rows(first.out).items() <= rows(more.out).items()


@pytest.mark.slow
def test_diverged_trials_are_scored_and_crashing_ones_given_up(lab, search_file):
    ended = run(
        f"--gin_file={search_file}",
        "--retries=0",
        "--gin.Search.trials=6",
        "--gin.Search.parallel=3",
        behaviour={0: "diverge", 1: "diverge", 2: "crash"},
    )
    assert ended.code == 1, ended.err
    found = rows(ended.out)
    assert any("diverged" in row for row in found.values()) and "is given up" in ended.out
    given_up = ended.out.count("is given up")
    assert f"{given_up} of 6 trials were given up" in ended.err and len(found) == 6 - given_up
    assert "diverged" not in ended.out.split("best: ")[1]


def test_a_dry_run_says_what_a_search_costs_and_writes_nothing(lab, search_file):
    ended = run(f"--gin_file={search_file}", "--dry_run")
    assert ended.code == 0, ended.err
    assert "4 trials over RunConfig.seed, ScheduleConfig.peak, WIDTH, 0 done" in ended.out
    assert not lab.root.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gin.rate/Range.binding=ScheduleConfig.peek"], "peek"),
        (["--gin.BRANCHES=(3_200,6_400)"], "branches"),
        (["--root=gs://nobody/runs"], "not on a local disk"),
        (["--gin.rate/Range.high=0.00001"], "Range of 'ScheduleConfig.peak'"),
    ],
)
def test_a_bad_search_is_one_line_exit_code_2_and_no_files(lab, search_file, arguments, said):
    ended = run(f"--gin_file={search_file}", *arguments)
    assert ended.code == 2 and said in ended.err, ended.err
    assert ended.err.count("\n") == 1 and not lab.root.exists()


@pytest.mark.parametrize(
    "module", ["launch.sweep", "launch.run_one", "launch.worker", "launch.search", "scaling.train"]
)
def test_optuna_is_imported_by_a_search_that_runs_and_nothing_else(module):
    program = f"import sys, {module}; print('optuna' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert shown.stdout.strip() == "False", shown.stderr


@pytest.mark.slow
def test_an_interrupted_search_continues_and_has_one_driver_only(lab, search_file):
    """The second driver is refused; a signal ends the first with 75; the same command trains what is missing and begins nothing anew."""
    driver = start_verb("launch.search", f"--gin_file={search_file}", "--engine=serial", seconds=8.0)
    deadline = time.monotonic() + 60
    while not lab.started():
        assert time.monotonic() < deadline, "no trial was begun in time"
        time.sleep(0.05)
    second = run(f"--gin_file={search_file}")
    assert second.code == 75 and "another process drives the search" in second.err
    driver.send_signal(signal.SIGTERM)
    first = ended(driver)
    assert first.code == 75 and "the same command continues" in first.err, first.err
    again = run(f"--gin_file={search_file}")
    assert again.code == 0 and len(rows(again.out)) == 4, again.err
    assert len(set(lab.started())) == 4
