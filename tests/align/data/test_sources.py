"""What the embedded sources hold: counts from the pinned packages, real noise of raters, and no text in two splits."""

import collections

import numpy as np
import pytest

from align.data.sources.chat import Chat
from align.data.sources.packages import PROFANITY, has_profanity
from align.data.sources.rated_texts import RatedTexts
from align.data.sources.rater_pairs import RaterPairs, agreement_probability
from align.data.sources.ratings import RATINGS, rated_texts
from align.data.sources.source import hashed_split
from scaling.data.corpora import CORPORA
from scaling.errors import ConfigError, DataError


def require(*corpora):
    for corpus in corpora:
        try:
            corpus.folder()
        except DataError as missing:
            pytest.skip(str(missing))


@pytest.mark.parametrize(
    ("domain", "texts", "votes"),
    [("movies", 10_603, 15), ("products", 3_697, 20), ("editorials", 5_119, 20), ("tweets", 4_004, 20)],
)
def test_every_rated_text_has_its_votes_and_the_mean_that_is_stated(domain, texts, votes):
    """Repeats are dropped, and so are 196 tweets whose stated mean is not that of the votes beside them."""
    require(RATINGS)
    rated = rated_texts(domain)
    assert len(rated) == len({text.text for text in rated}) == texts
    assert min(len(text.votes) for text in rated) == votes
    assert all(-4 <= text.gold <= 4 for text in rated)


def test_snippets_of_one_review_are_in_one_split():
    require(RATINGS)
    splits = collections.defaultdict(set)
    for text in rated_texts("products"):
        splits[text.name.split("_")[0]].add(text.split)
    assert len(splits) > 100 and all(len(found) == 1 for found in splits.values())


def test_no_text_is_in_pairs_of_two_splits():
    require(RATINGS)
    seen = {
        split: {text for example in RaterPairs().examples(split) for text in example.completions}
        for split in RaterPairs.splits
    }
    assert all(len(texts) > 1_000 for texts in seen.values())
    assert not seen["train"] & seen["validation"] and not (seen["train"] | seen["validation"]) & seen["test"]


def test_sampled_raters_disagree_with_gold_as_often_as_their_votes_say():
    """The measured agreement of train's labels is within four standard errors of its expectation, computed exactly from all votes of each pair."""
    require(RATINGS)
    votes = {text.name: text for text in rated_texts("movies")}
    expected, found = [], []
    for example in RaterPairs().examples("train"):
        chosen, rejected = (votes[name] for name in example.name.split(">"))
        probability = agreement_probability(chosen.votes, rejected.votes)
        if not np.isnan(probability):
            expected.append(probability)
            found.append(example.scores[0] > example.scores[1])
    expected = np.array(expected)
    error = np.sqrt((expected * (1 - expected)).sum()) / len(expected)
    assert len(expected) > 8_000 and abs(np.mean(found) - expected.mean()) < 4 * error
    assert 0.1 < 1 - np.mean(found) < 0.15


def test_agreement_by_hand():
    """Of the pairs of votes (3|1), (3|1), (0|1), (0|1), half are in the order of the means 1.5 and 1; equal votes do not count."""
    assert agreement_probability(np.array([3, 0]), np.array([1, 1])) == 0.5
    assert agreement_probability(np.array([3, 1]), np.array([1, 1])) == 1
    assert np.isnan(agreement_probability(np.array([1, 1]), np.array([1, 1])))


def test_labels_by_majority_are_less_noisy_and_those_by_mean_are_gold():
    require(RATINGS)

    def noise(label):
        kept = [example for example in RaterPairs(label=label).examples("test") if not example.filtered]
        return np.mean([example.scores[0] < example.scores[1] for example in kept])

    assert noise("mean") == 0 < noise("majority") < noise("rater")


def test_a_least_gap_makes_fewer_and_cleaner_pairs():
    require(RATINGS)
    wide = list(RaterPairs(min_gap=1.0).examples("test"))
    assert min(abs(example.scores[0] - example.scores[1]) for example in wide) >= 1 - 1e-9
    assert 0.6 < len(wide) / len(list(RaterPairs().examples("test"))) < 0.75


