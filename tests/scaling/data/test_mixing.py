"""Finite texts are mixed by bytes and never repeated."""

import itertools

import numpy as np
import pytest

from scaling.data import mixing
from scaling.data.config import CorpusConfig
from scaling.data.corpora import MIXTURES
from scaling.data.sources import sources_of
from scaling.data.store_writer import Document
from scaling.errors import ConfigError, DataError


def documents(name: str, count: int, size: int) -> list[Document]:
    return [Document(f"{name}{i:04d}".ljust(size).encode(), np.arange(size + 1)) for i in range(count)]


def test_bytes_follow_the_shares_all_along_and_nothing_repeats():
    streams = [documents("a", 1000, 10), documents("b", 1000, 40)]
    mixed = list(mixing.merged([iter(stream) for stream in streams], [0.25, 0.75]))
    taken = np.zeros(2)
    for number, (source, document) in enumerate(mixed, start=1):
        taken[source] += len(document.text)
        if number >= 100:
            assert abs(taken[0] / taken.sum() - 0.25) < 0.02
    texts = [document.text for _, document in mixed]
    assert len(set(texts)) == len(texts)


def test_mixing_ends_where_the_first_source_runs_out():
    """30 documents of 10 bytes are all of the first source; at equal shares the second gives as many and keeps the
    rest."""
    mixed = list(mixing.merged([iter(documents("a", 30, 10)), iter(documents("b", 500, 10))], [1.0, 1.0]))
    assert [sum(source == i for source, _ in mixed) for i in (0, 1)] == [30, 30]


def test_one_source_passes_whole_and_in_order():
    source = documents("a", 7, 5)
    assert [document for _, document in mixing.merged([iter(source)], [1.0])] == source


def test_limits_end_with_the_document_that_reaches_them():
    def stream():
        return mixing.merged([iter(documents("a", 20, 9))], [1.0])

    assert len(list(mixing.limited(stream(), 25, 0))) == 3  # Ten tokens each.
    assert len(list(mixing.limited(stream(), 0, 4))) == 4
    assert len(list(mixing.limited(stream(), 0, 0))) == 20
    endless = ((0, document) for document in itertools.cycle(documents("a", 1, 9)))
    assert len(list(mixing.limited(endless, 100, 0))) == 10


@pytest.mark.parametrize("name", sorted(MIXTURES))
def test_a_mixture_expands_to_its_sources(name):
    sources = sources_of([CorpusConfig(name)])
    assert {source.task: pytest.approx(source.share) for source in sources} == MIXTURES[name]
    assert sum(source.share for source in sources) == pytest.approx(1.0)


def test_rates_of_a_configuration_multiply_those_of_its_mixture():
    sources = sources_of([CorpusConfig("light_prose_mixture", rate=3.0), CorpusConfig("tfds://c4/en:3.1.0", rate=1.0)])
    assert [source.share for source in sources] == pytest.approx([0.2925, 0.135, 0.3225, 0.25])
    assert sources[-1].manifest()["version"] == "3.1.0"


def test_unknown_and_repeated_texts_are_refused():
    with pytest.raises(DataError, match=r"no corpus 'sotus'\. Remedy: choose one of .*'sotu'.*tfds://"):
        sources_of([CorpusConfig("sotus")])
    with pytest.raises(DataError, match="no corpus 'tfds://c4 en'"):
        sources_of([CorpusConfig("tfds://c4 en")])
    with pytest.raises(ConfigError, match="a text occurs twice"):
        sources_of([CorpusConfig("sotu"), CorpusConfig("light_prose_mixture")])
