"""What preparing examples writes and refuses, with an in-memory stand-in for TFDS and SeqIO (test_tasks.py has the real ones)."""

import dataclasses
import json
import types

import numpy as np
import pytest

from align.data import preparation
from align.data.config import ExampleStoreConfig, PrepareExamplesConfig
from align.data.encoding import EncodingConfig
from align.data.examples import TokenExample
from align.data.labels import Labels
from align.data.sources.chat import Chat
from align.data.sources.document_prompts import DocumentPrompts
from align.data.sources.example_files import ExampleFiles
from align.data.sources.rated_texts import RatedTexts
from align.data.sources.rater_pairs import RaterPairs
from align.data.sources.symbol_task import SymbolTask
from align.data.sources.tfds_examples import TfdsExamples
from align.data.store import ExampleStore
from align.gold.token_programs import Parity, TokenCount
from scaling import gin_files
from scaling.data.config import VocabularyConfig
from scaling.data.store import TokenStore
from scaling.data.vocabularies import SPECIALS, load_vocabulary
from scaling.errors import ConfigError, DataError, OutputError
from tests.align.data.small_stores import encoded

BYTE = VocabularyConfig(kind="byte")
LENGTHS = EncodingConfig(max_prompt_tokens=12, max_completion_tokens=8)


@pytest.fixture(autouse=True)
def tasks(monkeypatch):
    """The two functions of align.data.tasks that preparing calls, without TensorFlow."""

    def token_examples(task, split):
        for text in task.source.examples(split):
            yield TokenExample(
                text.name,
                task.vocabulary.encode(text.prompt),
                tuple(encoded(completion, task.vocabulary) for completion in text.completions),
                text.scores,
                text.margin,
                text.filtered,
                text.flaw,
            )

    def example_task(source, vocabulary, tfds_data_dir):
        return types.SimpleNamespace(source=source, vocabulary=vocabulary, splits=source.splits)

    stand_in = types.SimpleNamespace(example_task=example_task, token_examples=token_examples)
    monkeypatch.setattr(preparation, "_tasks", lambda: stand_in)


@pytest.fixture
def prepared(tmp_path):
    """Prepares rows of a file and opens the store."""

    def prepare(rows, encoding=LENGTHS, vocabulary=BYTE, **fields) -> ExampleStore:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        store = ExampleStoreConfig("mine", ExampleFiles((str(file),), held_out=0.0), encoding, **fields)
        return preparation.prepare(
            PrepareExamplesConfig(str(tmp_path / "out"), (store,), vocabulary), lambda line: None
        )[0]

    return prepare


def pair(prompt="p", chosen="a", rejected="b"):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


GOOD = pair("say:", "yes", "no")


def test_prompt_and_completion_are_tokenised_apart_and_eos_is_counted(prepared):
    split = prepared([GOOD]).split("train")
    vocabulary = load_vocabulary(split.names_file.parent / "vocabulary")
    assert split.prompt(0).tolist() == vocabulary.encode("say:").tolist()
    assert split.completion(0).tolist() == [*vocabulary.encode("yes"), vocabulary.eos_id]
    assert split.completion_lengths.tolist() == [[4, 3]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (pair(chosen="same", rejected="same"), "with equal sides"),
        (pair(chosen="12345678 one", rejected="12345678 two"), "with equal sides"),
        (pair(chosen=""), "with an empty completion"),
        (pair(prompt=""), "with an empty prompt"),
        (pair(prompt="a prompt that is long"), "with a prompt that fills the context (more than 12 tokens)"),
        (pair() | {"chosen_score": float("inf")}, "with an infinite score"),
        (pair() | {"promt": "x"}, "with the unknown field 'promt'"),
    ],
)
def test_what_nothing_can_be_learnt_from_fails_or_is_dropped_and_counted(prepared, tmp_path, row, reason):
    """ "fail" names the rows, counts them and writes nothing; "drop" keeps the rest and records the count.

    The sides of the second case are equal once they are cut to eight tokens.
    """
    rows = [GOOD, row, row]
    with pytest.raises(DataError) as error:
        prepared(rows)
    assert f"2 examples of 'mine' cannot be used: 2 {reason} (rows.jsonl:2, rows.jsonl:3)" in str(error.value)
    assert "on_bad to 'drop'" in error.value.remedy and error.value.exit_code == 2
    assert list((tmp_path / "out").iterdir()) == []
    store = prepared(rows, on_bad="drop")
    assert len(store.split("train")) == 1
    assert store.manifest["left_out"]["train"]["dropped"] == {
        reason: {"count": 2, "names": ["rows.jsonl:2", "rows.jsonl:3"]}
    }


