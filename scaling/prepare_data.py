"""Writes token stores: corpus + vocabulary -> tokens that training reads.

  python -m scaling.prepare_data --gin_file=configs/data/sotu_bpe512.gin
  python -m scaling.prepare_data --gin_file=configs/data/sotu_bpe512.gin --dry_run
  python -m scaling.prepare_data --verify=stores/sotu_bpe512/sotu

Repeating a command is safe: stores that are there already are left alone.
"""

from collections.abc import Iterator, Sequence

from scaling import preparation_verb, verbs
from scaling.data import preparation
from scaling.data.config import PrepareConfig
from scaling.data.store import TokenStore


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    preparation_verb.run(PrepareConfig, TokenStore.open, _planned, _prepared, "configs/data/*.gin")


def _prepared(config: PrepareConfig) -> Iterator[str]:
    for store in preparation.prepare(config, print):
        splits = ", ".join(store.split_names)
        yield f"{store.path}: splits {splits}, vocabulary {store.vocab_size}, store_hash {store.store_hash}"


def _planned(config: PrepareConfig) -> Iterator[str]:
    stores = preparation.plan(config)
    yield from (store.line() for store in stores)
    seconds = preparation.estimated_seconds(stores)
    if seconds is None:
        yield "takes as long as TFDS needs to read the text"
    else:
        yield f"takes about {seconds:.0f} s on two cores"


if __name__ == "__main__":
    verbs.run(main)
