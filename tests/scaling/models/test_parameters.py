"""The declaration of parameters: golden tables, decay, scales."""

import dataclasses
import math

import pytest

from scaling.models import ladder
from scaling.models.parameters import PARTS, Normal, parameter_specs


@pytest.mark.parametrize("family", [ladder.llama, ladder.kaplan_gpt, ladder.neox])
@pytest.mark.parametrize("tied", [True, False])
def test_decay_applies_to_kernels_of_products_and_to_nothing_else(family, tied):
    specs = parameter_specs(family(64, 512, tied=tied))
    kernels = {"query", "key", "value", "output", "gate", "up", "down", "kernel"}
    for path, spec in specs.items():
        name = path.split("/")[-1]
        assert spec.decay == (name in kernels or (name == "tokens" and tied)), path
        assert spec.part in PARTS


def test_gpt2_scales():
    specs = parameter_specs(ladder.kaplan_gpt(64, 512))
    assert specs["layers/attention/query"].init == Normal(0.02)
    assert specs["layers/attention/output"].init == Normal(0.02 / math.sqrt(2 * 4))
    assert specs["layers/feed_forward/down"].init == Normal(0.02 / math.sqrt(2 * 4))
    assert specs["embedding/tokens"].init == Normal(0.02)
    assert specs["embedding/positions"].init == Normal(0.01)


def test_neox_scales():
    specs = parameter_specs(ladder.neox(64, 512))
    assert specs["layers/feed_forward/up"].init == Normal(math.sqrt(2 / (5 * 64)))
    assert specs["layers/attention/output"].init == Normal(2 / (4 * math.sqrt(64)))


def test_llama_scales_follow_the_fan_in():
    config = ladder.llama(64, 512)
    specs = parameter_specs(config)
    assert specs["layers/feed_forward/gate"].init == Normal(1 / 8)
    assert specs["layers/feed_forward/down"].init == Normal(1 / math.sqrt(config.mlp_dim * 2 * config.depth))


@pytest.mark.parametrize("family", [ladder.llama, ladder.kaplan_gpt, ladder.neox])
@pytest.mark.parametrize("width", [16, 512, 5120])
def test_the_head_adds_at_most_one_percent_to_the_loss_at_step_0(family, width):
    """s^2 / 2 <= 1% of ln V, s the standard deviation of logits under a unit-mean-square input."""
    config = family(width, 4096, tied=False)
    std = parameter_specs(config)["head/kernel"].init.std
    assert width * std**2 / 2 <= 0.01 * math.log(4096) * (1 + 1e-9)


def test_an_unknown_initialisation_is_refused():
    config = dataclasses.replace(ladder.llama(64, 512), initialisation="other")
    with pytest.raises(ValueError, match="other"):
        parameter_specs(config)
