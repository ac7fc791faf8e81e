"""Writes example stores: dialogues, preferences and prompts, tokenised for a model.

  python -m align.prepare_data --gin_file=configs/align/data/rater_pairs_sotu_bpe512.gin
  python -m align.prepare_data --gin_file=configs/align/data/rater_pairs_sotu_bpe512.gin --dry_run
  python -m align.prepare_data --verify=stores/rater_pairs_sotu_bpe512/pairs

Repeating a command is safe: stores that are there already are left alone.
"""

from collections.abc import Iterator, Sequence

from align.data import preparation
from align.data.config import PrepareExamplesConfig
from align.data.store import ExampleStore
from scaling import preparation_verb, verbs


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    preparation_verb.run(PrepareExamplesConfig, ExampleStore.open, _planned, _prepared, "configs/align/data/*.gin")


def _planned(config: PrepareExamplesConfig) -> Iterator[str]:
    return (planned.line() for planned in preparation.plan(config))


def _prepared(config: PrepareExamplesConfig) -> Iterator[str]:
    for store in preparation.prepare(config, print):
        noise = {split: labels["noise"] for split, labels in store.manifest["labels"].items() if labels["pairs"]}
        labels = "".join(f", label noise of {split} {value:.3f}" for split, value in noise.items())
        yield f"{store.path}: {store.kind}, longest row {store.max_tokens} tokens{labels}, store_hash {store.store_hash}"


if __name__ == "__main__":
    verbs.run(main)
