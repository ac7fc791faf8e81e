"""Watching engines elsewhere: their word ends the watching, and files say what became of the runs."""

import dataclasses
import os
import signal
import threading
from collections.abc import Sequence

import pytest

from launch import conduct, manifest
from launch.engines.engine import Job, Submission
from scaling.errors import DivergedError, InterruptedRunError, PlumblineError
from tests.launch.conftest import SEEDS


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """An engine that starts nothing and says always the same."""

    word: str = "running"
    name = "elsewhere"
    reads_buckets = False
    slots = 2

    def check(self, root: str) -> None:
        pass

    def plan(self, jobs: Sequence[Job], sweep_id: str, root: str) -> Submission:
        return Submission(self.name, sweep_id, root, tuple(jobs), {}, (), 1.0, None)

    def submit(self, submission: Submission) -> list[str]:
        return [job.name for job in submission.jobs]

    def poll(self, handles: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(handles, self.word)

    def cancel(self, handles: Sequence[str]) -> None:
        raise AssertionError("nobody asked for that")


@pytest.fixture
def submitted(lab):
    """A way to submit two runs to such an engine."""

    def submit(engine: Elsewhere) -> tuple[manifest.Manifest, list]:
        plan = lab.plan(SEEDS.format(values=(0, 1)))
        conduct.freeze(plan)
        sweep = manifest.manifest_of(plan)
        submission = conduct.submission_of(sweep.unfinished(plan.root), plan.sweep_id, plan.root, engine)
        return conduct.submit(sweep, submission, engine), [run.unit.directories[0] for run in plan.runs]

    return submit


def test_the_manifest_keeps_engine_settings_jobs_and_handles(lab, submitted):
    sweep, _ = submitted(Elsewhere("ended"))
    read = manifest.read(str(lab.root), sweep.sweep_id)
    assert read == sweep
    (submission,) = read.submissions
    assert submission.settings == {"word": "ended"} and submission.engine == "elsewhere"
    assert submission.handles == tuple(job.name for job in submission.jobs)
    assert {run_id for job in submission.jobs for run_id in job.run_ids} == {run.run_id for run in read.runs}


def test_records_end_the_watching_whatever_the_engine_says(lab, submitted):
    sweep, directories = submitted(Elsewhere("running"))
    directories[0].write_record({"status": "completed"})
    timer = threading.Timer(1.0, lambda: directories[1].write_record({"status": "diverged"}))
    timer.start()
    outcome = conduct.watch(str(lab.root), sweep, Elsewhere("running"))
    assert not outcome.failures and not outcome.interrupted
    with pytest.raises(DivergedError, match="1 runs diverged"):
        conduct.raise_for(outcome, diverged=1)


def test_what_an_engine_left_behind_is_a_failure_with_the_reason_of_its_files(lab, submitted):
    sweep, directories = submitted(Elsewhere("ended"))
    directories[0].start_attempt({"first_step": 0}).finish("failed", reason="a full disk")
    outcome = conduct.watch(str(lab.root), sweep, Elsewhere("ended"))
    reasons = {run_id: failure.reason for run_id, failure in outcome.failures.items()}
    assert reasons == {directories[0].path.name: "a full disk", directories[1].path.name: "it is new"}
    with pytest.raises(PlumblineError, match="2 runs failed"):
        conduct.raise_for(outcome, diverged=0)


def test_a_signal_ends_the_watching_and_leaves_the_jobs_alone(lab, submitted, capsys):
    sweep, _ = submitted(Elsewhere("running"))
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    before = signal.getsignal(signal.SIGTERM)
    outcome = conduct.watch(str(lab.root), sweep, Elsewhere("running"))
    assert outcome.interrupted and signal.getsignal(signal.SIGTERM) is before
    assert "go on until launch.cancel" in capsys.readouterr().out
    with pytest.raises(InterruptedRunError):
        conduct.raise_for(outcome, diverged=0)
