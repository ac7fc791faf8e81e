"""Writes token stores: corpus + vocabulary -> tokens that training reads.

  python -m scaling.prepare_data --gin_file=configs/data/sotu_bpe512.gin
  python -m scaling.prepare_data --gin_file=configs/data/sotu_bpe512.gin --dry_run
  python -m scaling.prepare_data --verify=stores/sotu_bpe512/sotu

Repeating a command is safe: stores that are there already are left alone.
"""

from collections.abc import Sequence

from absl import flags

from scaling import gin_files, verbs
from scaling.data import preparation
from scaling.data.config import PrepareConfig
from scaling.data.store import TokenStore
from scaling.errors import ConfigError

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Overrides PrepareConfig.output_dir.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be written and about how long it takes, and stop.")
_VERIFY = flags.DEFINE_multi_string("verify", [], "Re-hash every file of this store and stop; repeatable.")


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    if _VERIFY.value:
        for path in _VERIFY.value:
            store = TokenStore.open(path, verify="hash")
            print(f"{path}: intact, store_hash {store.store_hash}")
        return
    config = _config()
    if _DRY_RUN.value:
        _print_plan(config)
        return
    for store in preparation.prepare(config, print):
        splits = ", ".join(store.split_names)
        print(f"{store.path}: splits {splits}, vocabulary {store.vocab_size}, store_hash {store.store_hash}")


def _config() -> PrepareConfig:
    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file was given", "name one of configs/data/*.gin")
    bindings = list(verbs.gin_binding_flags())
    if _OUTPUT_DIR.value is not None:
        bindings.append(f"PrepareConfig.output_dir={_OUTPUT_DIR.value!r}")
    return gin_files.load(PrepareConfig, verbs.gin_file_flags(), bindings).config


def _print_plan(config: PrepareConfig) -> None:
    stores = preparation.plan(config)
    for store in stores:
        print(store.line())
    seconds = preparation.estimated_seconds(stores)
    print(
        "takes as long as TFDS needs to read the text"
        if seconds is None
        else f"takes about {seconds:.0f} s on two cores"
    )


if __name__ == "__main__":
    verbs.run(main)
