"""Rows as Anthropic publishes them (hh-rlhf: gzipped JSON lines of two whole dialogues), with every quirk that the published sets are known for.

The files themselves cannot be had here; these have their format byte for byte: one object a line, "chosen" and "rejected", dialogues that begin with a blank
line, ASCII with escapes.
"""

import gzip
import json

import pytest

from align.data import preparation
from align.data.config import ExampleStoreConfig, PrepareExamplesConfig
from align.data.encoding import EncodingConfig
from align.data.sources.tfds_examples import TfdsExamples
from scaling.data.config import VocabularyConfig
from tests.align.data.small_stores import BYTES, encoded

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

ONE = "\n\nHuman: What is a haiku?\n\nAssistant:"
THREE = (
    "\n\nHuman: Hi there\n\nAssistant: Hello! What can I do?\n\nHuman: A poem \u2013 short, please. \n\nAssistant: About what?"
    "\n\nHuman: Assistant: is a word I like\n\nAssistant:"
)
# Prompt, chosen and rejected as the store must hold them.
KEPT = [
    (ONE, " Three lines.", " A poem of three lines:\n\n1. five\n\n2. seven\n\n3. five"),
    (THREE, " \u201cAutumn\u201d \U0001f342", " No."),
    # White space around an answer is part of the answer: it was part of what people read.
    (ONE + " ", "trailing blanks  \n\n ", "none"),
    # The rejected side ends with the very prompt of the chosen one.
    (ONE, " It is short", " It is"),
    # No blank after the colon.
    (THREE, "Yes", "No"),
]
BAD = {
    "with equal sides": (f"{ONE} Same.", f"{ONE} Same."),
    "with an empty completion": (f"{ONE} Fine.", ONE),
    # The first answers differ already, and the dialogue goes on behind them.
    "whose sides part before the last answer": (
        f"{ONE} A.\n\nHuman: Thanks\n\nAssistant: Welcome.",
        f"{ONE} B.\n\nHuman: Why?\n\nAssistant: Because.",
    ),
    "whose sides share no turn of the assistant": ("\n\nHuman: Hi\n\nAssistant: A", "\n\nHuman: Hello\n\nAssistant: B"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hh")
    folder = directory / "downloads" / "manual" / "anthropic_hh" / "harmless-base"
    folder.mkdir(parents=True)
    rows = [(prompt + chosen, prompt + rejected) for prompt, chosen, rejected in KEPT] + list(BAD.values())
    lines = [json.dumps({"chosen": chosen, "rejected": rejected}) for chosen, rejected in rows]
    with gzip.open(folder / "train.jsonl.gz", "wb") as file:
        file.write(("\n".join(lines) + "\n").encode("ascii"))
    with gzip.open(folder / "test.jsonl.gz", "wb") as file:
        # The last line need not end.
        file.write(lines[0].encode("ascii"))
    source = TfdsExamples("tfds://anthropic_hh/harmless-base", validation_share=0.0)
    store = ExampleStoreConfig("harmless", source, EncodingConfig(400, 400), on_bad="drop")
    config = PrepareExamplesConfig(str(directory / "out"), (store,), VocabularyConfig(kind="byte"), str(directory))
    return preparation.prepare(config, print)[0]


def test_dialogues_are_split_where_they_part_and_kept_byte_for_byte(store):
    """Several turns, prompts of different lengths, escapes and white space."""
    train = store.split("train")
    found = {
        (BYTES.decode(train.prompt(row)), *(tuple(train.completion(row, side).tolist()) for side in (0, 1)))
        for row in range(len(train))
    }
    assert found == {
        (prompt.removesuffix(" "), *(tuple(encoded(white(prompt) + side).tolist()) for side in sides))
        for prompt, *sides in KEPT
    }


def white(prompt: str) -> str:
    """What stands behind the last colon belongs to the answers."""
    return " " if prompt.endswith(" ") else ""


def test_what_is_no_comparison_is_dropped_counted_and_named(store):
    dropped = store.manifest["left_out"]["train"]["dropped"]
    assert {reason: entry["count"] for reason, entry in dropped.items()} == dict.fromkeys(BAD, 1)
    assert len(store.split("train")) == len(KEPT)


def test_a_file_whose_last_line_does_not_end_is_read_to_its_end(store):
    assert len(store.split("test")) == 1
