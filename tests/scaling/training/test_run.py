"""A run, from directory to record: what it writes, and that how it executes does not change what it computes."""

import dataclasses
import json
import math

import numpy as np
import pytest

from scaling.data.config import DataConfig
from scaling.optim.config import OptimizerConfig, ScheduleConfig
from scaling.run_config import CheckpointConfig, EvaluationConfig, ExecutionConfig
from scaling.training import run
from tests.scaling.training import small_runs


@pytest.fixture(scope="module")
def finished(byte_store, tmp_path_factory):
    """A run of 40 steps."""
    return small_runs.train(tmp_path_factory.mktemp("runs"), small_runs.config(byte_store))[0]


def test_the_record_accounts_for_the_run(finished):
    record = finished.record()
    assert record["status"] == "completed" and record["kind"] == "pretrain"
    assert record["tokens"] == 40 * 512 == record["unique_tokens"]
    assert record["epochs"] == pytest.approx(record["tokens"] / (64 * (400_730 // 64)), rel=0.01)
    assert sum(record["parameters"]["by_part"].values()) == record["parameters"]["total"]
    assert record["flops"]["6nd"] == 6 * record["parameters"]["total"] * record["tokens"]
    assert record["own_flops"] == record["flops"]
    assert record["flops"]["xla_measured"] == pytest.approx(record["flops"]["6nd_head_attention"], rel=0.35)
    assert 0 < record["mfu"]["value"] < 1 and "PaLM" in record["mfu"]["convention"]
    json.dumps(record, allow_nan=False)


def test_training_learns_and_is_held_out_in_both_units(finished):
    loss = finished.record()["losses"]["speeches"]
    assert loss["nats_per_token"] < math.log(259) - 1.5
    # A byte vocabulary without counted EOS targets: one token is one byte, but for the ends of documents.
    assert loss["bits_per_byte"] == pytest.approx(loss["nats_per_token"] * loss["tokens"] / loss["bytes"] / math.log(2))
    assert 0 < loss["standard_error"] < 0.1 and loss["documents"] == 37


def test_the_curve_covers_every_step_once(finished):
    rows = finished.metrics()
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert rows[-1]["loss"] < rows[0]["loss"] == pytest.approx(math.log(259), rel=0.02)


def test_a_finished_run_is_not_trained_again(finished):
    before = finished.record()
    small_runs.train(finished.path.parent, finished.spec.config)
    assert finished.record() == before and len(finished.attempts()) == 1


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not(finished, byte_store, tmp_path):
    again, other = (
        small_runs.train(tmp_path / str(seed), small_runs.config(byte_store, seed=seed))[0] for seed in (0, 1)
    )
    expected = small_runs.final_parameters(finished)
    small_runs.assert_identical(small_runs.final_parameters(again), expected)
    assert not all(np.array_equal(small_runs.final_parameters(other)[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "fields",
    [
        {"execution": ExecutionConfig(accumulation=4)},
        {"execution": ExecutionConfig(layers="scan", remat="full")},
        {"execution": ExecutionConfig(attention_chunk=16)},
        {"host": True},
    ],
    ids=["accumulation", "scan_and_remat", "chunks", "host_feed"],
)
def test_execution_does_not_change_the_result(finished, byte_store, tmp_path, fields):
    """Micro-batches, scanned layers, recomputation, attention blocks and the feed are ways to compute the same run."""
    config = finished.spec.config
    if fields.pop("host", False):
        fields["data"] = dataclasses.replace(config.data, placement="host")
    directory = small_runs.train(tmp_path, dataclasses.replace(config, **fields))[0]
    assert directory.path.name == finished.path.name
    expected = small_runs.final_parameters(finished)
    for name, value in small_runs.final_parameters(directory).items():
        np.testing.assert_allclose(value, expected[name], atol=2e-4, err_msg=name)


def test_another_order_of_micro_batches_would_be_noticed(finished, byte_store, tmp_path):
    """The tolerance above is meaningful: half a batch, or another batch, is far outside it."""
    half = small_runs.config(byte_store, batch_size=4, tokens=40 * 256)
    directory = small_runs.train(tmp_path, half)[0]
    expected = small_runs.final_parameters(finished)
    worst = max(np.abs(value - expected[name]).max() for name, value in small_runs.final_parameters(directory).items())
    assert worst > 1e-2


def test_a_branch_equals_the_run_trained_alone(byte_store, tmp_path):
    """One trunk serves every budget because a branch is bit for bit the run that it stands for."""
    config = small_runs.config(byte_store, branches=(20 * 512, 40 * 512))
    trunk, short, long = small_runs.train(tmp_path / "trunk", config)
    for branch in (short, long):
        alone = small_runs.train(tmp_path / "alone", dataclasses.replace(branch.spec.config))[0]
        small_runs.assert_identical(small_runs.final_parameters(branch), small_runs.final_parameters(alone))
        assert branch.record()["flops"] == alone.record()["flops"]
        assert branch.record()["losses"] == alone.record()["losses"]
    assert trunk.record()["kind"] == "trunk" and trunk.record()["steps"] == 32
    own = [directory.record()["own_flops"]["6nd"] for directory in (trunk, short, long)]
    per_step = trunk.record()["flops"]["6nd"] / 32
    assert own == pytest.approx([32 * per_step, 4 * per_step, 8 * per_step])


def test_divergence_is_recorded_with_the_last_good_step(byte_store, tmp_path):
    config = small_runs.config(
        byte_store,
        schedule=ScheduleConfig(name="wsd", peak=1e20),
        optimizer=OptimizerConfig(clip_norm=0.0, weight_decay=0.0),
        branches=(20 * 512, 40 * 512),
    )
    trunk, short, long = small_runs.train(tmp_path, config)
    record = trunk.record()
    assert record["status"] == "diverged" == trunk.status()
    assert record["losses"] == {} and record["steps"] == record["last_good_step"] < 10
    assert [branch.record()["status"] for branch in (short, long)] == ["diverged", "diverged"]
    assert all(own == 0 for branch in (short, long) for own in branch.record()["own_flops"].values())


def test_evaluation_during_training_is_in_the_curve(byte_store, tmp_path):
    config = small_runs.config(byte_store)
    every = dataclasses.replace(config.evaluation, every_tokens=10 * 512)
    directory = small_runs.train(tmp_path, dataclasses.replace(config, evaluation=every))[0]
    steps = [row["step"] for row in directory.metrics() if "held_out" in row]
    assert steps == [10, 20, 30]
    assert [row["step"] for row in directory.metrics() if "loss" in row] == list(range(1, 41))


def test_a_period_shorter_than_a_batch_is_every_step(byte_store, tmp_path):
    config = small_runs.config(
        byte_store, tokens=5 * 512, checkpoint=CheckpointConfig(every_tokens=100, keep=10), seed=2
    )
    every = dataclasses.replace(config.evaluation, every_tokens=100)
    directory = small_runs.train(tmp_path, dataclasses.replace(config, evaluation=every))[0]
    assert [row["step"] for row in directory.metrics() if "held_out" in row] == [1, 2, 3, 4]
    assert sorted(int(path.name) for path in directory.checkpoints.iterdir()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("broken_step", "evaluated_after"), [(39, 40), (9, 10)], ids=["at_the_end", "on_the_way"])
def test_a_held_out_loss_that_is_not_finite_is_a_divergence(
    byte_store, tmp_path, monkeypatch, broken_step, evaluated_after
):
    """The update that breaks the model is seen by no later step, only by the evaluation."""
    rate = run.learning_rate
    monkeypatch.setattr(run, "learning_rate", lambda spec, step: 1e38 if step == broken_step else rate(spec, step))
    config = small_runs.config(byte_store)
    every = dataclasses.replace(config.evaluation, every_tokens=10 * 512)
    directory = small_runs.train(tmp_path, dataclasses.replace(config, evaluation=every))[0]
    record = directory.record()
    assert record["status"] == "diverged" == directory.status()
    assert record["last_good_step"] == record["steps"] == evaluated_after
    assert "on speeches" in record["reason"] and record["losses"] == {}
    assert math.isfinite(record["train_loss"])


@pytest.mark.slow
def test_adafactor_and_bfloat16_learn_too(byte_store, tmp_path):
    config = small_runs.config(
        byte_store,
        optimizer=OptimizerConfig(name="adafactor", beta1=0.0, weight_decay=0.0),
        schedule=ScheduleConfig(name="cosine", peak=0.1),
        compute_dtype="bfloat16",
        data=DataConfig(store=byte_store, sequence_length=64, isolate_documents=False),
        evaluation=EvaluationConfig(),
        checkpoint=CheckpointConfig(),
    )
    record = small_runs.train(tmp_path, config)[0].record()
    assert record["train_loss"] < math.log(259) - 1.0
