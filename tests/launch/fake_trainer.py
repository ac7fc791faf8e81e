"""Stands in for `python -m scaling.train`: the same files, last lines and exit codes, no training.

Environment: FAKE_SECONDS a run takes; FAKE_BEHAVIOUR, JSON from a run's seed, its trial ("trial0"), or "*" for all others, to what goes wrong in it, or to
"outlast N": it ends when N others have. Every start of a run
is a line of `journal.txt` beside the run directories: the run, the process, its cores, the device mask that it sees, and whether another trainer that
sees the same mask was alive then.
"""

import argparse
import fcntl
import json
import os
import pathlib
import random
import signal
import sys
import time

from scaling.errors import EXIT_BAD_INPUT, BadInputError, DivergedError, PlumblineError
from scaling.run_directory import RunDirectory

BEHAVIOUR = json.loads(os.environ.get("FAKE_BEHAVIOUR", "{}"))
SECONDS = float(os.environ.get("FAKE_SECONDS", "0"))
STEPS = 20
MASK = os.environ.get("CUDA_VISIBLE_DEVICES") or "none"


class Trainer:
    """Trains directories one after another and remembers the exit code that they call for."""

    def __init__(self):
        self.asked_to_stop = False
        self.ends: dict[str, str] = {}
        self.mask_lock = None
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, number, frame):
        self.asked_to_stop = True

    def train(self, directory: RunDirectory) -> None:
        with directory.lock():
            recorded = directory.record()
            self.ends[directory.path.name] = recorded["status"] if recorded else self.attempt(directory)

    def attempt(self, directory: RunDirectory) -> str:
        spec = directory.spec
        names = (str(spec.config.seed), f"trial{spec.tags.get('trial')}", "*")
        behaviour = next((BEHAVIOUR[name] for name in names if name in BEHAVIOUR), None)
        if behaviour == "refuse":
            print(f"error: {spec.run_id}: the store is altered. Remedy: write it again.")
            return "bad_input"
        saved = directory.path / "checkpoints" / "step.txt"
        first = int(saved.read_text()) if saved.exists() else spec.first_step
        earlier = len(directory.attempts())
        attempt = directory.start_attempt({"first_step": first})
        with open(directory.path.parent / "journal.txt", "a") as journal:
            cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
            journal.write(f"{spec.run_id} {os.getpid()} {cores} {MASK} {self.share_of_mask(directory.path.parent)}\n")
        self.misbehave(behaviour, attempt, earlier)
        if behaviour and behaviour.startswith("outlast"):
            outlast(int(behaviour.split()[1]), directory.path.parent)
        if behaviour == "diverge":
            attempt.finish("diverged", reason="loss nan")
            directory.write_record(record(spec, "diverged"))
            return "diverged"
        if behaviour == "raise":
            attempt.finish("failed", reason="a bug\nin two lines")
            return "failed"
        self.steps(directory, attempt, first, fault_of(spec.run_id, earlier) if behaviour == "flaky" else None)
        directory.write_record(record(spec, "completed"))
        return "completed"

    def conclude(self) -> int:
        """The exit code, after the line that the real trainer ends its output with."""
        named = {word: [run_id for run_id, end in self.ends.items() if end == word] for word in set(self.ends.values())}
        if "bad_input" in named and len(self.ends) == 1:
            return EXIT_BAD_INPUT
        for word, error in (
            ("failed", PlumblineError("{} runs failed: {}")),
            ("bad_input", BadInputError("{} runs were refused: {}", "see the lines above")),
            ("diverged", DivergedError("{} runs diverged, as their records say: {}")),
        ):
            if word in named:
                counted = f"{len(named[word])} of {len(self.ends)}"
                print(f"error: {error}".format(counted, ", ".join(named[word])))
                return error.exit_code
        return 0

    def share_of_mask(self, root: pathlib.Path) -> str:
        """ "alone", or "shared" where another living trainer sees the same mask; a lock that ends with the process tells."""
        if self.mask_lock is None:
            self.mask_lock = open(root / f"mask-{MASK}", "a")
        try:
            fcntl.flock(self.mask_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "shared"
        return "alone"

    def misbehave(self, behaviour, attempt, earlier: int) -> None:
        if behaviour == "crash" or (behaviour == "crash_once" and not earlier):
            os.kill(os.getpid(), signal.SIGKILL)
        if behaviour == "interrupted_once" and not earlier:
            attempt.finish("interrupted", reason="SIGTERM from elsewhere")
            sys.exit(75)

    def steps(self, directory: RunDirectory, attempt, first: int, fault: tuple[int, str] | None) -> None:
        spec = directory.spec
        own = max(1, spec.last_step - spec.first_step)
        for i in range(STEPS):
            step = spec.first_step + (i + 1) * own // STEPS
            if step <= first:
                continue
            time.sleep(SECONDS / STEPS)
            with (attempt.path / "metrics.jsonl").open("a") as metrics:
                metrics.write(json.dumps({"step": step, "loss": 3.0}) + "\n")
            if self.asked_to_stop or fault:
                save(directory, step)
            if self.asked_to_stop:
                attempt.finish("interrupted", reason="SIGTERM")
                sys.exit(75)
            if fault and i == fault[0]:
                break_down(fault[1])


def outlast(others: int, root: pathlib.Path) -> None:
    """Waits until so many runs of the root are recorded."""
    deadline = time.monotonic() + 60
    while len(list(root.glob("*/record.json"))) < others:
        if time.monotonic() > deadline:
            sys.exit(1)
        time.sleep(0.05)


def save(directory: RunDirectory, step: int) -> None:
    """A checkpoint, atomically."""
    directory.checkpoints.mkdir(exist_ok=True)
    partial = directory.checkpoints / "partial"
    partial.write_text(str(step))
    partial.replace(directory.checkpoints / "step.txt")


def fault_of(run_id: str, earlier: int) -> tuple[int, str]:
    """After which of its steps a flaky run breaks down in this attempt, and how; the same every time. No run does so more than three times."""
    chance = random.Random(f"{run_id}-{earlier}")
    step = chance.randrange(STEPS - 1) if chance.random() < 0.4 and earlier < 3 else STEPS
    return step, chance.choice(("exit", "kill", "interrupt"))


def break_down(how: str) -> None:
    """Ends the process in one of three ways."""
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(1 if how == "exit" else 75)


def record(spec, status: str) -> dict:
    """The fields of a record that launchers read."""
    own = (spec.last_step - spec.first_step) / max(1, spec.last_step)
    return {
        "run_id": spec.run_id,
        "status": status,
        "tags": spec.tags,
        "losses": {"speeches": {"nats_per_token": 3.0}} if status == "completed" else {},
        "primary_domain": "speeches",
        "parameters": {"total": 1000 * spec.config.model.width},
        "tokens": spec.last_step * spec.config.batch_tokens,
        "flops": {"6nd": 1e9},
        "own_flops": {"6nd": own * 1e9},
        "wall_seconds": SECONDS,
        "device_seconds": SECONDS,
        "device": {"kind": "fake", "count": 1},
        "created": "2026-01-01T00:00:00+00:00",
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run_dir", action="append", type=pathlib.Path)
    trainer = Trainer()
    for path in parser.parse_args().run_dir:
        directory = RunDirectory(path)
        for each in [directory, *(RunDirectory(path.parent / branch) for branch in directory.spec.branches)]:
            trainer.train(each)
    return trainer.conclude()


if __name__ == "__main__":
    sys.exit(main())
