"""What an example store keeps, and that nothing but a whole and unaltered store is opened."""

import json

import numpy as np
import pytest

from align.data.examples import TokenExample
from align.data.rows import Prompts
from align.data.store import ExampleStore
from align.sequences import Pairs, Sequences
from scaling.data.vocabularies import SymbolVocabulary
from scaling.errors import DataError
from tests.align.data.small_stores import BYTES, encoded, token_examples, write_store

PAIRS = [("say:", "yes", "no"), ("a longer prompt:", "good", "bad!")]


@pytest.fixture
def pairs(tmp_path) -> ExampleStore:
    return write_store(tmp_path / "pairs", {"train": token_examples(PAIRS), "validation": token_examples(PAIRS[:1])})


def test_what_is_read_is_what_was_written(pairs):
    """Prompts and completions come back token by token, EOS last, apart from each other."""
    split = pairs.split("train")
    assert pairs.kind == "pairs" and len(split) == 2 and split.names == ["example 0", "example 1"]
    for number, (prompt, *completions) in enumerate(PAIRS):
        assert BYTES.decode(split.prompt(number)) == prompt
        for which, completion in enumerate(completions):
            assert split.completion(number, which).tolist() == encoded(completion).tolist()
    assert pairs.max_prompt_tokens == 16 and pairs.max_tokens == 21
    assert pairs.vocabulary.sha256 == BYTES.sha256 == pairs.vocabulary_sha256


def test_a_batch_is_padded_rows_with_their_lengths(pairs):
    """Lengths count the prompt and the completion with its EOS; everything after them is padding; the shape is the one asked for."""
    chosen, rejected = pairs.split("train").batch(np.array([1, 0]), 16, 30)
    assert isinstance(chosen, Sequences) and chosen.tokens.shape == rejected.tokens.shape == (2, 30)
    assert chosen.prompt_lengths.tolist() == rejected.prompt_lengths.tolist() == [16, 4]
    assert chosen.lengths.tolist() == [21, 8] and rejected.lengths.tolist() == [21, 7]
    for sequences, side in ((chosen, 1), (rejected, 2)):
        for row, number in enumerate((1, 0)):
            expected = [*BYTES.encode(PAIRS[number][0]), *encoded(PAIRS[number][side])]
            assert sequences.tokens[row].tolist() == expected + [0] * (30 - len(expected))
            assert sequences.tokens[row, sequences.lengths[row] - 1] == BYTES.eos_id


def test_each_kind_gives_its_own_batch(tmp_path, pairs):
    """Prompts alone, one completion, two, or K side by side."""
    prompts = write_store(tmp_path / "p", {"train": token_examples([("ab",), ("c",)])})
    dialogue = write_store(tmp_path / "d", {"train": token_examples([("ab", "x"), ("c", "yz")])})
    ranked = write_store(tmp_path / "r", {"train": token_examples([("ab", "x", "y", "z"), ("c", "1", "2", "33")])})
    assert [store.kind for store in (prompts, dialogue, pairs, ranked)] == ["prompts", "dialogue", "pairs", "ranked"]
    both = np.array([0, 1])
    batch = prompts.split("train").batch(both, 3, 9)
    assert isinstance(batch, Prompts) and batch.tokens.shape == (2, 3) and batch.lengths.tolist() == [2, 1]
    assert dialogue.split("train").batch(both, 3, 9).lengths.tolist() == [4, 4]
    assert isinstance(pairs.split("train").batch(both, 16, 21), Pairs)
    rows = ranked.split("train").batch(both, 3, 9)
    assert rows.lengths.tolist() == [4, 4, 4, 3, 3, 4] and rows.prompt_lengths.tolist() == [2, 2, 2, 1, 1, 1]
    assert BYTES.decode(rows.tokens[5]) == "c33"


def test_scores_and_margins_are_kept_and_the_unknown_is_nan(tmp_path):
    """Fractional gold scores survive, and what was not given is not taken for 0."""
    known, unknown = token_examples(PAIRS)
    known = known._replace(scores=(0.75, -0.25), margin=1.5)
    split = write_store(tmp_path / "s", {"train": [known, unknown]}).split("train")
    np.testing.assert_array_equal(split.scores, np.array([[0.75, -0.25], [np.nan, np.nan]], np.float32))
    np.testing.assert_array_equal(split.margins, np.array([1.5, np.nan], np.float32))


def test_the_manifest_states_how_labels_agree_with_gold(tmp_path):
    """Three of four pairs of known, different gold scores are in their order, so the noise is a quarter."""
    base = token_examples([("p", f"a{i}", f"b{i}") for i in range(6)])
    scores = [(1, 0), (2, 1), (0, 3), (5, 4), (1, 1), ()]
    examples = [example._replace(scores=score) for example, score in zip(base, scores, strict=True)]
    labels = write_store(tmp_path / "s", {"train": examples}).manifest["labels"]["train"]
    assert labels == {"pairs": 4, "ties": 1, "unknown": 1, "agreement": 0.75, "noise": 0.25}


