"""From a Gin file's process to a store that states its entropy, and from there to a run's record."""

import dataclasses
import json

import pytest

from scaling import gin_files
from scaling.data import preparation
from scaling.data.config import CorpusConfig, PrepareConfig, StoreConfig, VocabularyConfig
from scaling.data.known_truth.markov import MarkovChain
from scaling.data.known_truth.skills import Skills
from scaling.data.known_truth.symbols import text_of
from scaling.data.store import TokenStore
from scaling.data.vocabularies import load_vocabulary
from scaling.errors import ConfigError, DataError, OutputError
from scaling.models import ladder
from scaling.run_config import EvaluationConfig, EvaluationDomain
from tests.scaling.training import small_runs

CHAIN = MarkovChain(order=1, alphabet=5, mean_length=30, train_tokens=20_000, held_out_tokens=3_000)


def config_of(process, tmp_path, size, **fields) -> PrepareConfig:
    store = StoreConfig(name="known", corpora=(CorpusConfig(process=process),))
    vocabulary = VocabularyConfig(kind="symbol", size=size)
    return PrepareConfig(str(tmp_path / "out"), (store,), vocabulary, tfds_data_dir=str(tmp_path / "tfds"), **fields)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_process_is_prepared_as_any_other_corpus(tmp_path):
    """Through TFDS and SeqIO: the documents are those drawn, repeats included, and the manifest states their entropy."""
    (store,) = preparation.prepare(config_of(CHAIN, tmp_path, 8), print)
    vocabulary, split = load_vocabulary(store.vocabulary_path), store.split("validation")
    starts = split.document_starts
    read = [vocabulary.decode(split.tokens[a:b]) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    drawn = [text_of(symbols) for symbols in CHAIN.documents("validation")]
    assert sorted(read) == sorted(drawn) and len(set(drawn)) < len(drawn)
    assert store.manifest["known_truth"]["entropy_nats_per_token"] == CHAIN.floor().plateau
    assert store.entropy(16) == CHAIN.floor().at(16)
    assert store.manifest["corpora"][0]["process"] == json.loads(json.dumps(CHAIN.request()))
    lines = []
    (again,) = preparation.prepare(config_of(CHAIN, tmp_path, 8), lines.append)
    assert again.store_hash == store.store_hash and lines == [f"{store.path} is already there"]
    other = dataclasses.replace(CHAIN, concentration=0.5)
    with pytest.raises(OutputError, match="it differs in sources"):
        preparation.prepare(config_of(other, tmp_path, 8), print)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_no_entropy_is_claimed_of_tokens_that_are_not_symbols(tmp_path):
    config = config_of(CHAIN, tmp_path, 8)
    (trained,) = preparation.prepare(
        dataclasses.replace(config, vocabulary=VocabularyConfig(kind="bpe", size=300)), print
    )
    assert trained.entropy(16) is None
    (bytes_,) = preparation.prepare(
        dataclasses.replace(config, output_dir=str(tmp_path / "bytes"), vocabulary=VocabularyConfig(kind="byte")), print
    )
    assert bytes_.entropy(16) == CHAIN.floor().at(16)


def test_a_vocabulary_that_is_too_small_is_one_clear_line_before_anything_starts(tmp_path):
    with pytest.raises(DataError, match=r"MarkovChain needs 5 symbols, but .*size 7 has 4.*of at least 8"):
        preparation.prepare(config_of(CHAIN, tmp_path, 7), print)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["markov", "hidden_markov", "grammar", "skills"])
def test_shipped_processes_are_built_by_gin_and_fit_their_vocabulary(name):
    config = gin_files.load(PrepareConfig, [f"configs/data/{name}.gin"]).config
    process = config.stores[0].corpora[0].process
    assert process.kind == name and process.alphabet_size + 3 == config.vocabulary.size
    assert preparation.plan(config)[0].request["sources"][0]["process"]["kind"] == name


def test_a_misspelt_process_parameter_is_refused():
    with pytest.raises(ConfigError, match="MarkovChain"):
        gin_files.load(PrepareConfig, ["configs/data/markov.gin"], ["MarkovChain.ordre=2"])


@pytest.mark.slow
def test_a_run_on_it_records_the_entropy_and_stays_above_it(write_process, tmp_path):
    skills = Skills(names=4, arguments=4, mean_length=40, train_tokens=40_000, held_out_tokens=10_000)
    store: TokenStore = write_process(skills)
    path = str(store.path)
    run = small_runs.config(
        path,
        model=ladder.llama(width=16, vocab_size=store.vocab_size),
        evaluation=EvaluationConfig(domains=(EvaluationDomain("skills", path),)),
    )
    (directory,) = small_runs.train(tmp_path / "runs", run)
    loss = directory.record()["losses"]["skills"]
    assert (loss["entropy_nats_per_token"], loss["entropy_error"]) == tuple(store.entropy(64))
    assert loss["nats_per_token"] > loss["entropy_nats_per_token"] - 4 * loss["standard_error"]