def test_where_nothing_is_left_the_reasons_are_given(prepared):
    with pytest.raises(DataError, match=r"1 examples of 'mine' cannot be used: 1 with an empty completion"):
        prepared([pair(chosen="")], on_bad="drop")


def test_long_prompts_lose_their_beginning_and_long_completions_their_end(prepared):
    """A cut completion has no EOS, so that the model is not taught to stop in the middle; the counts are recorded."""
    row = pair("0123456789abcdef", "abcdefghij", "x")
    store = prepared([row], dataclasses.replace(LENGTHS, long_prompts="truncate"))
    split, decode = store.split("train"), store.vocabulary.decode
    assert decode(split.prompt(0)) == "456789abcdef" and decode(split.completion(0)) == "abcdefgh"
    assert split.completion(0)[-1] != store.vocabulary.eos_id == split.completion(0, 1)[-1]
    truncated = store.manifest["left_out"]["train"]["truncated"]
    assert {what: entry["count"] for what, entry in truncated.items()} == {"prompts": 1, "completions": 1}


def test_long_completions_may_be_refused(prepared):
    refusing = dataclasses.replace(LENGTHS, long_completions="refuse")
    with pytest.raises(DataError, match="1 with a completion of more than 8 tokens"):
        prepared([GOOD, pair("p", "abcdefghij", "x")], refusing)


def test_a_completion_of_exactly_the_longest_length_keeps_its_eos(prepared):
    split = prepared([pair("p", "1234567", "x")]).split("train")
    assert split.completion_lengths.tolist() == [[8, 2]] and split.completion(0)[-1] == 1


def test_repeating_a_command_writes_nothing_and_another_request_is_refused(prepared):
    first = prepared([GOOD])
    assert prepared([GOOD]).store_hash == first.store_hash
    with pytest.raises(OutputError, match="holds a store of another request: it differs in source"):
        prepared([GOOD, pair()])
    with pytest.raises(OutputError, match="it differs in encoding, on_bad"):
        prepared([GOOD], dataclasses.replace(LENGTHS, max_prompt_tokens=11), on_bad="drop")
    with pytest.raises(OutputError, match="it differs in vocabulary"):
        prepared([GOOD], vocabulary=VocabularyConfig(kind="symbol", size=90))


def test_limits_take_the_first_examples(prepared):
    assert prepared([GOOD, pair("q"), pair("r")], max_examples=2).split("train").names == [
        "rows.jsonl:1",
        "rows.jsonl:2",
    ]


def test_prompts_from_documents_are_runs_of_their_tokens(tmp_path, byte_store):
    """Every prompt is a run of one document, never across its end; stride makes several of one document."""
    stores = tuple(
        ExampleStoreConfig(name, DocumentPrompts(byte_store, tokens=12, stride=stride), LENGTHS, max_examples=200)
        for name, stride in (("first", 0), ("strided", 30))
    )
    config = PrepareExamplesConfig(str(tmp_path), stores, VocabularyConfig(path=f"{byte_store}/vocabulary"))
    first, strided = preparation.prepare(config, lambda line: None)
    assert first.kind == "prompts" and first.split_names == ("train", "validation")
    split = TokenStore.open(byte_store).split("train")
    for store, stride in ((first, 0), (strided, 30)):
        prompts = store.split("train")
        for index, name in enumerate(prompts.names):
            document, offset = map(int, name.split(":")[1].split("+"))
            start = split.document_starts[document] + offset
            assert offset % (stride or 1) == 0 and start + 12 < split.document_starts[document + 1]
            assert prompts.prompt(index).tolist() == split.tokens[start : start + 12].tolist()
    assert len({name.split("+")[0] for name in first.split("train").names}) == 200
    assert len({name.split("+")[0] for name in strided.split("train").names}) < 200


