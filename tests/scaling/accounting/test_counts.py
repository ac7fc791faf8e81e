"""Parameter counts and FLOPs against sums done by hand and against XLA."""

import dataclasses

import pytest

from scaling.accounting import flops, measured
from scaling.accounting.parameters import ParameterCount, count_parameters
from scaling.models import ladder
from scaling.models.config import TransformerConfig
from scaling.optim.config import OptimizerConfig
from scaling.run_config import ExecutionConfig
from scaling.training.step import StepKey

# 4 layers, width 128, 4 d feed-forward, vocabulary 1024, tied, no biases: the textbook case of 12 L d^2 + V d.
PLAIN = TransformerConfig(
    family="plain",
    vocab_size=1024,
    width=128,
    depth=4,
    heads=4,
    kv_heads=4,
    head_dim=32,
    mlp_dim=512,
    activation="gelu",
    tied=True,
)


def test_parameters_by_hand():
    counts = count_parameters(PLAIN)
    assert counts.by_part == {
        "token_embedding": 1024 * 128,
        "position_embedding": 0,
        "attention": 4 * 4 * 128 * 128,
        "feed_forward": 4 * 8 * 128 * 128,
        "norms": 9 * 128,
        "head": 0,
    }
    assert counts.total == 12 * 4 * 128**2 + 1024 * 128 + 9 * 128
    assert counts.non_embedding == 12 * 4 * 128**2 + 9 * 128


def test_an_untied_head_and_a_position_table_are_not_in_n():
    untied = dataclasses.replace(PLAIN, tied=False, positions="learned", max_length=256)
    assert count_parameters(untied).total == count_parameters(PLAIN).total + 1024 * 128 + 256 * 128
    assert count_parameters(untied).non_embedding == count_parameters(PLAIN).non_embedding


def test_gpt2_small_has_its_published_size():
    """124,439,808: the released weights of GPT-2 small (tied, biases, learned positions)."""
    gpt2 = dataclasses.replace(ladder.kaplan_gpt(768, 50257, 1024), depth=12)
    assert count_parameters(gpt2).total == 124_439_808


def test_llama_7b_has_its_published_size():
    """6,738,415,616: the released weights of LLaMA 7B."""
    llama = dataclasses.replace(ladder.llama(4096, 32000), mlp_dim=11008)
    assert llama.depth == 32
    assert count_parameters(llama).total == 6_738_415_616


def test_parts_that_do_not_sum_are_refused():
    with pytest.raises(ValueError, match="do not sum"):
        ParameterCount(10, 5, {"attention": 9})


def test_conventions_by_hand():
    """The span that one small model has under the published conventions, in FLOPs a token at 256 tokens a sequence."""
    kernels, head, norms = 12 * 4 * 128**2, 1024 * 128, 9 * 128
    counted = flops.training_flops_per_token(PLAIN, 256)
    assert counted == {
        "kaplan_6nd_non_embedding": 6 * (kernels + norms),
        "6nd": 6 * (kernels + head + norms),
        "6nd_head": 6 * (kernels + head + norms),
        "6nd_head_attention": 6 * (kernels + head + norms) + 12 * 4 * 128 * 256,
        "6nd_head_causal_attention": 6 * (kernels + head + norms) + 6 * 4 * 128 * 256,
        "chinchilla_appendix_f": 3 * (4 * (24 * 128**2 + 4 * 256 * 128 + 3 * 4 * 256) + 4 * 1024 * 128),
    }


def test_look_ups_count_in_6nd_only():
    untied = dataclasses.replace(PLAIN, tied=False)
    tied, apart = (flops.training_flops_per_token(config, 256) for config in (PLAIN, untied))
    assert apart["6nd"] - tied["6nd"] == 6 * 1024 * 128
    assert apart["6nd_head"] == tied["6nd_head"]


def test_utilisation_is_model_flops_over_peak():
    per_token = flops.training_flops_per_token(PLAIN, 256)["6nd_head_attention"]
    assert flops.model_flops_utilisation(PLAIN, 256, tokens_per_second=1e4, peak_flops=2e11) == per_token * 1e4 / 2e11


def key_of(config: TransformerConfig, **execution) -> StepKey:
    return StepKey(
        model=config,
        optimizer=OptimizerConfig(weight_decay=0.0),
        execution=ExecutionConfig(**execution),
        compute_dtype="float32",
        batch_size=16,
        sequence_length=256,
        isolate_documents=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", [ladder.llama, ladder.kaplan_gpt, ladder.neox])
def test_xla_counts_what_the_formula_counts(family):
    """Within 3% of PaLM's formula for whole attention; XLA also counts norms, activations, softmax, loss and optimizer."""
    config = family(256, 1024, max_length=256)
    measured_flops = measured.counted_flops_per_token(key_of(config, attention_chunk=0))
    assert abs(flops.six_nd_head_attention(config, 256) / measured_flops - 1) < 0.03


@pytest.mark.slow
def test_xla_counts_alike_layers_once_each():
    """The count from one and two layers equals the count of the whole unrolled step, however the run executes its layers."""
    config = dataclasses.replace(ladder.llama(64, 512, max_length=256), depth=4)
    extrapolated = measured.counted_flops_per_token(key_of(config, layers="scan", accumulation=2))
    whole = measured._step_flops(key_of(config), depth=4) / (16 * 256)
    assert abs(extrapolated / whole - 1) < 1e-3
