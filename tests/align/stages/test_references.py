"""Where the reference's log-probabilities come from changes nothing, and references that move do so when they should."""

import json
import pathlib

import numpy as np
import pytest

from align.losses.preference.config import PreferenceConfig
from align.stages.preference_config import MovingReference, PreferenceStageConfig
from scaling.errors import ConfigError, DataError
from tests.align.stages import small_stages


def stage(laboratory, **fields) -> PreferenceStageConfig:
    training = fields.pop("training", small_stages.training(steps=4))
    data = small_stages.data(laboratory.pairs, validation_split="")
    return PreferenceStageConfig(laboratory.policy, data, training=training, **fields)


@pytest.fixture(scope="module")
def live(laboratory, tmp_path_factory):
    return small_stages.run("preference", stage(laboratory), tmp_path_factory.mktemp("live"))[0]


@pytest.fixture(scope="module")
def caches(laboratory, tmp_path_factory) -> pathlib.Path:
    """The cache that a run left."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def cached(laboratory, caches, tmp_path_factory):
    config = stage(laboratory, reference="cached", reference_cache=str(caches))
    return small_stages.run("preference", config, tmp_path_factory.mktemp("cached"))[0]


@pytest.mark.slow
def test_cached_log_probabilities_train_the_model_that_live_ones_do(live, cached):
    """Two programs, so the last bit may differ: 1e-6 of parameters that moved by more than 1e-3 (Adam's steps are 3e-3)."""
    expected, found = (small_stages.final_parameters(run) for run in (live, cached))
    assert small_stages.largest_difference(found, expected) < 1e-6
    np.testing.assert_allclose(
        [row["loss"] for row in cached.metrics()], [row["loss"] for row in live.metrics()], rtol=1e-6
    )
    assert cached.metrics()[0]["loss"] == pytest.approx(np.log(2), abs=1e-6)


def tampered(laboratory, caches, tmp_path, change) -> None:
    """Runs with a copy of the cache after a change."""
    (source,) = caches.iterdir()
    copy = tmp_path / "caches" / source.name
    copy.mkdir(parents=True)
    for file in source.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    change(copy)
    config = stage(laboratory, reference="cached", reference_cache=str(copy.parent))
    small_stages.run("preference", config, tmp_path / "runs")


def test_a_cache_of_another_model_is_refused_by_name(cached, laboratory, caches, tmp_path):
    def of_another_model(path):
        key = json.loads((path / "key.json").read_text())
        (path / "key.json").write_text(json.dumps(key | {"model": "someone else"}))

    with pytest.raises(DataError, match=r"reference cache .* is of another model: 'someone else' instead of"):
        tampered(laboratory, caches, tmp_path, of_another_model)


def test_a_truncated_cache_is_refused_by_name(cached, laboratory, caches, tmp_path):
    def truncated(path):
        values = (path / "log_probs.npy").read_bytes()
        (path / "log_probs.npy").write_bytes(values[: len(values) // 2])

    with pytest.raises(DataError, match=r"reference cache .* cannot be read .*delete the directory"):
        tampered(laboratory, caches, tmp_path, truncated)


@pytest.mark.slow
def test_a_hard_update_makes_the_reference_the_policy(laboratory, tmp_path):
    """TR-DPO: `every` divides the last step, so reference and policy end equal; halfway between they are apart. The loss returns to ln 2 after each update."""
    config = stage(laboratory, moving_reference=MovingReference(every=3), training=small_stages.training(steps=6))
    run, _ = small_stages.run("preference", config, tmp_path)
    state = small_stages.final_state(run)
    policy = {name.removeprefix(".trained"): value for name, value in _under(state, "trained").items()}
    reference = _under(state, "extra")
    assert small_stages.largest_difference(dict(enumerate(reference.values())), dict(enumerate(policy.values()))) == 0
    losses = [row["loss"] for row in run.metrics()]
    at_ln2 = [abs(loss - np.log(2)) < 1e-6 for loss in losses]
    assert at_ln2 == [True, False, False, True, False, False]


def _under(state, part: str):
    return {name: value for name, value in sorted(state.items()) if name.startswith(f"['{part}']")}


def test_a_moving_reference_and_a_cache_exclude_each_other(laboratory):
    with pytest.raises(ConfigError, match="needs a live reference"):
        stage(laboratory, reference="cached", moving_reference=MovingReference(every=2))


def test_a_loss_that_needs_mismatched_completions_has_no_cache(laboratory, tmp_path):
    config = stage(laboratory, loss=PreferenceConfig("kto"), reference="cached", reference_cache=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="'kto' reads completions of other prompts.*'live'"):
        small_stages.run("preference", config, tmp_path)
