"""Token stores: text tokenised once, read by every run, without TensorFlow.

A store is a directory:

    manifest.json            what it holds, with a hash of every file
    SPLIT-00000.tokens       flat little-endian token ids (uint16 or uint32); every document ends in EOS
    SPLIT.documents.npy      int64 [documents + 1]: where each document starts, and the total
    token_bytes.npy          int32 [vocabulary]: bytes of UTF-8 text that each id stands for
    vocabulary/              how text became tokens
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from scaling.data.known_truth.floor import Entropy, Floor
from scaling.data.manifested import VOCABULARY, ManifestedStore, Verify
from scaling.errors import DataError

TOKEN_BYTES = "token_bytes.npy"
KNOWN_TRUTH = "known_truth"


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One split of a store.

    Attributes:
      name: "train", "validation", ...
      tokens: the ids, 1-D, memory-mapped.
      document_starts: int64 [documents + 1], offsets into `tokens`; the last is their number.
      bytes: UTF-8 bytes of the text.
      eos_id: the id that ends every document and occurs nowhere else.
    """

    name: str
    tokens: np.ndarray
    document_starts: np.ndarray
    bytes: int
    eos_id: int

    @property
    def num_tokens(self) -> int:
        """Tokens, the EOS of every document included."""
        return len(self.tokens)

    @property
    def num_documents(self) -> int:
        """Documents."""
        return len(self.document_starts) - 1

    def num_windows(self, length: int) -> int:
        """Whole windows of `length` inputs with their next-token targets: (tokens - 1) // length.

        Raises:
          DataError: there is not even one.
        """
        windows = (self.num_tokens - 1) // length
        if windows < 1:
            raise DataError(
                f"the split {self.name!r} has {self.num_tokens} tokens, too few for one sequence of {length}",
                "shorten DataConfig.sequence_length or prepare more text",
            )
        return windows


class TokenStore(ManifestedStore):
    """An opened store."""

    NOUN: ClassVar[str] = "token store"
    WRITTEN_BY: ClassVar[str] = "scaling.prepare_data"
    SCHEMA_VERSION: ClassVar[int] = 1

    @classmethod
    def open(cls, path: str | pathlib.Path, verify: Verify = "size") -> "TokenStore":
        """Opens and checks a store.

        Args:
          path: its directory.
          verify: what is looked at; see :data:`scaling.data.manifested.Verify`.

        Raises:
          DataError: it is missing, half-written, truncated or altered.
        """
        store = cls.described(path)
        store._check_files()
        store.require_hashes(file_hashes(store.manifest), verify)
        return store

    @classmethod
    def content(cls, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Every file's hash, the vocabulary and the sizes of the splits; paths and versions of packages and of code are left out."""
        described = ("kind", "size", "sha256", "eos_id", "pad_id", "unk_id")
        return {
            "schema_version": manifest["schema_version"],
            "token_dtype": manifest["token_dtype"],
            "vocabulary": {key: manifest["vocabulary"][key] for key in described},
            "splits": manifest["splits"],
            "files": file_hashes(manifest),
        }

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.manifest["vocabulary"]["size"]

    @property
    def eos_id(self) -> int:
        """The id that ends a document."""
        return self.manifest["vocabulary"]["eos_id"]

    def entropy(self, sequence_length: int) -> Entropy | None:
        """The least loss that any model can be expected to have on this text, documents isolated, in windows of `sequence_length`; None where it is not
        known (see :mod:`scaling.data.known_truth.floor`)."""
        known = self.manifest.get(KNOWN_TRUTH)
        return Floor.from_json(known).at(sequence_length) if known else None

    @functools.cached_property
    def token_bytes(self) -> np.ndarray:
        """int32 [vocabulary]: bytes of UTF-8 text that each id stands for; 0 for special ids."""
        return np.load(self.path / TOKEN_BYTES)

    def split(self, name: str) -> Split:
        """Opens one split.

        Raises:
          DataError: the store has no such split.
        """
        self.require_split(name)
        entry = self.manifest["splits"][name]
        return Split(
            name=name,
            tokens=np.memmap(self.path / entry["files"][0]["name"], dtype=self._token_dtype, mode="r"),
            document_starts=np.load(self.path / documents_file(name)),
            bytes=entry["bytes"],
            eos_id=self.eos_id,
        )

    def require_vocabulary_of(self, other: "TokenStore") -> None:
        """Refuses two stores whose ids mean different things.

        Raises:
          DataError: naming both.
        """
        if self.vocabulary_sha256 != other.vocabulary_sha256:
            raise DataError(
                f"the token stores {self.path} and {other.path} have different vocabularies",
                "prepare both with one PrepareConfig, or with the same VocabularyConfig.path",
            )

    @property
    def _token_dtype(self) -> np.dtype:
        return np.dtype(self.manifest["token_dtype"]).newbyteorder("<")

    def _check_files(self) -> None:
        for name, entry in self.manifest["splits"].items():
            (file,) = entry["files"]
            self.require_file(file["name"], file["tokens"] * self._token_dtype.itemsize)
            self._check_array(documents_file(name), entry["documents"] + 1, np.int64)
        self._check_array(TOKEN_BYTES, self.vocab_size, np.int32)
        if not self.vocabulary_path.is_dir():
            raise DataError(f"the token store {self.path} has lost its {VOCABULARY}/", self.rewrite())

    def _check_array(self, name: str, length: int, dtype: type) -> None:
        file = self.require_file(name)
        try:
            array = np.load(file, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise DataError(f"{file} is truncated or altered ({error})", self.rewrite()) from error
        if array.shape != (length,) or array.dtype != dtype:
            raise DataError(
                f"{file} holds {array.dtype} {array.shape} instead of {np.dtype(dtype)} ({length},)", self.rewrite()
            )


def documents_file(split: str) -> str:
    """Name of the file with a split's document offsets."""
    return f"{split}.documents.npy"


def tokens_file(split: str) -> str:
    """Name of the file with a split's ids."""
    return f"{split}-00000.tokens"


def token_dtype(vocab_size: int) -> np.dtype:
    """The type that ids are stored in."""
    return np.dtype("uint16" if vocab_size < 65_536 else "uint32")


def file_hashes(manifest: Mapping[str, Any]) -> dict[str, str]:
    """From every hashed file of a store to its sha256."""
    hashes = {TOKEN_BYTES: manifest["token_bytes_sha256"]}
    for file, digest in manifest["vocabulary"]["files"].items():
        hashes[f"{VOCABULARY}/{file}"] = digest
    for name, entry in manifest["splits"].items():
        hashes[documents_file(name)] = entry["documents_sha256"]
        for file in entry["files"]:
            hashes[file["name"]] = file["sha256"]
    return hashes
