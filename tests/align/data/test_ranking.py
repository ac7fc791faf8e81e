"""Stores of sampled completions: which pairs are made, and how noisy their labels are."""

import numpy as np
import pytest
from scipy.special import expit

from align.data.labels import Labels, preferred_order
from align.data.ranking import ScoredSamples, write_ranked
from align.sequences import Sequences
from scaling.errors import ConfigError, DataError
from tests.align.data.small_stores import BYTES, encoded


def samples(texts: list[tuple[str, list[str]]], scores) -> ScoredSamples:
    """Rows as a sampler returns them, of 20 tokens."""
    rows = [(BYTES.encode(prompt), encoded(completion)) for prompt, completions in texts for completion in completions]
    tokens = np.zeros((len(rows), 20), np.int32)
    for row, (prompt, completion) in enumerate(rows):
        tokens[row, : len(prompt) + len(completion)] = np.concatenate([prompt, completion])
    prompt_lengths = np.array([len(prompt) for prompt, _ in rows], np.int32)
    lengths = prompt_lengths + np.array([len(completion) for _, completion in rows], np.int32)
    return ScoredSamples(
        Sequences(tokens, prompt_lengths, lengths), np.array(scores, float), [prompt for prompt, _ in texts]
    )


def test_without_noise_completions_stand_in_order_of_gold(tmp_path):
    """All K are kept with their scores; fractions decide."""
    texts = [("p:", ["a", "bb", "ccc"]), ("longer:", ["x", "y", "z"])]
    store = write_ranked(tmp_path / "s", {"train": samples(texts, [0.25, 0.75, 0.5, 3, 1, 2])}, BYTES, Labels(), seed=0)
    split = store.split("train")
    assert store.kind == "ranked" and split.scores.tolist() == [[0.75, 0.5, 0.25], [3, 2, 1]]
    texts = [[BYTES.decode(split.completion(i, k)) for k in range(3)] for i in range(2)]
    assert texts == [["bb", "ccc", "a"], ["x", "z", "y"]] and BYTES.decode(split.prompt(1)) == "longer:"
    assert store.manifest["labels"]["train"]["agreement"] == 1


def test_pairs_of_a_prompt_are_distinct_and_what_cannot_be_a_pair_is_counted(tmp_path):
    """All six pairs of four completions, but for the one of equal texts and the one of equal scores."""
    drawn = samples([("p:", ["a", "a", "b", "c"])], [1, 1, 0, 0])
    store = write_ranked(tmp_path / "s", {"train": drawn}, BYTES, Labels(), seed=0, pairs_per_prompt=6)
    split = store.split("train")
    assert store.kind == "pairs" and len(split) == 4
    assert {(BYTES.decode(split.completion(i, 0)), BYTES.decode(split.completion(i, 1))) for i in range(4)} == {
        ("a", "b"),
        ("a", "c"),
    }
    assert split.margins.tolist() == [1] * 4 and len(set(split.names)) == 4
    left_out = store.manifest["left_out"]["train"]
    assert {reason: entry["count"] for reason, entry in left_out["filtered"].items()} == {
        "pairs that the rater does not tell apart": 2
    }


def test_equal_samples_are_dropped_and_named(tmp_path):
    drawn = samples([("p:", ["a", "a"]), ("q:", ["a", "b"])], [1, 0, 1, 0])
    store = write_ranked(tmp_path / "s", {"train": drawn}, BYTES, Labels(), seed=0)
    assert len(store.split("train")) == 1
    assert store.manifest["left_out"]["train"]["dropped"]["with equal sides"] == {"count": 1, "names": ["p:#0>1"]}
    with pytest.raises(DataError, match="'train' has no examples"):
        write_ranked(tmp_path / "t", {"train": samples([("p:", ["a", "a"])], [1, 0])}, BYTES, Labels(), seed=0)


@pytest.mark.parametrize("flip", [0.0, 0.25, 0.5])
def test_flipped_labels_disagree_with_gold_as_often_as_asked(flip):
    """Within four standard errors of the binomial."""
    scores = np.tile([[2.0, 1.0]], (10_000, 1))
    order = preferred_order(scores, Labels("flip", flip=flip), np.random.default_rng(0))
    assert abs((order[:, 0] == 1).mean() - flip) <= 4 * np.sqrt(flip * (1 - flip) / 10_000)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_bradley_terry_labels_have_its_probabilities(temperature):
    """P(i before j) = sigmoid((s_i - s_j) / temperature), of pairs and of any two of three (Plackett-Luce's marginals)."""
    scores = np.tile([[1.0, 0.25, -0.5]], (20_000, 1))
    rank = np.argsort(
        preferred_order(scores, Labels("bradley_terry", temperature=temperature), np.random.default_rng(1)), axis=1
    )
    for i, j in ((0, 1), (0, 2), (1, 2)):
        expected = expit((scores[0, i] - scores[0, j]) / temperature)
        assert abs((rank[:, i] < rank[:, j]).mean() - expected) < 4 * np.sqrt(0.25 / 20_000)


def test_ties_are_broken_by_lot():
    order = preferred_order(np.ones((4_000, 2)), Labels(), np.random.default_rng(0))
    assert abs(order[:, 0].mean() - 0.5) < 4 * np.sqrt(0.25 / 4_000)


def test_labels_are_a_function_of_the_seed_and_the_noise_is_recorded(tmp_path):
    drawn = samples([(f"p{i}:", ["a", "b"]) for i in range(40)], [1, 0] * 40)
    labels = Labels("flip", flip=0.3)
    one, same, other = (
        write_ranked(tmp_path / name, {"train": drawn}, BYTES, labels, seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one.store_hash == same.store_hash != other.store_hash
    assert one.manifest["label_noise"] == {"noise": "flip", "flip": 0.3, "temperature": 1.0}
    wrong = np.mean(one.split("train").scores[:, 0] < one.split("train").scores[:, 1])
    assert one.manifest["labels"]["train"]["noise"] == pytest.approx(wrong) and wrong > 0


def test_what_cannot_be_ranked_is_refused(tmp_path):
    drawn = samples([("p:", ["a", "b", "c"])], [1, 0, 2])
    with pytest.raises(ConfigError, match="turns pairs round, but there are 3"):
        write_ranked(tmp_path / "s", {"train": drawn}, BYTES, Labels("flip", flip=0.1), seed=0)
    with pytest.raises(ConfigError, match="3 completions make 3 pairs"):
        write_ranked(tmp_path / "s", {"train": drawn}, BYTES, Labels(), seed=0, pairs_per_prompt=4)
    with pytest.raises(ConfigError, match=r"have \[1\] completions per prompt"):
        write_ranked(tmp_path / "s", {"train": samples([("p:", ["a"])], [1])}, BYTES, Labels(), seed=0)
    with pytest.raises(ConfigError, match="flip is 1.5"):
        Labels("flip", flip=1.5)
    assert list(tmp_path.iterdir()) == []


def test_a_noisy_rater_decides_the_order_and_gold_scores_are_stored(tmp_path):
    """The rater prefers the second completion of the first prompt, against gold; the manifest says that half of the labels are wrong."""
    drawn = samples([("p:", ["a", "b"]), ("q:", ["a", "b"])], [1, 0, 1, 0])._replace(
        rated=np.array([0.2, 0.6, 0.9, 0.1])
    )
    store = write_ranked(tmp_path / "s", {"train": drawn}, BYTES, Labels(), seed=0)
    assert store.split("train").scores.tolist() == [[0, 1], [1, 0]]
    assert store.manifest["labels"]["train"]["noise"] == 0.5
