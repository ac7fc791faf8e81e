"""Examples through TFDS and SeqIO for real."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

from align.data import preparation
from align.data.config import ExampleStoreConfig, PrepareExamplesConfig
from align.data.encoding import EncodingConfig
from align.data.sources.example_files import ExampleFiles
from align.data.sources.rater_pairs import RaterPairs
from align.data.sources.ratings import RATINGS
from align.data.sources.tfds_examples import TfdsExamples
from align.data.store import ExampleStore
from scaling import gin_files
from scaling.data.config import VocabularyConfig
from scaling.errors import DataError
from tests.align.data.small_stores import BYTES, encoded

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

TALK = "\n\nHuman: Naïve question {}?\n\nAssistant:"
LENGTHS = EncodingConfig(64, 400)


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory) -> str:
    """With a few comparisons where Anthropic's files are looked for."""
    directory = tmp_path_factory.mktemp("tfds")
    folder = directory / "downloads" / "manual" / "anthropic_hh" / "helpful-base"
    folder.mkdir(parents=True)
    for split, count in (("train", 60), ("test", 5)):
        with gzip.open(folder / f"{split}.jsonl.gz", "wt", encoding="utf-8") as file:
            for number in range(count):
                prompt = TALK.format(f"{split} {number}")
                file.write(json.dumps({"chosen": f"{prompt} Good {number}.", "rejected": f"{prompt} Bad."}) + "\n")
    return str(directory)


def prepare(tmp_path, source, tfds_dir, **fields) -> ExampleStore:
    store = ExampleStoreConfig("store", source, LENGTHS, **fields)
    config = PrepareExamplesConfig(str(tmp_path), (store,), VocabularyConfig(kind="byte"), tfds_dir)
    return preparation.prepare(config, print)[0]


def test_anthropics_comparisons_are_read_by_name(tfds_dir, tmp_path):
    """The prompt is split off, text survives exactly, and "validation" is cut from "train" by prompt, because the data set has none."""
    source = TfdsExamples("tfds://anthropic_hh/helpful-base", validation_share=0.2)
    store = prepare(tmp_path, source, tfds_dir)
    assert store.kind == "pairs" and set(store.split_names) == {"train", "test", "validation"}
    texts = {
        split: {BYTES.decode(store.split(split).prompt(i)) for i in range(len(store.split(split)))}
        for split in store.split_names
    }
    assert texts["train"] | texts["validation"] == {TALK.format(f"train {i}") for i in range(60)}
    assert texts["validation"] and not texts["train"] & texts["validation"] and len(texts["test"]) == 5
    test = store.split("test")
    numbers = [BYTES.decode(test.prompt(i)).split("?")[0].split()[-1] for i in range(5)]
    for index, number in enumerate(numbers):
        assert test.completion(index, 0).tolist() == encoded(f" Good {number}.").tolist()
        assert test.completion(index, 1).tolist() == encoded(" Bad.").tolist()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            TfdsExamples("tfds://anthropic_hh/harmless-base"),
            r"harmless-base/train.jsonl.gz does not exist.*copy FOLDER/train.jsonl.gz",
        ),
        (TfdsExamples("tfds://anthropic_hh"), "anthropic_hh has no configuration ''"),
        (TfdsExamples("tfds://anthropic_hh/helpful-base", chosen_feature="best"), "has no feature 'best'"),
        (TfdsExamples("tfds://no_such_set"), "TFDS has no dataset 'no_such_set'"),
        (TfdsExamples("tfds://samsum", "dialogue", "summary", "", ""), "'samsum' is not in .*tfds build samsum"),
    ],
)
def test_a_tfds_dataset_that_cannot_be_read_is_one_clear_line(tfds_dir, tmp_path, source, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, source, tfds_dir)