def test_prompts_of_another_vocabulary_are_refused(tmp_path, byte_store):
    store = ExampleStoreConfig("p", DocumentPrompts(byte_store, tokens=4), LENGTHS)
    config = PrepareExamplesConfig(str(tmp_path), (store,), VocabularyConfig(kind="symbol", size=20))
    with pytest.raises(
        DataError, match=r"has another vocabulary.*set PrepareExamplesConfig.vocabulary to .*vocabulary"
    ):
        preparation.prepare(config, lambda line: None)


def symbols(**fields) -> SymbolTask:
    defaults = {
        "symbols": 4,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "gold": TokenCount((4,)),
        "train_examples": 2_000,
    }
    return SymbolTask(**{**defaults, **fields})


def prepare_symbols(tmp_path, task, name="task") -> ExampleStore:
    store = ExampleStoreConfig(name, task, EncodingConfig(3, 5))
    config = PrepareExamplesConfig(str(tmp_path), (store,), VocabularyConfig(kind="symbol", size=7))
    return preparation.prepare(config, lambda line: None)[0]


def test_a_symbol_task_is_scored_by_its_program(tmp_path):
    """Scores are those of the stored completions, in order; the uniform prior's mean count is L / V = 1."""
    store = prepare_symbols(tmp_path, symbols(completions=3))
    split = store.split("train")
    assert store.kind == "ranked" and split.prompt_lengths.tolist() == [3] * len(split)
    rows = split.sequences(np.arange(len(split)), store.max_tokens)
    scores = TokenCount((4,)).score(rows, store.vocabulary).reshape(-1, 3)
    np.testing.assert_array_equal(split.scores, scores)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert abs(scores.mean() - 1) < 4 * np.sqrt(0.75 / scores.size) + 0.05  # A few of equal completions are left out.
    assert store.manifest["source"]["gold_identity"] == TokenCount((4,)).identity
    assert rows.tokens[rows.tokens >= SPECIALS].max() == SPECIALS + 3


def test_labels_of_a_symbol_task_are_as_noisy_as_asked(tmp_path):
    store = prepare_symbols(tmp_path, symbols(labels=Labels("flip", flip=0.2)))
    labels = store.manifest["labels"]["train"]
    assert labels["ties"] == 0 and abs(labels["noise"] - 0.2) < 4 * np.sqrt(0.16 / labels["pairs"])


def test_a_symbol_task_without_completions_makes_prompts(tmp_path):
    store = prepare_symbols(tmp_path, symbols(completions=0, gold=None))
    assert store.kind == "prompts" and len(store.split("train")) == 2_000 and len(store.split("test")) == 512


def test_a_symbol_task_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DataError, match="needs 5 symbols, but the vocabulary has 4"):
        prepare_symbols(tmp_path, symbols(symbols=5))
    with pytest.raises(ConfigError, match="gold is missing"):
        symbols(gold=None)


@pytest.mark.parametrize(
    "source",
    [
        RaterPairs(),
        RatedTexts(),
        Chat(),
        ExampleFiles(("a.jsonl",)),
        TfdsExamples("tfds://anthropic_hh/helpful-base"),
        DocumentPrompts("store", 4),
        symbols(gold=Parity((4,))),
    ],
    ids=lambda source: source.kind,
)
def test_a_configuration_read_back_is_the_one_that_was_written(source):
    """The sources share fields; what tells them apart survives the way through plain values, and so does the kind of gold program."""
    config = PrepareExamplesConfig("out", (ExampleStoreConfig("a", source, LENGTHS),), BYTE)
    assert gin_files.checked(config) == config


def test_configurations_that_name_nothing_are_refused():
    store = ExampleStoreConfig("a", RaterPairs(), LENGTHS)
    with pytest.raises(ConfigError, match="vocabulary has no path"):
        PrepareExamplesConfig("out", (store,), VocabularyConfig(kind="bpe"))
    with pytest.raises(ConfigError, match="each by its own name"):
        PrepareExamplesConfig("out", (store, store), BYTE)
    with pytest.raises(ConfigError, match="write tfds://"):
        TfdsExamples("anthropic_hh")
    with pytest.raises(ConfigError, match="one side of its pairs only"):
        TfdsExamples("tfds://x", rejected_feature="")
    with pytest.raises(ConfigError, match="max_prompt_tokens is 0"):
        EncodingConfig(0, 4)
