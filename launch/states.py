"""What the files say about planned runs. Nothing here writes, and nothing is remembered between two looks."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

from etils import epath

from launch.claims import is_claimed
from scaling import run_directory
from scaling.run_directory import Attempt, RunDirectory, Spec, Status

# These need no further training; every other state does.
FINISHED: tuple[Status, ...] = ("completed", "diverged")

# Longer than any row of metrics.jsonl.
_TAIL_BYTES = 16_384


@dataclasses.dataclass(frozen=True)
class Unit:
    """What one trainer finishes in one go: a run, or a trunk with its branches.

    Attributes:
      root: the directory that holds the run directories.
      specs: the run alone, or the trunk followed by its branches.
    """

    root: str
    specs: tuple[Spec, ...]

    @property
    def run_id(self) -> str:
        """The run that a trainer is given: the run itself or the trunk."""
        return self.specs[0].run_id

    @property
    def path(self) -> epath.Path:
        """The directory that a trainer is given."""
        return epath.Path(self.root) / self.run_id

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The run itself, or the trunk followed by its branches."""
        return tuple(spec.run_id for spec in self.specs)

    @property
    def directories(self) -> list[RunDirectory]:
        """One for each of `specs`; they need not exist."""
        return [RunDirectory(epath.Path(self.root) / spec.run_id) for spec in self.specs]

    @property
    def models(self) -> tuple[Spec, ...]:
        """The specs that end as finished models: the branches of a trunk, or the run."""
        return self.specs[1:] or self.specs


def unit_of(root: str, run_id: str) -> Unit:
    """The unit of a frozen run, from its files.

    Raises:
      DataError: the run, or a branch of it, has no readable `spec.json`.
    """
    spec = RunDirectory(epath.Path(root) / run_id).spec
    branches = (RunDirectory(epath.Path(root) / branch).spec for branch in spec.branches)
    return Unit(root, (spec, *branches))


def claims_folder(root: str) -> pathlib.Path:
    """Where the claims of a root on a local disk are."""
    return pathlib.Path(root) / "logs" / "claims"


def recorded_status(directory: RunDirectory) -> Status | None:
    """The status in `record.json`, None where there is no record; unlike `status()` it never probes the lock."""
    record = directory.record()
    return record["status"] if record is not None else None


def is_finished(unit: Unit) -> bool:
    """Whether every run of the unit has its record; the branches of a trunk that diverged are recorded as diverged, too."""
    return all(recorded_status(directory) in FINISHED for directory in unit.directories)


def all_recorded(root: str, run_ids: Sequence[str]) -> bool:
    """The same from names alone: whether every run has its record."""
    return all(recorded_status(RunDirectory(epath.Path(root) / run_id)) in FINISHED for run_id in run_ids)


def model_outcomes(unit: Unit) -> list[Status]:
    """The recorded statuses of the unit's models, those without a record left out."""
    directories = unit.directories[-len(unit.models) :]
    return [outcome for directory in directories if (outcome := recorded_status(directory)) is not None]


def unit_status(unit: Unit) -> Status:
    """One word for a unit: that of its worst run once finished, else that of the first run which is not."""
    if is_finished(unit):
        outcomes = [recorded_status(directory) for directory in unit.directories]
        return "diverged" if "diverged" in outcomes else "completed"
    unfinished = [found for directory in unit.directories if (found := directory.status()) not in FINISHED]
    for word in ("running", "failed", "interrupted"):
        if word in unfinished:
            return word  # type: ignore[return-value]
    # Some runs are recorded, the rest were never begun: the work stopped between two of them.
    return "new" if len(unfinished) == len(unit.specs) else "interrupted"


def is_held(unit: Unit) -> bool:
    """Whether a process has claimed the unit or trains a run of it now."""
    if not run_directory.is_remote(unit.root) and is_claimed(claims_folder(unit.root), unit.run_id):
        return True
    return any(directory.is_held() for directory in unit.directories)


def attempts(unit: Unit) -> int:
    """How many attempts the unit's runs have had, whoever made them."""
    return sum(len(directory.attempts()) for directory in unit.directories)


def failures(directory: RunDirectory) -> int:
    """How many attempts at a run failed or were killed; one that is in progress is none."""
    ends = [attempt.end.get("status", "killed") for attempt in directory.attempts()]
    if ends and ends[-1] == "killed" and directory.is_held():
        ends.pop()
    return sum(end in ("failed", "killed") for end in ends)


def described(directory: RunDirectory, word: Status) -> str:
    """The state of a run, whose status is `word`, in words: `failed (2 failed attempts)`, `completed`."""
    count = failures(directory) if word in ("failed", "interrupted") else 0
    return f"{word} ({count} failed attempt{'s' if count > 1 else ''})" if count else word


def failure_reason(unit: Unit) -> str:
    """What the last failed attempt of the unit said; empty when none got far enough to say anything."""
    ends = [attempts[-1].end for directory in unit.directories if (attempts := directory.attempts())]
    reasons = [end["reason"] for end in ends if end.get("status") == "failed" and end.get("reason")]
    return " ".join(reasons[-1].split()) if reasons else ""


def tokens_done(unit: Unit) -> int:
    """Tokens of training that the unit's files show, those of each run's own steps only."""
    return sum(_own_tokens_done(directory, spec) for directory, spec in zip(unit.directories, unit.specs, strict=True))


def own_tokens(spec: Spec) -> int:
    """Tokens that this run's own directory trains: for a branch those of its decay."""
    return max(0, spec.last_step - spec.first_step) * spec.config.batch_tokens


def _own_tokens_done(directory: RunDirectory, spec: Spec) -> int:
    if recorded_status(directory) in FINISHED:
        return own_tokens(spec)
    attempts = directory.attempts()
    if not attempts:
        return 0
    step = last_step(attempts[-1].path / "metrics.jsonl") or _first_step(attempts[-1])
    return max(0, step - spec.first_step) * spec.config.batch_tokens


def _first_step(attempt: Attempt) -> int:
    """The step that an attempt without a row continues from; 0 when it was killed before it could say so."""
    start = attempt.path / "start.json"
    return json.loads(start.read_text())["first_step"] if start.exists() else 0


def last_step(metrics_file: os.PathLike[str]) -> int | None:
    """The step of the last complete row, read from the end of the file so that polling stays cheap."""
    path = epath.Path(metrics_file)
    if not path.exists():
        return None
    with path.open("rb") as handle:
        handle.seek(0, os.SEEK_END)
        handle.seek(max(0, handle.tell() - _TAIL_BYTES))
        # What follows the last newline is a torn write.
        lines = handle.read().split(b"\n")[:-1]
    return json.loads(lines[-1])["step"] if lines else None