def test_pairs_are_a_function_of_the_seed():
    require(RATINGS)
    assert list(RaterPairs(seed=1).examples("test"))[:50] == list(RaterPairs(seed=1).examples("test"))[:50]
    assert [e.name for e in RaterPairs(seed=1).examples("test")] != [
        e.name for e in RaterPairs(seed=2).examples("test")
    ]


def test_a_text_is_cut_after_words_and_nothing_of_it_is_lost():
    """Prompt and completion put together are the text; texts with nothing left are filtered by name; "preferred" ones are above their threshold."""
    require(RATINGS)
    by_name = {text.name: text for text in rated_texts("movies")}
    examples = list(RatedTexts(prompt="Review:", prompt_words=4, least_score=1.0).examples("test"))
    kept = [example for example in examples if not example.filtered]
    assert len(kept) > 300
    for example in kept:
        assert example.prompt + example.completions[0] == f"Review: {by_name[example.name].text}"
        assert example.scores[0] == by_name[example.name].gold >= 1
    reasons = {example.filtered for example in examples} - {""}
    assert reasons == {"texts rated below 1.0", "texts of at most 4 words"}
    prompts = list(RatedTexts(prompt_words=4, completions=0).examples("test"))
    assert prompts[0].completions == () and prompts[0].prompt.startswith("Review: ")


def test_chat_prompts_are_the_turns_before_and_conversations_stay_together():
    require(CORPORA["chitchat"], PROFANITY)
    chat = Chat(history=2, max_replies=3)
    examples = {split: list(chat.examples(split)) for split in ("validation", "test")}
    conversations = {split: {example.name.split(":")[0] for example in found} for split, found in examples.items()}
    assert conversations["validation"] and not conversations["validation"] & conversations["test"]
    places = collections.Counter(example.name.split(":")[0] for example in examples["test"])
    assert max(places.values()) == 3
    third = next(example for example in examples["test"] if example.name.endswith(":3"))
    second = next(example for example in examples["test"] if example.name == third.name[:-1] + "2")
    # The reply to the second turn is the last turn of the prompt of the third.
    assert third.prompt.split("\n")[1] == f"A:{second.completions[0]}" and third.prompt.endswith("\nB:")
    assert third.prompt.count("\n") == 2 and third.completions[0].startswith(" ")


def test_chat_filters_contact_details_and_profanity_and_counts_them():
    """The filter acts on prompt and reply, and what it leaves has neither."""
    require(CORPORA["chitchat"], PROFANITY)
    examples = list(Chat().examples("validation"))
    reasons = collections.Counter(example.filtered for example in examples)
    assert reasons["with a listed profanity"] > 0 and reasons[""] > 0.9 * len(examples)
    kept = [example.prompt + example.completions[0] for example in examples if not example.filtered]
    assert not any(has_profanity(text) or "http://" in text or "@gmail" in text for text in kept)


def test_profanity_is_found_as_whole_words_in_any_case():
    require(PROFANITY)
    assert has_profanity("What the Hell!") and not has_profanity("Hello, shell and Michelle.")


def test_a_unit_keeps_its_split_when_others_come():
    shares = collections.Counter(hashed_split(f"unit {number}", 0.1) for number in range(10_000))
    assert abs(shares["validation"] / 10_000 - 0.1) < 0.015 and abs(shares["test"] / 10_000 - 0.1) < 0.015


def test_records_of_different_requests_have_different_names():
    names = {
        source.record_name
        for source in (
            RaterPairs(),
            RaterPairs(seed=1),
            RaterPairs(label="mean"),
            RatedTexts(),
            Chat(),
            Chat(history=1),
        )
    }
    assert len(names) == 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RaterPairs(prompt=""), "RaterPairs.prompt is ''"),
        (lambda: RaterPairs(pairs_per_text=0), "pairs_per_text is 0"),
        (lambda: RatedTexts(prompt="", prompt_words=0), "RatedTexts.prompt is ''.*or prompt_words"),
        (lambda: Chat(history=0), "history is 0"),
    ],
)
def test_a_source_that_makes_no_examples_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
