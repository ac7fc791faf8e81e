"""The judge: what it learns from people, that it is frozen exactly, and what a file that is none says."""

import numpy as np
import pytest

from align.data.sources.ratings import RATINGS, rated_texts
from align.gold.rating_judge import JudgeConfig, RatingJudge, train_judge
from align.sequences import Sequences
from scaling.errors import ConfigError, DataError, OutputError
from tests.align.data.small_stores import BYTES, encoded


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> RatingJudge:
    """Of product reviews, which are few: a second to train."""
    try:
        RATINGS.folder()
    except DataError as missing:
        pytest.skip(str(missing))
    return train_judge(
        JudgeConfig(
            str(tmp_path_factory.mktemp("judges") / "products.npz"), domains=("products",), penalties=(1.0, 3.0)
        )
    )


def test_held_out_correlation_with_people_is_stored_and_is_what_the_file_gives(judge):
    """The figure of the description is recomputed from the frozen file on the test split, which nothing was fitted or chosen on."""
    rated = [text for text in rated_texts("products") if text.split == "test"]
    scores = judge.score_texts([text.text for text in rated])
    correlation = np.corrcoef(scores, [text.gold for text in rated])[0, 1]
    assert judge.description["quality"]["test"]["correlation"] == pytest.approx(correlation, abs=1e-9)
    assert correlation > 0.65
    assert np.abs(scores).max() <= 4


def test_a_judge_is_bounded_and_reads_the_completion(judge):
    """Praise without end does not leave the rating scale; the prompt is not judged."""
    praise, blame = " excellent, I love it, great, best!" * 30, " terrible, broken, a waste of money"
    completions = [encoded(praise), encoded(blame)]
    prompt = BYTES.encode("terrible terrible:")
    tokens = np.zeros((2, 1200), np.int32)
    for row, completion in enumerate(completions):
        tokens[row, : len(prompt) + len(completion)] = np.concatenate([prompt, completion])
    lengths = np.array([len(prompt) + len(completion) for completion in completions], np.int32)
    scores = judge.score(Sequences(tokens, np.full(2, len(prompt), np.int32), lengths), BYTES)
    assert 0.5 < scores[0] <= 4 and -4 <= scores[1] < -0.5
    np.testing.assert_array_equal(scores, judge.score_texts([praise, blame]))


@pytest.mark.slow
def test_training_again_gives_the_same_judge_and_a_file_is_not_overwritten(judge, tmp_path):
    config = JudgeConfig(str(tmp_path / "again.npz"), domains=("products",), penalties=(1.0, 3.0))
    assert train_judge(config).identity == judge.identity
    with pytest.raises(OutputError, match="exists already"):
        train_judge(config)


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no judge at"):
        RatingJudge(str(tmp_path / "none.npz")).score_texts(["a"])
    (tmp_path / "other.npz").write_bytes(b"not a judge")
    with pytest.raises(DataError, match="is not the file of a judge"):
        RatingJudge(str(tmp_path / "other.npz")).score_texts(["a"])
    with pytest.raises(ConfigError, match="ends in .npz"):
        JudgeConfig("judge.txt")
