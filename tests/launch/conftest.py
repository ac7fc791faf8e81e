"""A small token store, sweeps over it, and verbs run as a user runs them."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from launch import expand, states
from launch.plan import Plan, make_plan
from launch.rates import Rates
from launch.sweep_config import Sweep
from scaling import gin_files, run_directory
from scaling.data import store_writer
from scaling.data.vocabularies import ByteVocabulary

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]
FAKES = pathlib.Path(__file__).with_name("fakes")
VOCABULARY = ByteVocabulary()

BASE = """
from __gin__ import dynamic_registration
from launch import sweep_config
from scaling import run_config
from scaling.data import config as data_config
from scaling.models import ladder
from scaling.optim import config as optim_config

WIDTH = 16
TOKENS = 6_400
BRANCHES = ()

ladder.llama.width = %WIDTH
ladder.llama.vocab_size = 259
data_config.DataConfig.store = "{store}"
data_config.DataConfig.sequence_length = 32
optim_config.ScheduleConfig.name = "wsd"
run_config.RunConfig.model = @ladder.llama()
run_config.RunConfig.data = @data_config.DataConfig()
run_config.RunConfig.schedule = @optim_config.ScheduleConfig()
run_config.RunConfig.batch_size = 4
run_config.RunConfig.tokens = %TOKENS
run_config.RunConfig.branches = %BRANCHES

sweep_config.Sweep.name = "test"
sweep_config.Sweep.root = "{root}"
"""

SEEDS = """
sweep_config.Sweep.parts = (@sweep_config.Part(),)
sweep_config.Part.axes = (@sweep_config.Grid(),)
sweep_config.Grid.binding = "RunConfig.seed"
sweep_config.Grid.values = {values}
"""


SEARCH = """
from launch import search_config
search_config.Search.name = "seeds"
search_config.Search.root = "{root}"
search_config.Search.space = (@seed/sweep_config.Range(), @rate/sweep_config.Range(), @width/sweep_config.Grid())
search_config.Search.trials = 4
search_config.Search.parallel = 2
search_config.Search.startup = 2
search_config.Search.objective = "parameters.total"
width/sweep_config.Grid.binding = "WIDTH"
width/sweep_config.Grid.values = (16, 32, 48)
seed/sweep_config.Range.binding = "RunConfig.seed"
seed/sweep_config.Range.low = 0
seed/sweep_config.Range.high = 3
seed/sweep_config.Range.multiple_of = 1
rate/sweep_config.Range.binding = "ScheduleConfig.peak"
rate/sweep_config.Range.low = 0.0001
rate/sweep_config.Range.high = 0.1
rate/sweep_config.Range.scale = "log"
"""


def write_store(path: pathlib.Path) -> str:
    """A store of 40 documents, about 20,000 tokens."""

    def document(i):
        text = f"Document {i}. " + "Four score and seven years ago. " * 16
        return store_writer.Document(text.encode(), np.append(VOCABULARY.encode(text), VOCABULARY.eos_id))

    with store_writer.writing(path, VOCABULARY, seed=0) as writer:
        writer.write_split("train", map(document, range(40)))
        writer.write_split("validation", map(document, range(40, 44)))
        writer.finish({"task": "test", "corpora": []})
    return str(path)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a token store."""
    return write_store(tmp_path_factory.mktemp("stores") / "bytes")


@dataclasses.dataclass(frozen=True)
class Laboratory:
    """A root directory and a way to write sweeps for it."""

    folder: pathlib.Path
    root: pathlib.Path
    store: str

    def gin_file(self, text: str, name: str = "sweep.gin") -> str:
        """Writes a sweep: the base run with `text` after it."""
        path = self.folder / name
        path.write_text(BASE.format(store=self.store, root=self.root) + text)
        return str(path)

    def seeds(self, *seeds: int) -> str:
        """A sweep over seeds."""
        return self.gin_file(SEEDS.format(values=tuple(seeds)))

    def parsed(self, text: str) -> Sweep:
        """The sweep of that text; Gin then holds its files."""
        gin_files.parse(Sweep, [self.gin_file(text)])
        return gin_files.build(Sweep).config

    def points(self, text: str) -> list[expand.Point]:
        """The points of a sweep."""
        return expand.points(self.parsed(text))

    def plan(self, text: str) -> Plan:
        """The plan of a sweep."""
        return make_plan(self.parsed(text), str(self.root), Rates())

    def frozen_units(self, text: str) -> list[states.Unit]:
        """The units of a sweep, their directories made."""
        plan = self.plan(text)
        for run in plan.runs:
            run_directory.freeze(self.root, run.loaded, run.unit.specs[0].stores, tags=run.point.tags)
        return [run.unit for run in plan.runs]

    def journal(self) -> list[list[str]]:
        """The lines of the journal that fake trainers keep: run, process, cores, mask, and whether it was alone with that."""
        path = self.root / "journal.txt"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def started(self) -> list[str]:
        """The run ids that fake trainers began, one for each start."""
        return [line[0] for line in self.journal()]


@pytest.fixture
def lab(tmp_path: pathlib.Path, store: str) -> Laboratory:
    """An empty root."""
    return Laboratory(tmp_path, tmp_path / "runs", store)


@pytest.fixture
def search_file(lab: Laboratory) -> str:
    """A search of four trials, two at a time, for the model with the fewest parameters."""
    text = lab.gin_file(SEARCH.format(root=lab.root))
    path = pathlib.Path(text)
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "sweep_config.Sweep." not in line))
    return text


def environment(behaviour: dict[int | str, str] | None = None, seconds: float = 0.0) -> dict[str, str]:
    """Variables that fake trainers read."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(FAKES), str(PROJECT_ROOT)]),
        "FAKE_BEHAVIOUR": json.dumps({str(seed): word for seed, word in (behaviour or {}).items()}),
        "FAKE_SECONDS": str(seconds),
    }


def start_verb(
    module: str, *arguments: str, behaviour: dict[int | str, str] | None = None, seconds: float = 0.0
) -> subprocess.Popen:
    """Starts a verb with fake trainers."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment(behaviour, seconds),
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fake_sweep(*arguments: str, **options: Any) -> subprocess.Popen:
    """Starts launch.sweep with fake trainers, on the serial engine unless the arguments name another."""
    named = any(argument.startswith("--engine") for argument in arguments)
    return start_verb("launch.sweep", *arguments, *([] if named else ["--engine=serial"]), **options)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a verb ended."""

    code: int
    out: str
    err: str


def ended(process: subprocess.Popen, timeout: float = 180.0) -> Ended:
    """Waits for a verb."""
    out, err = process.communicate(timeout=timeout)
    return Ended(process.returncode, out, err)


@pytest.fixture
def sweep() -> Callable[..., Ended]:
    """Runs launch.sweep with fake trainers to its end."""

    def run(*arguments: str, **options: Any) -> Ended:
        return ended(fake_sweep(*arguments, **options))

    return run


@pytest.fixture
def start_sweep() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts launch.sweep with fake trainers and leaves it running, until the test ends."""
    started: list[subprocess.Popen] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen:
        started.append(fake_sweep(*arguments, **options))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
