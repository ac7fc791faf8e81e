"""Lexicon sentiment against the package's own analyser, its published lexicon and real human ratings."""

import numpy as np
import pytest

from align.data.sources.packages import VADER
from align.data.sources.ratings import rated_texts
from align.gold.lexicon import LexiconRater, LexiconSentiment, rater_scores, word_votes
from align.sequences import Sequences
from scaling.errors import ConfigError, DataError
from tests.align.data.small_stores import BYTES, encoded


@pytest.fixture(autouse=True)
def needs_the_packages():
    try:
        VADER.folder()
    except DataError as missing:
        pytest.skip(str(missing))


def rows(prompt: str, completions: list[str]) -> Sequences:
    ids = [np.concatenate([BYTES.encode(prompt), encoded(text)]) for text in completions]
    tokens = np.zeros((len(ids), max(map(len, ids)) + 2), np.int32)
    for row, row_ids in enumerate(ids):
        tokens[row, : len(row_ids)] = row_ids
    return Sequences(tokens, np.full(len(ids), len(prompt), np.int32), np.array(list(map(len, ids)), np.int32))


def test_the_vader_rule_is_the_packages_analyser_on_the_decoded_completion():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    completions = [" not good at all!", " GREAT, really great :)", " the table", ""]
    scores = LexiconSentiment().score(rows("A terrible film:", completions), BYTES)
    expected = [SentimentIntensityAnalyzer().polarity_scores(text)["compound"] for text in completions]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    assert scores[0] < 0 < scores[1] and scores[2] == 0


def test_the_prompt_counts_only_where_it_is_asked_for():
    both = LexiconSentiment("mean_valence", with_prompt=True).score(rows("terrible", [" film"]), BYTES)
    alone = LexiconSentiment("mean_valence").score(rows("terrible", [" film"]), BYTES)
    assert alone[0] == 0 > both[0]


def test_raters_votes_average_to_the_lexicons_valence():
    """The package prints a mean beside the ten votes; for every word but one they agree, so the ten raters' mean is the gold score."""
    stated = {}
    for line in (VADER.folder() / "vader_lexicon.txt").read_text("utf-8").split("\n"):
        if line.strip():
            word, mean, *_ = line.strip().split("\t")
            stated[word] = float(mean)
    votes = word_votes()
    assert len(votes) == len(stated) == 7_506
    # The package states 2.5 for "lmfao", whose votes have the mean 2.4.
    assert [word for word in votes if abs(votes[word].mean() - stated[word]) > 0.051] == ["lmfao"]


def test_the_mean_of_the_ten_raters_is_the_mean_valence_and_each_alone_is_noisy():
    """On real snippets: exact for the mean; every single rater correlates with it, none perfectly."""
    lines = [text.text for text in rated_texts("movies")[:400]]
    by_rater = rater_scores(lines)
    gold = LexiconSentiment("mean_valence").score_texts(lines)
    np.testing.assert_allclose(by_rater.mean(axis=1), gold, atol=1e-12)
    correlations = [np.corrcoef(by_rater[:, rater], gold)[0, 1] for rater in range(10)]
    assert 0.7 < min(correlations) and max(correlations) < 0.999
    sequences = rows("p", lines[:3])
    np.testing.assert_allclose(LexiconRater(4).score(sequences, BYTES), by_rater[:3, 4], atol=1e-12)


def test_mean_valence_by_hand():
    """(1.9 + 0 + 0) / 3 / 4 for "good" among three words; no words are worth 0; the bound is 1."""
    scores = LexiconSentiment("mean_valence").score_texts(["good old table", "...", "good " * 50])
    np.testing.assert_allclose(scores, [1.9 / 12, 0, 1.9 / 4], atol=1e-12)


def test_correlation_with_people_is_the_published_one():
    """r of the analyser with mean human ratings, as measured before on the same data: tweets 0.86, movies 0.43 (two decimals)."""
    for domain, expected in (("tweets", 0.86), ("movies", 0.43)):
        rated = rated_texts(domain)
        scores = LexiconSentiment().score_texts([text.text for text in rated])
        assert np.corrcoef(scores, [text.gold for text in rated])[0, 1] == pytest.approx(expected, abs=0.006)


def test_identities_tell_rules_and_raters_apart():
    rewards = [
        LexiconSentiment(),
        LexiconSentiment("mean_valence"),
        LexiconSentiment(with_prompt=True),
        LexiconRater(0),
        LexiconRater(1),
    ]
    assert len({reward.identity for reward in rewards}) == len(rewards)


def test_there_are_ten_raters():
    with pytest.raises(ConfigError, match="rater is 10. Remedy: give a number from 0 to 9"):
        LexiconRater(10)
