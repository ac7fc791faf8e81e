"""Imported models on disk, and the weights of trained runs."""

import pathlib
import shutil

import jax
import numpy as np
import pytest

from scaling.errors import CheckpointError, DataError
from scaling.foreign import checkpointed, hugging_face, weights
from scaling.models import ladder
from scaling.models.parameters import tree
from scaling.training.checkpoints import Checkpoints
from tests.scaling.foreign import small_weights
from tests.scaling.foreign.small_weights import FAMILIES
from tests.scaling.training import small_runs


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """An imported GPT, after it was moved to another place."""
    made = tmp_path_factory.mktemp("imported") / "made"
    made.mkdir()
    checkpointed.save(made, small_weights.random_weights(FAMILIES["kaplan_gpt"]), {"format": "test"})
    return made.rename(made.with_name("moved"))


def test_an_imported_model_comes_back_identical(imported):
    model = weights.find(imported)
    assert (model.step, model.run_id) == (0, "")
    small_weights.assert_identical(checkpointed.load(model), small_weights.random_weights(FAMILIES["kaplan_gpt"]))


def test_trainings_own_checkpoints_restore_an_imported_model(imported):
    """What fine-tunes it needs nothing of this package: a training state without the optimiser."""
    config = FAMILIES["kaplan_gpt"]
    abstract = {
        "step": jax.ShapeDtypeStruct((), np.int32),
        "parameters": tree(config, lambda spec: jax.ShapeDtypeStruct(spec.shape, np.float32)),
    }
    checkpoints = Checkpoints(imported / "checkpoints")
    state = checkpoints.restore(0, abstract)
    checkpoints.close()
    expected = small_weights.random_weights(config).parameters["layers/attention/query"]
    np.testing.assert_array_equal(state["parameters"]["layers"]["attention"]["query"], expected)
    assert int(state["step"]) == 0


def test_a_checkpoint_that_does_not_fit_is_refused_by_the_parameters_name(imported, tmp_path):
    shutil.copytree(imported, tmp_path / "model")
    path = tmp_path / "model" / weights.MODEL_FILE
    path.write_text(path.read_text().replace('"mlp_dim": 128', '"mlp_dim": 96'))
    with pytest.raises(CheckpointError, match="layers/feed_forward/down is"):
        checkpointed.load(weights.find(tmp_path / "model"))
    shutil.rmtree(tmp_path / "model" / "checkpoints" / "0")
    with pytest.raises(CheckpointError, match="no checkpoint of step 0"):
        checkpointed.load(weights.find(tmp_path / "model"))


def test_a_directory_of_something_else(tmp_path):
    with pytest.raises(DataError, match="spec.json does not exist"):
        weights.find(tmp_path)


@pytest.mark.slow
def test_a_trained_run_goes_out_and_comes_back(byte_store, tmp_path):
    """Its optimiser stays behind; a run that is not finished is refused."""
    run = small_runs.config(byte_store, model=ladder.neox(32, 259, tied=True), tokens=8 * 512)
    (waiting,) = small_runs.freeze(tmp_path / "waiting", run)
    with pytest.raises(CheckpointError, match="is new, not completed"):
        weights.find(waiting.path)
    (directory,) = small_runs.train(tmp_path / "runs", run)
    before = sorted(pathlib.Path(directory.path).rglob("*"))
    model = weights.find(directory.path)
    assert (model.step, model.run_id) == (8, directory.spec.run_id)
    trained = checkpointed.load(model)
    assert sorted(pathlib.Path(directory.path).rglob("*")) == before
    flat = {"".join(f"['{key}']" for key in path.split("/")): value for path, value in trained.parameters.items()}
    small_runs.assert_identical(flat, small_runs.final_parameters(directory))
    (tmp_path / "hf").mkdir()
    hugging_face.write(tmp_path / "hf", trained)
    small_weights.assert_identical(small_weights.read(tmp_path / "hf"), trained)
