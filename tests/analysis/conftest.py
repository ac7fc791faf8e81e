"""Tables that the tests of the analysis share."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from analysis.laws import study
from analysis.laws.tables import sources, table
from tests.analysis import synthetic

PROJECT = pathlib.Path(__file__).resolve().parents[2]


def run_verb(module: str, *arguments: str) -> subprocess.CompletedProcess:
    """A verb as a user calls it, with what it printed."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Published tables beside the project; the tests that need them skip where they are absent."""
    path = pathlib.Path(os.environ.get("PLUMBLINE_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no published tables at {path} (set PLUMBLINE_SHARED_DATA)")
    return path


@pytest.fixture(scope="session")
def epoch_frame(shared_data: pathlib.Path) -> pd.DataFrame:
    """Besiroglu et al.'s 240 points of Hoffmann et al.'s figure 4, the five largest losses dropped."""
    raw = pd.read_csv(shared_data / "epoch_chinchilla" / "svg_extracted_data.csv")
    kept = raw[raw["loss"] < np.sort(raw["loss"])[-5]]
    params, flops = kept["Model Size"].to_numpy(), kept["Training FLOP"].to_numpy()
    return pd.DataFrame(
        {"params": params, "tokens": flops / (6 * params), "loss": kept["loss"].to_numpy(), "flops": flops}
    )


@pytest.fixture(scope="session")
def epoch(epoch_frame: pd.DataFrame) -> table.RunsTable:
    return table.build(sources.from_frame(epoch_frame))


def noise_free_frame() -> pd.DataFrame:
    """Eight sizes at six IsoFLOP budgets, exactly on the law."""
    law = synthetic.KnownLaw()
    rows = []
    for flops in np.geomspace(1e17, 1e20, 6):
        ratio = (law.alpha * law.A / (law.beta * law.B)) ** (1 / (law.alpha + law.beta))
        best = ratio * (flops / 6) ** (law.beta / (law.alpha + law.beta))
        for params in best * np.geomspace(1 / 8, 8, 8):
            rows.append({"params": params, "tokens": flops / (6 * params), "flops": flops})
    frame = pd.DataFrame(rows)
    return frame.assign(loss=law.loss(frame["params"], frame["tokens"]))


@pytest.fixture(scope="session")
def exact() -> table.RunsTable:
    return table.build(sources.from_frame(noise_free_frame()))


@pytest.fixture(scope="session")
def ladder_directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A trunk-and-branch ladder on disk, with a diverged run and a held-out one."""
    diverged = synthetic.record(
        "diverged-run", 64, 4, 1e6, None, status="diverged", reason="loss became NaN at step 40"
    )
    return synthetic.write(tmp_path_factory.mktemp("ladder"), [*synthetic.ladder(3), diverged])


@pytest.fixture(scope="session")
def ladder(ladder_directory: pathlib.Path) -> table.RunsTable:
    return table.load(str(ladder_directory))


@pytest.fixture(scope="session")
def small_study(ladder: table.RunsTable) -> study.Study:
    return study.fit_all(ladder, study.Options(bootstrap=100))
