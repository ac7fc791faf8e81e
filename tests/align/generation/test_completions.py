"""Many ragged prompts: order, padding, samples, progress and refusals."""

import numpy as np
import pytest

from align.generation import completions as module
from align.generation.completions import complete, padded_width
from align.generation.sampling_config import SamplingConfig
from scaling.errors import ConfigError, DataError
from tests.align.generation.small_policy import CONFIG, EOS, MODEL, completions, parameters

CONFIG_OF_SAMPLING = SamplingConfig(max_new_tokens=6)


def ragged(count, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(3, CONFIG.vocab_size, random.integers(1, 25)).tolist() for _ in range(count)]


def completed(prompts, **options):
    return complete(MODEL, parameters(), prompts, CONFIG_OF_SAMPLING, EOS, seed=5, batch_size=4, **options)


def test_results_come_in_order_with_their_prompts_and_samples_together():
    """Eleven prompts over two widths, three samples each: every row begins with its own prompt, and samples of one prompt differ."""
    prompts, seen = ragged(11), []
    generation = completed(prompts, samples=3, on_batch=lambda done, total: seen.append((done, total)))
    tokens, starts, ends = generation.sequences
    assert tokens.shape == (33, max(map(len, prompts)) + 6)
    for row in range(33):
        assert tokens[row, : starts[row]].tolist() == prompts[row // 3]
    assert (ends > starts).all() and (tokens[np.arange(tokens.shape[1])[None] >= ends[:, None]] == 0).all()
    rows = completions(generation)
    assert sum(rows[3 * index] != rows[3 * index + 1] for index in range(11)) >= 10
    assert seen[-1] == (33, 33) and [done for done, _ in seen] == sorted({done for done, _ in seen})
    inside = np.arange(tokens.shape[1])[None] >= starts[:, None]
    inside &= np.arange(tokens.shape[1])[None] < ends[:, None]
    assert (generation.log_probs[inside] < 0).all() and (generation.log_probs[~inside] == 0).all()


def test_a_prompt_gets_the_same_completion_in_other_company():
    """Only its number counts: other prompts, more of them, and thereby other places in other batches change nothing, bit for bit."""
    prompts = ragged(7)
    few = completed(prompts)
    other = completed([*ragged(2, seed=1), *prompts[2:], *ragged(5, seed=2)])
    for row in range(2, 7):
        assert completions(few)[row] == completions(other)[row]
        width = few.log_probs.shape[1]
        np.testing.assert_array_equal(few.log_probs[row], other.log_probs[row][:width])


def test_padded_widths_are_few_and_fit():
    widths = {padded_width(length, 100) for length in range(1, 101)}
    assert widths == {16, 32, 64, 100}
    assert all(padded_width(length, 100) >= length for length in range(1, 101))


def test_no_prompts_give_no_rows():
    assert len(completed([]).sequences.tokens) == 0


@pytest.mark.parametrize(
    "prompts,message",
    [
        ([[3], [], [4], []], r"2 prompt\(s\) are empty \(numbers 1, 3\)"),
        ([[3] * 59, [3]], r"1 prompt\(s\) are longer than 58 tokens.*numbers 0"),
        ([[3], [4, 61]], r"1 prompt\(s\) hold token ids outside the model's vocabulary of 61.*numbers 1"),
        ([[]] * 9, r"9 prompt\(s\).*numbers 0, 1, 2, 3, 4, \.\.\."),
    ],
)
def test_unfit_prompts_are_counted_and_named(prompts, message):
    with pytest.raises(DataError, match=message):
        completed(prompts)


def test_sizes_that_cannot_run_are_refused():
    with pytest.raises(ConfigError, match="leaves no room"):
        complete(MODEL, parameters(), [[3]], SamplingConfig(max_new_tokens=64), EOS, seed=0)
    with pytest.raises(ConfigError, match="samples 0"):
        completed([[3]], samples=0)


def test_one_program_a_width(monkeypatch):
    """Thirty prompts of up to 24 tokens run in two shapes."""
    shapes = set()
    real = module.generator

    def watched(*args):
        compiled = real(*args)

        def run(prepared, prompts, lengths, keys):
            shapes.add(prompts.shape)
            return compiled.run(prepared, prompts, lengths, keys)

        return compiled._replace(run=run)

    monkeypatch.setattr(module, "generator", watched)
    completed(ragged(30))
    assert shapes == {(4, 16), (4, 32)}