def test_dialogues_of_any_tfds_dataset_are_read_by_their_features(tmp_path):
    import tensorflow_datasets as tfds

    class TinyReplies(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        url_infos = {}

        def _info(self):
            features = tfds.features.FeaturesDict({"said": tfds.features.Text(), "reply": tfds.features.Text()})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in ("train", "validation")}

        def _generate_examples(self, split):
            for number in range(4):
                yield number, {"said": f"{split} {number}:", "reply": f" naïve \u2581 {number}"}

    TinyReplies(data_dir=str(tmp_path / "tfds")).download_and_prepare()
    store = prepare(
        tmp_path / "out", TfdsExamples("tfds://tiny_replies", "said", "reply", "", ""), str(tmp_path / "tfds")
    )
    split = store.split("validation")
    assert store.kind == "dialogue" and len(split) == 4
    number = BYTES.decode(split.prompt(0)).split()[1][0]
    assert split.completion(0).tolist() == encoded(f" naïve \u2581 {number}").tolist()
    prompts = prepare(
        tmp_path / "prompts", TfdsExamples("tfds://tiny_replies", "said", "", "", ""), str(tmp_path / "tfds")
    )
    assert prompts.kind == "prompts" and BYTES.decode(prompts.split("train").prompt(0)).startswith("train ")


def test_ranked_rows_with_scores_and_bad_ones_survive_the_records(tfds_dir, tmp_path):
    """Fractions, unknown scores, names and flaws come through TFDS and SeqIO as they were."""
    rows = [
        {"prompt": "p", "completions": ["a", "b", "c"], "scores": [0.25, 0.75, None]},
        {"prompt": "q", "completions": ["", "b", "c"], "scores": [3, 2, 1], "name": "the empty one"},
        {"prompt": "r", "completions": ["d", "e", "f"], "scores": [3, 2.5, 1]},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = ExampleFiles((str(tmp_path / "rows.jsonl"),), held_out=0.0)
    store = prepare(tmp_path / "out", source, tfds_dir, on_bad="drop")
    split = store.split("train")
    found = {name: split.scores[index].tolist() for index, name in enumerate(split.names)}
    np.testing.assert_array_equal(found["rows.jsonl:1"], [0.25, 0.75, np.nan])
    assert found["rows.jsonl:3"] == [3, 2.5, 1]
    assert store.manifest["left_out"]["train"]["dropped"]["with an empty completion"]["names"] == ["the empty one"]


def test_rater_pairs_reach_the_store_with_their_gold_scores(tfds_dir, tmp_path):
    """Every stored pair is one of the source's: text, scores and margin; the verb repeats, verifies and finds the spoilt byte."""
    try:
        RATINGS.folder()
    except DataError as missing:
        pytest.skip(str(missing))
    source = RaterPairs(domains=("products",), min_gap=2.0, pairs_per_text=1)
    store = prepare(tmp_path, source, tfds_dir)
    for split in store.split_names:
        expected = {example.name: example for example in source.examples(split)}
        stored = store.split(split)
        assert sorted(stored.names) == sorted(expected)
        for index, name in enumerate(stored.names):
            example = expected[name]
            texts = [BYTES.decode(stored.completion(index, side)) for side in (0, 1)]
            assert texts == [completion[: LENGTHS.max_completion_tokens] for completion in example.completions]
            np.testing.assert_allclose(stored.scores[index], example.scores, rtol=1e-6)
            assert stored.margins[index] == example.margin
    _verify_and_spoil(store)


def _verify_and_spoil(store: ExampleStore) -> None:
    verb = [sys.executable, "-m", "align.prepare_data", f"--verify={store.path}"]
    intact = subprocess.run(verb, capture_output=True, text=True, cwd=gin_files.PROJECT_ROOT, check=False)
    assert intact.returncode == 0 and "intact" in intact.stdout
    tokens = store.path / "test.prompts.tokens"
    tokens.write_bytes(tokens.read_bytes()[:-1] + b"\x07")
    spoilt = subprocess.run(verb, capture_output=True, text=True, cwd=gin_files.PROJECT_ROOT, check=False)
    assert spoilt.returncode == 2 and "is altered" in spoilt.stderr and len(spoilt.stderr.splitlines()) == 1
