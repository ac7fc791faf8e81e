"""Vocabularies that keep text exactly: decode(encode(text)) == text, and every id stands for a known number of bytes.

Ids follow SeqIO: 0 pads, 1 ends a document, 2 is the unknown (which byte fallback never needs). TensorFlow is not used
here.
"""

import abc
import hashlib
import io
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sentencepiece

from scaling.data.config import UNTRAINED, VocabularyConfig
from scaling.data.known_truth.symbols import CHARACTERS, FIRST_CHARACTER
from scaling.errors import DataError

PAD_ID, EOS_ID, UNK_ID = 0, 1, 2
SPECIALS = 3
_MODEL_FILE = "sentencepiece.model"
_DESCRIPTION_FILE = "vocabulary.json"
_SPACE_SYMBOL = "\u2581"  # SentencePiece writes a space as this character, so a literal one must be spelt in bytes.


class Vocabulary(abc.ABC):
    """A lossless map between text and ids.

    Attributes:
      kind: "bpe", "unigram", "byte" or "symbol".
      training: what it was trained on (corpora, bytes, hash of the text); empty for bytes and symbols.
    """

    kind: str
    training: dict[str, Any]
    pad_id, eos_id, unk_id = PAD_ID, EOS_ID, UNK_ID

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of ids, specials included."""

    @property
    @abc.abstractmethod
    def pieces(self) -> Sequence[bytes]:
        """The bytes of text that each id stands for; empty for specials."""

    @property
    @abc.abstractmethod
    def sha256(self) -> str:
        """Identity: vocabularies with equal hashes map equal text to equal ids."""

    @abc.abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Ids of a text, int32 [tokens], without EOS."""

    @abc.abstractmethod
    def files(self) -> dict[str, bytes]:
        """What :func:`load_vocabulary` needs, by file name."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; specials are empty, bytes that are no UTF-8 (a sample cut inside a character) show as U+FFFD."""
        return b"".join(self.pieces[int(i)] for i in ids).decode("utf-8", errors="replace")

    @property
    def token_bytes(self) -> np.ndarray:
        """int32 [size]: UTF-8 bytes that each id stands for; 0 for specials."""
        return np.array([len(piece) for piece in self.pieces], np.int32)

    def save(self, directory: pathlib.Path) -> None:
        """Writes the files into a directory."""
        directory.mkdir(exist_ok=True)
        for name, content in self.files().items():
            (directory / name).write_bytes(content)

    def manifest(self) -> dict[str, Any]:
        """Its entry in the manifest of a store."""
        return {
            **self._description(),
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in self.files().items()},
        }

    def _description(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "size": self.size,
            "sha256": self.sha256,
            "pad_id": self.pad_id,
            "eos_id": self.eos_id,
            "unk_id": self.unk_id,
            "training": self.training,
        }

    def _description_file(self) -> dict[str, bytes]:
        return {_DESCRIPTION_FILE: json.dumps(self._description(), indent=1, sort_keys=True).encode()}


