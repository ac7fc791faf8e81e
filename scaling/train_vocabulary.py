"""Trains a vocabulary on the train split of a corpus.

  python -m scaling.train_vocabulary --gin_file=configs/data/vocabulary_sotu_unigram4096.gin

`scaling.prepare_data` trains the vocabulary of its stores by itself; this verb is for one that several preparations
share (`VocabularyConfig.path`).
"""

from collections.abc import Sequence

from absl import flags

from scaling import gin_files, verbs
from scaling.data import preparation
from scaling.data.config import TrainVocabularyConfig
from scaling.errors import ConfigError

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Overrides TrainVocabularyConfig.output_dir.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be trained and stop.")


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file was given", "name one of configs/data/vocabulary_*.gin")
    bindings = list(verbs.gin_binding_flags())
    if _OUTPUT_DIR.value is not None:
        bindings.append(f"TrainVocabularyConfig.output_dir={_OUTPUT_DIR.value!r}")
    config = gin_files.load(TrainVocabularyConfig, verbs.gin_file_flags(), bindings).config
    if _DRY_RUN.value:
        print(f"{config.output_dir}: {preparation.vocabulary_request(config.vocabulary)}")
        return
    vocabulary = preparation.write_vocabulary(config, print)
    print(f"{config.output_dir}: {vocabulary.kind}, {vocabulary.size} ids, sha256 {vocabulary.sha256}")


if __name__ == "__main__":
    verbs.run(main)
