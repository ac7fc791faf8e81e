"""What is sampled, with which log-probabilities, and when a row ends; held against full forward passes."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import stats

from align.generation.sampler import row_keys
from align.generation.sampling_config import SamplingConfig
from align.sequences import Sequences
from scaling.errors import ConfigError
from tests.align.generation.small_policy import (
    CONFIG,
    EOS,
    MODEL,
    PROMPT_LENGTHS,
    completions,
    full_logits,
    keys,
    parameters,
    prompts,
    quick_generate,
    reference_filter,
    sampled,
)
from tests.scaling.models.small_models import logits_of, perturbed, whole_rows

PLAIN = SamplingConfig(max_new_tokens=12)
FILTERED = SamplingConfig(max_new_tokens=12, temperature=0.8, top_k=20, top_p=0.9)


def log_softmax(logits):
    return logits - np.log(np.sum(np.exp(logits - logits.max()))) - logits.max()


@pytest.mark.parametrize("config", [PLAIN, FILTERED, dataclasses.replace(PLAIN, temperature=2.0, min_new_tokens=6)])
@pytest.mark.parametrize("layers", ["unroll", "scan"])
def test_log_probabilities_equal_those_of_a_full_forward_pass_with_the_same_filter(config, layers):
    """At each completion token's own index both log-probabilities; 0 everywhere else."""
    generation = sampled(config, model=dataclasses.replace(MODEL, layers=layers))
    tokens, starts, ends = generation.sequences
    logits = full_logits(generation.sequences)
    expected, expected_of_model = np.zeros(tokens.shape), np.zeros(tokens.shape)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        for index in range(start, end):
            sampled_logits = logits[row, index].copy()
            if index - start + 1 < config.min_new_tokens:
                sampled_logits[EOS] = -np.inf
            probabilities = reference_filter(sampled_logits, config.temperature, config.top_k, config.top_p)
            expected[row, index] = np.log(probabilities[tokens[row, index]])
            expected_of_model[row, index] = log_softmax(logits[row, index])[tokens[row, index]]
    np.testing.assert_allclose(generation.log_probs, expected, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(generation.model_log_probs, expected_of_model, rtol=1e-4, atol=2e-5)
    assert (generation.sequences.completion_lengths >= max(1, config.min_new_tokens)).all()


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_long_generations_run_in_phases_on_kernels_in_blocks_and_say_the_same(tied):
    """From 48 new tokens on, kernels are copied into blocks of columns where 64 divides them, from 96 on the cache grows twice."""
    config = dataclasses.replace(CONFIG, width=64, head_dim=32, mlp_dim=128, vocab_size=128, max_length=128, tied=tied)
    model, weights = dataclasses.replace(MODEL, config=config), perturbed(config)
    starts, first = np.full(2, 3, np.int32), np.asarray([[5, 6, 7], [8, 9, 10]], np.int32)
    arguments = (model, weights, first, starts, keys(rows=2), SamplingConfig(max_new_tokens=100), None)
    text = quick_generate.lower(*arguments).as_text()
    assert "tensor<2x64x64xf32>" in text, "an up projection [64, 128] in two blocks"
    assert all(f"tensor<2x1x{3 + end - 1}x32xf32>" in text for end in (34, 67, 100)), "keys of each phase"
    generation = jax.device_get(quick_generate(*arguments))
    tokens = generation.sequences.tokens
    logits = np.asarray(logits_of(model)(weights, tokens, *whole_rows(tokens)), np.float64)
    expected = [[log_softmax(logits[row, t - 1])[tokens[row, t]] for t in range(3, 103)] for row in range(2)]
    np.testing.assert_allclose(generation.model_log_probs[:, 3:], expected, rtol=1e-4, atol=2e-5)


def test_temperature_0_takes_the_likeliest_token_every_time():
    generation = sampled(dataclasses.replace(PLAIN, temperature=0.0))
    logits = full_logits(generation.sequences)
    tokens, starts, ends = generation.sequences
    for row in range(len(tokens)):
        index = np.arange(starts[row], ends[row])
        np.testing.assert_array_equal(tokens[row, index], logits[row, index].argmax(-1))
    assert (generation.log_probs == 0).all() and (generation.model_log_probs[:, -1] <= 0).all()
    other = sampled(dataclasses.replace(PLAIN, temperature=0.0), seed=1)
    np.testing.assert_array_equal(tokens, other.sequences.tokens, err_msg="no randomness is left")


@pytest.mark.parametrize("fields", [{}, {"temperature": 0.7, "top_k": 9, "top_p": 0.85}], ids=["plain", "filtered"])
def test_frequencies_of_sampled_tokens_agree_with_the_distribution(fields):
    """One prompt, 4,096 keys, one token each: chi-square against the filtered probabilities of a full forward pass."""
    rows = 4096
    prompt = np.repeat(prompts()[:1], rows, axis=0)
    lengths = np.full(rows, PROMPT_LENGTHS[0], np.int32)
    config = SamplingConfig(max_new_tokens=1, **fields)
    generation = jax.device_get(
        quick_generate(MODEL, parameters(), prompt, lengths, row_keys(3, np.zeros(rows), np.arange(rows)), config, None)
    )
    counts = np.bincount(generation.sequences.tokens[:, lengths[0]], minlength=CONFIG.vocab_size)
    one = Sequences(np.pad(prompt[:1], ((0, 0), (0, 1))), lengths[:1], lengths[:1] + 1)
    expected = rows * reference_filter(full_logits(one)[0, lengths[0]], **fields)
    assert (counts[expected == 0] == 0).all()
    often = expected >= 5
    rest = expected[~often].sum()
    groups = np.append(expected[often], rest) if rest >= 5 else expected[often]
    observed = np.append(counts[often], counts[~often].sum()) if rest >= 5 else counts[often]
    assert len(groups) > 4
    groups = groups * observed.sum() / groups.sum()
    assert stats.chisquare(observed, groups).pvalue > 1e-3


def test_eos_ends_a_row_and_is_counted():
    """The same keys without an EOS go on with the same tokens: the row was cut just behind its first EOS."""
    config = SamplingConfig(max_new_tokens=40, temperature=1.5)
    endless = completions(sampled(config, eos_id=None))
    common = max(range(CONFIG.vocab_size), key=lambda token: sum(token in row for row in endless))
    ended = sampled(config, eos_id=common)
    for row, (with_eos, without) in enumerate(zip(completions(ended), endless, strict=True)):
        cut = without.index(common) + 1 if common in without else len(without)
        assert with_eos == without[:cut]
        assert ended.ended[row] == (common in without)
    assert ended.ended.sum() >= 2 and (ended.sequences.completion_lengths[ended.ended] < 40).any()
    beyond = np.arange(ended.sequences.tokens.shape[1])[None] >= ended.sequences.lengths[:, None]
    assert (ended.sequences.tokens[beyond] == 0).all() and (ended.log_probs[beyond] == 0).all()


def test_an_eos_in_the_prompt_ends_nothing():
    config = SamplingConfig(max_new_tokens=5)
    with_eos = prompts().copy()
    with_eos[:, 0] = EOS
    generation = jax.device_get(
        quick_generate(
            MODEL, parameters(), with_eos, PROMPT_LENGTHS, keys(), dataclasses.replace(config, min_new_tokens=5), EOS
        )
    )
    assert (generation.sequences.completion_lengths == 5).all()


def test_no_row_ends_before_the_shortest_length():
    """EOS is out of the distribution until then and stop sequences are not heeded; both may end the row at that very token."""
    likely = sampled(dataclasses.replace(PLAIN, temperature=0.0), eos_id=None)
    first = completions(likely)[0][0]
    config = SamplingConfig(max_new_tokens=12, min_new_tokens=5, temperature=0.0)
    generation = sampled(config, eos_id=first)
    assert first not in completions(generation)[0][:4]
    every = tuple((token,) for token in range(CONFIG.vocab_size))
    stopped = sampled(dataclasses.replace(config, stop_sequences=every), eos_id=None)
    assert (stopped.sequences.completion_lengths == 5).all() and stopped.ended.all()


@pytest.mark.parametrize("length", [1, 2, 4])
def test_stop_sequences_end_a_row_with_their_last_token_across_steps(length):
    """A stretch of each endless completion as a stop sequence, beside a longer one that never comes, cuts its row there; the stretch is kept."""
    endless = completions(sampled(PLAIN, eos_id=None))
    stops = tuple(tuple(row[4 : 4 + length]) for row in endless)
    config = dataclasses.replace(PLAIN, stop_sequences=(*stops, (60, 60, 60, 60, 60, 60)))
    generation = sampled(config, eos_id=None)
    for row, (stopped, whole) in enumerate(zip(completions(generation), endless, strict=True)):
        ends = [
            start + len(stop)
            for stop in stops
            for start in range(len(whole) - len(stop) + 1)
            if tuple(whole[start : start + len(stop)]) == stop
        ]
        assert stopped == whole[: min(ends)]
        assert generation.ended[row] and len(stopped) <= 4 + length


def test_a_stop_sequence_does_not_begin_in_the_prompt():
    """Prompt's last token and first sampled token together are no match: a stop stands complete in the completion."""
    config = dataclasses.replace(PLAIN, max_new_tokens=1)
    first = completions(sampled(config, eos_id=None))
    last_of_prompts = [prompts()[row, length - 1] for row, length in enumerate(PROMPT_LENGTHS)]
    stops = tuple((int(last), row[0]) for last, row in zip(last_of_prompts, first, strict=True))
    assert not sampled(dataclasses.replace(config, stop_sequences=stops), eos_id=None).ended.any()


@pytest.mark.parametrize("config", [PLAIN, FILTERED], ids=["plain", "filtered"])
def test_a_row_does_not_depend_on_the_other_rows_nor_on_their_order(config):
    """Alone, with less padding, and in another order each row is the one that it was, and its log-probabilities are equal to rounding."""
    whole = sampled(config)
    order = np.asarray([2, 0, 3, 1])
    shuffled = jax.device_get(
        quick_generate(MODEL, parameters(), prompts()[order], PROMPT_LENGTHS[order], keys()[order], config, EOS)
    )
    for place, row in enumerate(order):
        assert completions(shuffled)[place] == completions(whole)[row]
        np.testing.assert_allclose(shuffled.log_probs[place], whole.log_probs[row], rtol=1e-5, atol=1e-6)
    for row in (0, 2):
        length = PROMPT_LENGTHS[row]
        alone = jax.device_get(
            quick_generate(MODEL, parameters(), prompts()[row : row + 1, :length], PROMPT_LENGTHS[row : row + 1], keys()[row : row + 1], config, EOS)
        )  # fmt: skip
        assert completions(alone)[0] == completions(whole)[row]


def test_what_stands_behind_a_prompt_is_never_read():
    other = np.where(np.arange(8)[None] < PROMPT_LENGTHS[:, None], prompts(), 7).astype(np.int32)
    again = jax.device_get(quick_generate(MODEL, parameters(), other, PROMPT_LENGTHS, keys(), PLAIN, EOS))
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(sampled(PLAIN)), strict=True):
        assert a.shape == b.shape
    assert completions(again) == completions(sampled(PLAIN))


def test_the_seed_and_the_numbers_decide_the_keys():
    a = np.asarray(row_keys(0, np.asarray([0, 0, 1, 1]), np.asarray([0, 1, 0, 1])))
    assert len(np.unique(a, axis=0)) == 4
    np.testing.assert_array_equal(a[2], np.asarray(row_keys(0, np.asarray([1]), np.asarray([0])))[0])
    assert not (a == np.asarray(row_keys(1, np.asarray([0, 0, 1, 1]), np.asarray([0, 1, 0, 1])))).all(axis=1).any()
    assert completions(sampled(PLAIN)) == completions(sampled(PLAIN)) != completions(sampled(PLAIN, seed=1))


def test_what_cannot_run_is_refused():
    with pytest.raises(ConfigError, match="max_length 64"):
        sampled(SamplingConfig(max_new_tokens=57))
    with pytest.raises(ConfigError, match=r"\[61\].*vocabulary has 61"):
        sampled(PLAIN, eos_id=61)
    with pytest.raises(ConfigError, match=r"\[99\]"):
        sampled(dataclasses.replace(PLAIN, stop_sequences=((3, 99),)))