class ByteVocabulary(Vocabulary):
    """One id per byte of UTF-8, after the three specials (the ids of SeqIO's and ByT5's byte vocabulary)."""

    kind = "byte"

    def __init__(self):
        self.training = {}
        self._pieces = [b""] * SPECIALS + [bytes([value]) for value in range(256)]

    size = SPECIALS + 256

    @property
    def pieces(self) -> Sequence[bytes]:
        """See the base class."""
        return self._pieces

    @property
    def sha256(self) -> str:
        """See the base class."""
        return hashlib.sha256(b"byte/259").hexdigest()

    def encode(self, text: str) -> np.ndarray:
        """See the base class."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32) + SPECIALS

    def files(self) -> dict[str, bytes]:
        """See the base class."""
        return self._description_file()


class SymbolVocabulary(Vocabulary):
    """One id per character of a small alphabet, the first of printable ASCII after the space: what generated texts are written in.

    Args:
      size: ids, the three specials included.
    """

    kind = "symbol"

    def __init__(self, size: int):
        self.training = {}
        self._pieces = [b""] * SPECIALS + [character.encode() for character in CHARACTERS[: size - SPECIALS]]

    @property
    def size(self) -> int:
        """See the base class."""
        return len(self._pieces)

    @property
    def pieces(self) -> Sequence[bytes]:
        """See the base class."""
        return self._pieces

    @property
    def sha256(self) -> str:
        """See the base class."""
        return hashlib.sha256(f"symbol/{self.size}".encode()).hexdigest()

    def encode(self, text: str) -> np.ndarray:
        """See the base class.

        Raises:
          DataError: the text has a character that is none of the alphabet's.
        """
        ids = np.array([ord(character) for character in text], np.int32) - FIRST_CHARACTER + SPECIALS
        outside = (ids < SPECIALS) | (ids >= self.size)
        if outside.any():
            character = text[int(np.argmax(outside))]
            raise DataError(
                f"the symbol vocabulary of {self.size} ids has no character {character!r}",
                f"raise VocabularyConfig.size to the text's symbols + {SPECIALS}, or choose another kind",
            )
        return ids

    @staticmethod
    def symbols(ids: np.ndarray) -> np.ndarray:
        """The symbols, from 0, that ids above the specials stand for."""
        return np.asarray(ids) - SPECIALS

    def files(self) -> dict[str, bytes]:
        """See the base class."""
        return self._description_file()


class SentencePieceVocabulary(Vocabulary):
    """A SentencePiece model (Kudo and Richardson 2018) with byte fallback.

    Args:
      kind: "bpe" or "unigram".
      model: the serialised model.
      training: what it was trained on.

    Raises:
      DataError: the model has other special ids, or no byte fallback.
    """

    def __init__(self, kind: str, model: bytes, training: dict[str, Any]):
        self.kind = kind
        self.training = training
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._pieces = [self._piece(i) for i in range(self._processor.vocab_size())]
        self._id_of_byte = {self._pieces[i]: i for i in range(len(self._pieces)) if self._processor.is_byte(i)}
        found = (self._processor.pad_id(), self._processor.eos_id(), self._processor.unk_id())
        if found != (PAD_ID, EOS_ID, UNK_ID) or len(self._id_of_byte) != 256:
            raise DataError(
                f"the SentencePiece model has pad, eos, unk = {found} and {len(self._id_of_byte)} byte pieces, "
                f"not {(PAD_ID, EOS_ID, UNK_ID)} and 256",
                "train it with scaling.train_vocabulary",
            )
        self._space_symbol_ids = [self._id_of_byte[bytes([value])] for value in _SPACE_SYMBOL.encode("utf-8")]

    @property
    def size(self) -> int:
        """See the base class."""
        return len(self._pieces)

    @property
    def pieces(self) -> Sequence[bytes]:
        """See the base class."""
        return self._pieces

    @property
    def sha256(self) -> str:
        """See the base class."""
        return hashlib.sha256(self._model).hexdigest()

    def encode(self, text: str) -> np.ndarray:
        """See the base class."""
        ids: list[int] = []
        for number, part in enumerate(text.split(_SPACE_SYMBOL)):
            if number:
                ids.extend(self._space_symbol_ids)
            ids.extend(self._processor.encode(part))
        return np.array(ids, np.int32)

    def files(self) -> dict[str, bytes]:
        """See the base class."""
        return {**self._description_file(), _MODEL_FILE: self._model}

    def _piece(self, token: int) -> bytes:
        if self._processor.is_control(token) or self._processor.is_unknown(token):
            return b""
        piece = self._processor.id_to_piece(token)
        if self._processor.is_byte(token):
            return bytes([int(piece[1:-1], 16)])
        return piece.replace(_SPACE_SYMBOL, " ").encode("utf-8")


def _untrained(kind: str, size: int) -> Vocabulary:
    return ByteVocabulary() if kind == "byte" else SymbolVocabulary(size)


def load_vocabulary(directory: str | pathlib.Path) -> Vocabulary:
    """Reads a vocabulary written by :meth:`Vocabulary.save`.

    Raises:
      DataError: it is missing or altered.
    """
    directory = pathlib.Path(directory)
    remedy = "train it with scaling.train_vocabulary, or correct the path"
    try:
        description = json.loads((directory / _DESCRIPTION_FILE).read_text())
        if description["kind"] in UNTRAINED:
            return _untrained(description["kind"], description["size"])
        model = (directory / _MODEL_FILE).read_bytes()
        if hashlib.sha256(model).hexdigest() != description["sha256"]:
            raise DataError(f"{directory / _MODEL_FILE} is altered: its hash is not the recorded one", remedy)
        return SentencePieceVocabulary(description["kind"], model, description["training"])
    except FileNotFoundError as error:
        raise DataError(
            f"there is no vocabulary at {directory} ({pathlib.Path(error.filename).name} is missing)", remedy
        ) from error
    except (ValueError, KeyError) as error:
        raise DataError(
            f"{directory / _DESCRIPTION_FILE} is not the description of a vocabulary ({error})", remedy
        ) from error


def train_vocabulary(config: VocabularyConfig, documents: Iterable[str], request: Mapping[str, Any]) -> Vocabulary:
    """Trains a vocabulary; equal text in equal order gives equal bytes.

    Lossless settings: no normalisation, no added or removed spaces, unseen characters fall back to bytes. Pieces never
    span lines. A small text may give fewer pieces than asked for.

    Args:
      config: kind and size.
      documents: the training text, already limited.
      request: what was asked for, for the record.

    Raises:
      DataError: there is no text.
    """
    if config.kind in UNTRAINED:
        return _untrained(config.kind, config.size)
    counted = _CountedText(documents)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=counted.lines(),
            model_writer=model,
            model_type=config.kind,
            vocab_size=config.size,
            hard_vocab_limit=False,
            byte_fallback=True,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            max_sentence_length=1_000_000,
            num_threads=1,
            shuffle_input_sentence=False,
            pad_id=PAD_ID,
            eos_id=EOS_ID,
            unk_id=UNK_ID,
            bos_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:  # SentencePiece's only exception; its last words name the cause.
        raise DataError(
            f"SentencePiece cannot train {config.size} {config.kind} pieces on {counted.bytes} bytes of text ({error})",
            "change VocabularyConfig.size as the message says, or give more text",
        ) from error
    training = {
        "request": dict(request),
        "documents": counted.documents,
        "bytes": counted.bytes,
        "text_sha256": counted.sha256.hexdigest(),
    }
    return SentencePieceVocabulary(config.kind, model.getvalue(), training)


class _CountedText:
    """Hands lines to the trainer and remembers how much text went by."""

    def __init__(self, documents: Iterable[str]):
        self._documents = documents
        self.documents = self.bytes = 0
        self.sha256 = hashlib.sha256()

    def lines(self) -> Iterator[str]:
        for document in self._documents:
            encoded = document.encode("utf-8")
            self.documents += 1
            self.bytes += len(encoded)
            self.sha256.update(len(encoded).to_bytes(8, "little") + encoded)
            yield from (line for line in document.splitlines() if line)
