"""Memory of planned stages on eight simulated devices (data 2, fsdp 2, tensor 2).

Held against XLA's analysis of the compiled programs, and against `scaling.cost`.
"""

import json

import pytest

from scaling.accounting.parameters import count_parameters
from tests import simulated_devices
from tests.align.accounting import planned_costs

MODEL = planned_costs.MODEL
# Parameters are split over fsdp and tensor: four ways. Norms are not split, hence the tolerance.
PARAMETERS = 4 * count_parameters(MODEL).total / 4

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def costs():
    return json.loads(simulated_devices.output_of("-m", "tests.align.accounting.planned_costs"))


@pytest.fixture(scope="module")
def stages(costs):
    return costs["stages"]


def test_what_is_resident_is_what_the_programs_take_as_arguments(stages):
    """Within 1%, XLA's arguments of the step are the state, the frozen models and the batch of the table."""
    for name, uses in (("sft", ()), ("reward", ()), ("live", ("reference",)), ("cached", ())):
        expected = sum(stages[name].get(use, 0) for use in ("policy", "optimizer", "batch", *uses))
        assert stages[name]["arguments"]["step"] == pytest.approx(expected, rel=0.01), name
    ppo = stages["ppo"]
    expected = sum(ppo[use] for use in ("policy", "value", "optimizer", "batch"))
    # The reference is no argument of an update whose divergence is in the reward: XLA drops what is not read.
    assert ppo["arguments"]["update"] == pytest.approx(expected, rel=0.01)


def test_models_that_lie_on_the_devices(stages):
    """Policy, reference, two reward models and a value network of one architecture, float32; Adam has two moments of each that is trained."""
    ppo = stages["ppo"]
    assert ppo["policy"] == pytest.approx(PARAMETERS, rel=0.02)
    assert ppo["value"] == pytest.approx(ppo["policy"], rel=0.01)
    assert ppo["reference"] == ppo["policy"] and ppo["reward models"] == 2 * ppo["policy"]
    assert ppo["optimizer"] == pytest.approx(2 * (ppo["policy"] + ppo["value"]), rel=0.01)
    assert ppo["gradients"] == pytest.approx(ppo["policy"] + ppo["value"], rel=0.01)
    assert "value" not in stages["live"] and "reference" not in stages["reward"]


def test_the_parts_given_by_formula_lie_within_what_xla_needs(stages):
    """A step holds its gradients and its logits at once; a rollout holds its cache, and not three of them beside its logits."""
    for name in ("sft", "live", "cached"):
        step = stages[name]["programs"]["step"]
        assert step > stages[name]["logits"] and step > 0.9 * stages[name]["gradients"], name
    ppo = stages["ppo"]
    rollout = ppo["programs"]["rollout"]
    assert ppo["key_value_cache"] == 2 * 3 * (16 // 4) * (MODEL.kv_heads // 2) * 127 * MODEL.head_dim * 4
    # Beside the caches: kernels gathered from their fsdp shards.
    assert ppo["key_value_cache"] < rollout < 3 * ppo["key_value_cache"] + 2 * ppo["policy"]


def test_a_cached_reference_spares_its_pass(stages):
    """The model stays, for measuring; the step needs less beside it."""
    assert stages["cached"]["reference"] == stages["live"]["reference"]
    assert stages["cached"]["activations"] <= stages["live"]["activations"]
    assert stages["cached"]["programs"].keys() == {"step", "reference"}


def test_supervised_fine_tuning_costs_what_pretraining_costs(costs):
    """As many rows of the same length: the same memory as `scaling.cost` says, activations within 10%."""
    ours, theirs = costs["stages"]["sft"], costs["stage one"]
    for use, name in (
        ("policy", "weights"),
        ("optimizer", "optimizer"),
        ("gradients", "gradients"),
        ("batch", "batch"),
    ):
        assert ours[use] == pytest.approx(theirs[name], rel=1e-3), use
    assert ours["activations"] == pytest.approx(theirs["activations"], rel=0.1)
    assert ours["total"] == pytest.approx(theirs["total"], rel=0.05)
