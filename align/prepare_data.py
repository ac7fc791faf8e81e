"""Writes example stores: dialogues, preferences and prompts, tokenised for a model.

  python -m align.prepare_data --gin_file=configs/align/data/rater_pairs_sotu_bpe512.gin
  python -m align.prepare_data --gin_file=configs/align/data/rater_pairs_sotu_bpe512.gin --dry_run
  python -m align.prepare_data --verify=stores/rater_pairs_sotu_bpe512/pairs

Repeating a command is safe: stores that are there already are left alone.
"""

from collections.abc import Sequence

from absl import flags

from align.data import preparation
from align.data.config import PrepareExamplesConfig
from align.data.store import ExampleStore
from scaling import gin_files, verbs
from scaling.errors import ConfigError

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Overrides PrepareExamplesConfig.output_dir.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be written, and stop.")
_VERIFY = flags.DEFINE_multi_string("verify", [], "Re-hash every file of this store and stop; repeatable.")


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    if _VERIFY.value:
        for path in _VERIFY.value:
            print(f"{path}: intact, store_hash {ExampleStore.open(path, verify='hash').store_hash}")
        return
    config = _config()
    if _DRY_RUN.value:
        for planned in preparation.plan(config):
            print(planned.line())
        return
    for store in preparation.prepare(config, print):
        noise = {split: labels["noise"] for split, labels in store.manifest["labels"].items() if labels["pairs"]}
        labels = "".join(f", label noise of {split} {value:.3f}" for split, value in noise.items())
        print(
            f"{store.path}: {store.kind}, longest row {store.max_tokens} tokens{labels}, store_hash {store.store_hash}"
        )


def _config() -> PrepareExamplesConfig:
    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file was given", "name one of configs/align/data/*.gin")
    bindings = list(verbs.gin_binding_flags())
    if _OUTPUT_DIR.value is not None:
        bindings.append(f"PrepareExamplesConfig.output_dir={_OUTPUT_DIR.value!r}")
    return gin_files.load(PrepareExamplesConfig, verbs.gin_file_flags(), bindings).config


if __name__ == "__main__":
    verbs.run(main)
