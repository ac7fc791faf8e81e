"""What the names of texts in a configuration stand for (no TensorFlow here)."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from scaling.data.config import CorpusConfig
from scaling.data.corpora import CORPORA, MIXTURES
from scaling.data.known_truth.process import GENERATOR_VERSION, Process
from scaling.errors import ConfigError, DataError

TFDS_SCHEME = "tfds://"
_TFDS_NAME = re.compile(r"tfds://\w+(/[\w.+-]+)*(:\d+\.\d+\.\d+)?")


@dataclasses.dataclass(frozen=True)
class Source:
    """One text of a mixture.

    Attributes:
      task: an embedded corpus, a `tfds://` name or the name of a process.
      share: of the bytes, between 0 and 1.
      text_feature: the feature that holds the text.
      process: draws it, where it is generated.
    """

    task: str
    share: float
    text_feature: str = "text"
    process: Process | None = None

    @property
    def embedded(self) -> bool:
        """Whether it comes with a package."""
        return self.task in CORPORA

    @property
    def megabytes(self) -> float | None:
        """Approximate text, where it is known beforehand."""
        if self.process:
            return (self.process.train_tokens + 2 * self.process.held_out_tokens) / 1e6
        return CORPORA[self.task].megabytes if self.embedded else None

    def manifest(self) -> dict[str, Any]:
        """Provenance, for the manifest of a store."""
        if self.embedded:
            return CORPORA[self.task].source_manifest()
        if self.process:
            return {
                "name": self.task,
                "version": f"generator{GENERATOR_VERSION}",
                "licence": "none needed: drawn at random",
                "process": self.process.request(),
            }
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
    found: list[Source] = []
    for corpus in corpora:
        if corpus.process:
            found.append(Source(corpus.name, corpus.rate, process=corpus.process))
        elif corpus.task in MIXTURES:
            total = sum(MIXTURES[corpus.task].values())
            found += [Source(name, corpus.rate * rate / total) for name, rate in MIXTURES[corpus.task].items()]
        elif corpus.task in CORPORA:
            found.append(Source(corpus.task, corpus.rate))
        elif _TFDS_NAME.fullmatch(corpus.task):
            found.append(Source(corpus.task, corpus.rate, corpus.text_feature))
        else:
            raise DataError(
                f"there is no corpus {corpus.task!r}",
                f"choose one of {sorted(CORPORA)}, a mixture of {sorted(MIXTURES)}, or tfds://NAME[/CONFIG][:VERSION]",
            )
    names = [source.task for source in found]
    if len(set(names)) < len(names):
        raise ConfigError(f"a text occurs twice in {names}", "name each once, so that no document is used twice")
    total = sum(source.share for source in found)
    return [dataclasses.replace(source, share=source.share / total) for source in found]


def check_packages(sources: Sequence[Source]) -> None:
    """Finds missing packages before anything slow starts.

    Raises:
      DataError: naming the package, its version and the command.
    """
    for source in sources:
        if source.embedded:
            CORPORA[source.task].folder()
