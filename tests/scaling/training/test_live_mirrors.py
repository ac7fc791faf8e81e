"""Live mirrors see every row, and nothing that a service does reaches the run: not a failure, not a stall, not an absent package."""

import importlib
import importlib.util
import threading
import time

import pytest

from scaling import gin_files
from scaling.errors import ConfigError, InterruptedRunError
from scaling.mirrors import live, values
from scaling.mirrors.config import MirrorsConfig
from scaling.run_config import StoreHashes, run_id
from scaling.training import run
from scaling.training.interruption import Interruption
from tests.scaling.training import small_runs
from tests.scaling.training.shown_service import Shown

ROWS = [
    {"step": step, "loss": 3.0 - 0.1 * step, "held_out": {"speeches": 2.0}, "wall_seconds": 0.1} for step in range(1, 6)
]


def mirrored(opener, rows=ROWS, patience=10.0):
    mirrors = live.LiveMirrors({"service": opener}, patience, "run0")
    for row in rows:
        mirrors.row(row)
    return mirrors.close({"losses": {"speeches": {"nats_per_token": 2.5}}}, "completed")["service"]


def test_every_row_and_the_results_reach_a_service_in_order():
    shown = Shown()
    assert mirrored(lambda: shown) == {"rows": 5, "lost": 0, "failure": ""}
    assert shown.rows == [(row["step"], {"loss": row["loss"], "held_out/speeches": 2.0}) for row in ROWS]
    assert shown.ended == ({"final/losses/speeches/nats_per_token": 2.5}, "completed")


def test_rows_that_a_service_refuses_are_counted_and_the_first_is_said_once(capsys):
    shown = Shown(fails_at=frozenset({2, 3}), fails_at_close=True)
    account = mirrored(lambda: shown)
    assert account == {"rows": 3, "lost": 2, "failure": "ConnectionError: step 2 was refused"}
    assert capsys.readouterr().err.count("mirror service") == 1


def test_a_service_that_cannot_be_opened_loses_rows_and_nothing_else(capsys):
    def opener():
        raise ImportError("No module named 'service'")

    assert mirrored(opener) == {"rows": 0, "lost": 5, "failure": "ImportError: No module named 'service'"}
    assert "the run goes on" in capsys.readouterr().err


def test_a_service_that_hangs_holds_the_end_up_for_no_longer_than_the_patience():
    gate = threading.Event()
    started = time.monotonic()
    account = mirrored(lambda: Shown(gate=gate), patience=0.2)
    assert time.monotonic() - started < 2.0
    gate.set()
    assert account["rows"] == 0 and account["lost"] == 4 and "in time" in account["failure"]


def test_rows_that_come_faster_than_a_service_takes_them_are_dropped_and_not_piled_up(monkeypatch):
    monkeypatch.setattr(live, "_WAITING_ROWS", 3)
    gate = threading.Event()
    mirrors = live.LiveMirrors({"service": lambda: Shown(gate=gate)}, 5.0, "run0")
    for step in range(100):
        mirrors.row({"step": step, "loss": 1.0})
    gate.set()
    account = mirrors.close({}, "completed")["service"]
    assert account["rows"] + account["lost"] == 100 and account["rows"] <= 5
    assert "faster" in account["failure"]


def test_what_mirrors_a_run_has_is_no_part_of_its_identity():
    plain, seen = (
        small_runs.config("store", mirrors=MirrorsConfig(services)) for services in ((), ("tensorboard", "wandb"))
    )
    assert run_id(plain, StoreHashes("train"), "pretrain") == run_id(seen, StoreHashes("train"), "pretrain")
    assert gin_files.checked(seen) == seen


def test_an_unknown_service_is_refused():
    with pytest.raises(ConfigError, match="services"):
        gin_files.checked(small_runs.config("store", mirrors=MirrorsConfig(("mlflow",))))


def test_a_run_shows_a_service_its_whole_curve_and_records_how_that_went(byte_store, tmp_path, monkeypatch):
    """One service works and one is absent: the run completes, its curve is in the first, and the record says what became of both."""
    shown = Shown()
    monkeypatch.setattr(live, "_TensorBoard", lambda attempt: shown)
    monkeypatch.setattr(live, "_Wandb", lambda identity, config, attempt: importlib.import_module("no_such_package"))
    config = small_runs.config(byte_store, tokens=20 * 512, mirrors=MirrorsConfig(("tensorboard", "wandb")))
    directory = small_runs.train(tmp_path, config)[0]
    record = directory.record()
    assert record["status"] == "completed"
    assert [(row["step"], values.of_row(row)) for row in directory.metrics()] == shown.rows
    assert record["mirrors"]["tensorboard"] == {"rows": 20, "lost": 0, "failure": ""}
    assert record["mirrors"]["wandb"] == {
        "rows": 0,
        "lost": 20,
        "failure": "ModuleNotFoundError: No module named 'no_such_package'",
    }
    assert shown.ended[0]["final/losses/speeches/nats_per_token"] == record["losses"]["speeches"]["nats_per_token"]


def test_a_run_that_stops_leaves_its_services(byte_store, tmp_path, monkeypatch):
    shown = Shown()
    monkeypatch.setattr(live, "_TensorBoard", lambda attempt: shown)
    directory = small_runs.freeze(tmp_path, small_runs.config(byte_store, mirrors=MirrorsConfig(("tensorboard",))))[0]
    asked = Interruption()
    asked.signal_name = "SIGTERM"
    with pytest.raises(InterruptedRunError):
        run.train_run(directory, asked)
    assert shown.ended == ({}, "interrupted")


@pytest.mark.skipif(importlib.util.find_spec("tensorboardX") is None, reason="tensorboardX is not installed")
def test_event_files_lie_beside_the_curve(byte_store, tmp_path):
    directory = small_runs.train(tmp_path, small_runs.config(byte_store, mirrors=MirrorsConfig(("tensorboard",))))[0]
    assert directory.record()["mirrors"]["tensorboard"] == {"rows": 40, "lost": 0, "failure": ""}
    assert list((directory.path / "attempts" / "0000").glob("events.out.tfevents*"))
