"""The shipped mixtures run through the stage, and their loss is the weighted sum of their terms' own losses."""

import dataclasses

import pytest

from align.losses.preference.config import PreferenceMixture
from align.stages.preference_config import PreferenceStageConfig
from scaling import gin_files
from tests.align.stages import small_stages


def run(laboratory, loss, root):
    """Metrics of two steps, and how the policy moved."""
    data = small_stages.data(laboratory.pairs, validation_split="")
    config = PreferenceStageConfig(laboratory.policy, data, loss, small_stages.training(steps=2))
    directory, status = small_stages.run("preference", config, root)
    assert status == "completed"
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mpo", "rpo"])
def test_a_mixture_weighs_its_terms(laboratory, tmp_path, name):
    """All begin with the same policy and batch, so the first losses add up; the second ones follow each its own gradient."""
    loss = gin_files.load(PreferenceStageConfig, [f"configs/align/stages/{name}.gin"]).config.loss
    assert isinstance(loss, PreferenceMixture)
    mixed = run(laboratory, loss, tmp_path).metrics()
    terms = [run(laboratory, term, tmp_path).metrics() for term in loss.terms]
    expected = sum(weight * term[0]["loss"] for weight, term in zip(loss.weights, terms, strict=True))
    assert mixed[0]["loss"] == pytest.approx(expected, rel=1e-5)
    assert mixed[1]["loss"] < mixed[0]["loss"]
    assert abs(mixed[1]["loss"] - terms[0][1]["loss"]) > 1e-3


@pytest.mark.slow
def test_the_weight_of_the_likelihood_counts(laboratory, tmp_path):
    """Without its likelihood RPO is DPO."""
    loss = gin_files.load(PreferenceStageConfig, ["configs/align/stages/rpo.gin"], ["NLL_WEIGHT = 0.0"]).config.loss
    alone = run(laboratory, loss.terms[0], tmp_path)
    without = run(laboratory, dataclasses.replace(loss), tmp_path)
    expected, found = (small_stages.final_parameters(directory) for directory in (alone, without))
    assert small_stages.largest_difference(found, expected) < 1e-6