def test_what_held_out_splits_share_with_train_is_counted(tmp_path):
    """Of four test examples one is in train, and two more have a prompt of train; a boundary that lies elsewhere makes another example."""
    train = token_examples([("p", "a"), ("q", "b")])
    test = token_examples([("p", "a"), ("p", "c"), ("q", "a"), ("pa", "x")])
    manifest = write_store(tmp_path / "s", {"train": train, "test": test}).manifest
    assert manifest["also_in_train"] == {"test": {"examples": 1, "prompts": 3}}


def test_a_row_that_does_not_fit_is_named(pairs):
    """A stage whose length is too small is told how long the rows are and which they are."""
    with pytest.raises(
        DataError,
        match=r"train: 1 rows of prompt and completion of this batch have more than 20 tokens, the longest 21 \(example 1\)",
    ):
        pairs.split("train").pairs(np.array([0, 1]), 20)
    with pytest.raises(DataError, match="1 prompts of this batch have more than 15 tokens"):
        pairs.split("train").prompts(np.array([0, 1]), 15)


def test_equal_examples_have_equal_hashes_and_others_have_not(tmp_path):
    """The hash is of the content: the directory's name does not enter, a changed score does."""
    one = write_store(tmp_path / "one", {"train": token_examples(PAIRS)})
    same = write_store(tmp_path / "same", {"train": token_examples(PAIRS)})
    other = write_store(
        tmp_path / "other", {"train": [example._replace(scores=(1, 0)) for example in token_examples(PAIRS)]}
    )
    assert one.store_hash == same.store_hash != other.store_hash


@pytest.mark.parametrize(
    "name", ["train.prompts.tokens", "train.completions.npy", "train.scores.npy", "vocabulary/vocabulary.json"]
)
def test_a_lost_truncated_or_altered_file_is_refused(pairs, name):
    """Each by its own message; the altered byte only by --verify, because sizes agree."""
    file = pairs.path / name
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(DataError, match="truncated or altered"):
        ExampleStore.open(pairs.path)
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    ExampleStore.open(pairs.path)
    with pytest.raises(DataError, match="its hash is not the manifest's"):
        ExampleStore.open(pairs.path, verify="hash")
    file.unlink()
    with pytest.raises(DataError, match="has lost its file"):
        ExampleStore.open(pairs.path)


def test_an_altered_manifest_or_another_directory_is_refused(pairs, byte_store):
    """A manifest is bound to its files by the store's hash; a token store is not taken for an example store."""
    with pytest.raises(DataError, match="holds no example store"):
        ExampleStore.open(byte_store)
    manifest = json.loads((pairs.path / "manifest.json").read_text())
    manifest["num_completions"] = 1
    (pairs.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="store_hash does not match"):
        ExampleStore.open(pairs.path)
    (pairs.path / "manifest.json").unlink()
    with pytest.raises(DataError, match="there is no example store"):
        ExampleStore.open(pairs.path)


def test_a_store_of_another_vocabulary_or_kind_is_refused(pairs):
    """Naming both hashes, and the kinds that would do."""
    pairs.require_vocabulary(BYTES.sha256, "runs/abc")
    with pytest.raises(
        DataError, match=r"has the vocabulary .*, but runs/abc reads .*Remedy: prepare the examples with the vocabulary"
    ):
        pairs.require_vocabulary(SymbolVocabulary(9).sha256, "runs/abc")
    pairs.require_kind("pairs", "ranked")
    with pytest.raises(DataError, match="of kind 'pairs'. Remedy: name a store of kind 'dialogue'"):
        pairs.require_kind("dialogue")


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    """A store appears whole or not at all."""

    def examples():
        yield token_examples(PAIRS)[0]
        raise RuntimeError("a disk on fire")

    with pytest.raises(RuntimeError):
        write_store_from(tmp_path / "s", examples())
    with pytest.raises(DataError, match="'train' has no examples"):
        write_store_from(tmp_path / "s", iter([]))
    assert list(tmp_path.iterdir()) == []


def write_store_from(path, examples):
    from align.data import store_writer

    with store_writer.writing(path, BYTES, 2) as writer:
        writer.write_split("train", examples)


def test_a_large_vocabulary_is_stored_in_wide_ids(tmp_path):
    """Ids above 65,535 are not cut to sixteen bits."""

    class Large(type(BYTES)):
        size = 70_000

    example = TokenExample("a", np.array([69_999]), (np.array([65_537, 1]),))
    split = write_store(tmp_path / "s", {"train": [example]}, Large()).split("train")
    assert split.prompt(0).tolist() == [69_999] and split.completion(0).tolist() == [65_537, 1]
