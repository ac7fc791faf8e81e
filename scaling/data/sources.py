"""What the names of texts in a configuration stand for (no TensorFlow here)."""

import dataclasses
import re
from collections.abc import Sequence

from scaling.data.config import CorpusConfig
from scaling.data.corpora import CORPORA, MIXTURES
from scaling.errors import ConfigError, DataError

TFDS_SCHEME = "tfds://"
_TFDS_NAME = re.compile(r"tfds://\w+(/[\w.+-]+)*(:\d+\.\d+\.\d+)?")


@dataclasses.dataclass(frozen=True)
class Source:
    """One text of a mixture.

    Attributes:
      task: an embedded corpus or a `tfds://` name.
      share: of the bytes, between 0 and 1.
      text_feature: the feature that holds the text.
    """

    task: str
    share: float
    text_feature: str = "text"

    @property
    def embedded(self) -> bool:
        """Whether it comes with a package."""
        return self.task in CORPORA

    def manifest(self) -> dict[str, str]:
        """Provenance, for the manifest of a store."""
        if self.embedded:
            return CORPORA[self.task].source_manifest()
        return {
            "name": self.task,
            "version": self.task.partition(":")[2].partition(":")[2],
            "licence": "as its TFDS page states",
        }


def sources_of(corpora: Sequence[CorpusConfig]) -> list[Source]:
    """Expands mixtures and normalises shares.

    Raises:
      DataError: a name is unknown.
      ConfigError: a text occurs twice.
    """
    rates: list[tuple[str, float, str]] = []
    for corpus in corpora:
        if corpus.task in MIXTURES:
            total = sum(MIXTURES[corpus.task].values())
            rates += [(name, corpus.rate * rate / total, "text") for name, rate in MIXTURES[corpus.task].items()]
        elif corpus.task in CORPORA:
            rates.append((corpus.task, corpus.rate, "text"))
        elif _TFDS_NAME.fullmatch(corpus.task):
            rates.append((corpus.task, corpus.rate, corpus.text_feature))
        else:
            raise DataError(
                f"there is no corpus {corpus.task!r}",
                f"choose one of {sorted(CORPORA)}, a mixture of {sorted(MIXTURES)}, or tfds://NAME[/CONFIG][:VERSION]",
            )
    names = [name for name, _, _ in rates]
    if len(set(names)) < len(names):
        raise ConfigError(f"a text occurs twice in {names}", "name each once, so that no document is used twice")
    total = sum(rate for _, rate, _ in rates)
    return [Source(name, rate / total, feature) for name, rate, feature in rates]


def check_packages(sources: Sequence[Source]) -> None:
    """Finds missing packages before anything slow starts.

    Raises:
      DataError: naming the package, its version and the command.
    """
    for source in sources:
        if source.embedded:
            CORPORA[source.task].folder()
