"""Several commands share a study on one disk: together they leave what one command leaves, each stage done once, whoever dies."""

import dataclasses
import json
import pickle
import subprocess
import sys
import time

import pytest

from align.stages import laboratory as laboratories
from align.stages import shares, study
from align.stages.collecting import collect
from align.stages.shares import Share
from align.stages.side_by_side import NamedStage
from align.training.stage_directory import StageDirectory
from scaling import gin_files
from scaling.errors import ConfigError, InterruptedRunError
from scaling.run_directory import BusyError, RunDirectory
from scaling.training.interruption import Interruption
from tests.align.stages import small_stages
from tests.align.stages.test_study import tiny
from tests.conftest import PROJECT_ROOT


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("module", "config", "file"),
    [
        (study, study.StudyConfig, "configs/align/studies/three_sizes.gin"),
        (laboratories, laboratories.LaboratoryConfig, "configs/align/laboratories/proxies.gin"),
    ],
)
def test_every_policy_has_one_share_and_shares_are_alike(module, config, file, count):
    """Of the shipped study of three sizes, and of the laboratory: what all need is in every share, and each size is dealt out evenly."""
    config = gin_files.load(config, [file], []).config
    whole = module.planned(config)
    dealt = [module.planned(config, Share(index, count)) for index in range(count)]
    needed = [name for name in whole if count == 1 or all(name in names for names in dealt)]
    policies = [name for name in whole if name not in needed] if count > 1 else []
    assert sorted(name for names in dealt for name in names if name not in needed) == sorted(policies)
    if module is study and count > 1:
        for parent in config.parents:
            label = study.label_of(parent)
            sizes = [sum(name.startswith(label) and name not in needed for name in names) for names in dealt]
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["2/2", "1", "a/b", "0/0", "-1/2"])
def test_a_share_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--share is"):
        Share.parsed(text)


def test_what_another_has_in_hand_is_waited_for_by_a_share_alone(monkeypatch, capsys):
    monkeypatch.setattr("align.stages.shares._LOOK_SECONDS", 0.01)
    answers = [BusyError("held"), BusyError("held"), "made"]

    def take():
        answer = answers.pop(0)
        if isinstance(answer, BusyError):
            raise answer
        return answer

    with Interruption() as interruption:
        assert Share(0, 2).awaited(take, interruption, "the fine-tune") == "made"
        assert capsys.readouterr().out.count("waiting for the fine-tune") == 1
        answers[:] = [BusyError("held")]
        with pytest.raises(BusyError):
            Share().awaited(take, interruption, "the fine-tune")
        answers[:] = [BusyError("held")]
        monkeypatch.setattr(type(interruption), "requested", True)
        with pytest.raises(InterruptedRunError, match="stopped waiting"):
            Share(1, 2).awaited(take, interruption, "the fine-tune")


def test_what_all_shares_need_is_done_own_part_first_and_the_rest_awaited(monkeypatch):
    """The second of two shares: it runs its stages side by side, and takes or waits for the others one by one."""
    stages, done = [NamedStage("sft", None, name) for name in "abcd"], []
    held = {"c": 1}

    def side_by_side(own, *_):
        done.extend(stage.name for stage in own)
        return {stage.name: "completed" for stage in own}

    def taken(stage, *_):
        if held.get(stage.name):
            held[stage.name] -= 1
            raise BusyError("another share has it in hand")
        done.append(stage.name)
        return "diverged"

    monkeypatch.setattr("align.stages.shares._LOOK_SECONDS", 0.01)
    monkeypatch.setattr("align.stages.side_by_side.run", side_by_side)
    monkeypatch.setattr("align.stages.side_by_side.taken", taken)
    with Interruption() as interruption:
        found = shares.run_for_all(stages, "root", 1, interruption, Share(1, 2))
    assert done == ["b", "d", "a", "c"]
    assert list(found.items()) == [("a", "diverged"), ("b", "completed"), ("c", "diverged"), ("d", "completed")]


def test_a_store_that_another_command_collects_is_not_collected_twice(laboratory, tmp_path):
    config = tiny(laboratory, tmp_path).collect
    config = dataclasses.replace(
        config, parent=laboratory.policy, output=str(tmp_path / "pairs"), meter=laboratory.meter()
    )
    (tmp_path / "pairs.samples").mkdir()
    with RunDirectory(tmp_path / "pairs.samples").lock(), Interruption() as interruption, pytest.raises(BusyError):
        collect(config, interruption)
    assert not (tmp_path / "pairs").exists()


def started(tmp_path, share: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "tests.align.stages.study_share_process",
        tmp_path / "study.pickle",
        tmp_path / "shared",
        share,
    ]
    return subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)  # fmt: skip


def policies_of(root) -> list[StageDirectory]:
    found = [StageDirectory(path.parent) for path in sorted(root.glob("*/stage.json"))]
    return [directory for directory in found if directory.spec.kind not in ("sft", "reward")]


@pytest.mark.slow
def test_two_shares_leave_what_one_command_leaves_though_one_is_killed(laboratory, tmp_path):
    """The second is killed -9 in its first policy; the first comes to its end without it, and the same command continues the second."""
    config = tiny(laboratory, tmp_path)
    (tmp_path / "study.pickle").write_bytes(pickle.dumps(config))
    processes = [started(tmp_path, "0/2"), started(tmp_path, "1/2")]
    own = set(study.planned(config, Share(1, 2))) - set(study.planned(config, Share(0, 2)))
    deadline = time.monotonic() + 300
    while not any(d.spec.name in own and d.attempts() for d in policies_of(tmp_path / "shared")):
        assert time.monotonic() < deadline, "the second share never began a policy"
        time.sleep(0.05)
    processes[1].kill()
    text, _ = processes[0].communicate(timeout=300)
    assert processes[0].returncode == 0, text
    processes[1].communicate()
    again = started(tmp_path, "1/2")
    text, _ = again.communicate(timeout=300)
    assert again.returncode == 0, text

    alone = dataclasses.replace(
        config, collect=dataclasses.replace(config.collect, output=str(tmp_path / "alone_pairs"))
    )
    with Interruption() as interruption:
        study.run(alone, tmp_path / "alone", interruption)
    names = {path.parent.name for path in (tmp_path / "alone").glob("*/record.json")}
    assert {path.parent.name for path in (tmp_path / "shared").glob("*/record.json")} == names
    assert len(names) == len(study.planned(config)) - 1, "the collected store is no stage"
    attempts = 0
    for name in names:
        one, shared = (StageDirectory(tmp_path / root / name) for root in ("alone", "shared"))
        assert shared.record()["status"] == "completed"
        attempts += len(shared.attempts())
        if (one.path / "model").exists():
            parameters = small_stages.final_parameters(one), small_stages.final_parameters(shared)
            assert small_stages.largest_difference(*parameters) == 0
    assert attempts <= len(names) + 1, "only the killed policy was begun twice"
    manifests = [
        json.loads(next(tmp_path.glob(f"{store}/*/manifest.json")).read_text())
        for store in ("collected", "alone_pairs")
    ]
    assert manifests[0]["made_of"] == manifests[1]["made_of"] and not list(tmp_path.glob("collected/*.samples"))
