"""Example stores: prompts with their completions, tokenised once, read by every stage without TensorFlow.

A store is a directory:

    manifest.json            kind, K, vocabulary, what was left out and why, how labels agree with gold scores, a hash of every file
    SPLIT.prompts.tokens     flat little-endian token ids (uint16 or uint32)
    SPLIT.prompts.npy        int64 [N + 1]: where each prompt starts, and the total
    SPLIT.completions.tokens, SPLIT.completions.npy    the same of N * K completions, those of an example side by side; absent where K = 0
    SPLIT.scores.npy         float32 [N, K]: gold scores, NaN where not known
    SPLIT.margins.npy        float32 [N]: by how much the first completion is preferred to the second, NaN where not known
    SPLIT.names.json         N names
    vocabulary/              how text became tokens

Kinds: "prompts" (K = 0), "dialogue" (K = 1), "pairs" (K = 2, completion 0 preferred), "ranked" (K > 2, in order of preference).
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from align.data.examples import Kind
from align.data.rows import Examples
from scaling.data.manifested import ManifestedStore, Verify
from scaling.data.store import token_dtype
from scaling.data.vocabularies import Vocabulary, load_vocabulary
from scaling.errors import DataError


class ExampleStore(ManifestedStore):
    """An opened store."""

    NOUN: ClassVar[str] = "example store"
    WRITTEN_BY: ClassVar[str] = "align.prepare_data"
    SCHEMA_VERSION: ClassVar[int] = 1

    @classmethod
    def open(cls, path: str | pathlib.Path, verify: Verify = "size") -> "ExampleStore":
        """Opens and checks a store.

        Args:
          path: its directory.
          verify: what is looked at; see :data:`scaling.data.manifested.Verify`.

        Raises:
          DataError: it is missing, half-written, truncated or altered.
        """
        store, files = cls.described(path), {}
        for name, entry in store.manifest["files"].items():
            store.require_file(name, entry["bytes"])
            files[name] = entry["sha256"]
        store.require_hashes(files, verify)
        return store

    @classmethod
    def content(cls, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """What the examples are."""
        return {
            **{key: manifest[key] for key in ("schema_version", "kind", "num_completions", "splits", "files")},
            "vocabulary": {key: manifest["vocabulary"][key] for key in ("sha256", "eos_id", "pad_id")},
        }

    @property
    def kind(self) -> Kind:
        """What its examples are."""
        return self.manifest["kind"]

    @property
    def num_completions(self) -> int:
        """K, completions per example."""
        return self.manifest["num_completions"]

    @property
    def max_prompt_tokens(self) -> int:
        """Tokens of the longest prompt."""
        return max(split["longest_prompt"] for split in self.manifest["splits"].values())

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest prompt with its longest completion: the least row length that holds every example."""
        return max(split["longest_row"] for split in self.manifest["splits"].values())

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """How its text became tokens."""
        return load_vocabulary(self.vocabulary_path)

    def split(self, name: str) -> Examples:
        """Opens one split.

        Raises:
          DataError: the store has no such split.
        """
        self.require_split(name)
        scores = np.load(self.path / f"{name}.scores.npy", mmap_mode="r")
        completions = self._ragged(name, "completions") if self.num_completions else (None, None)
        return Examples(
            kind=self.kind,
            source=f"{self.path} {name}",
            prompt_tokens=self._ragged(name, "prompts")[0],
            prompt_starts=self._ragged(name, "prompts")[1],
            completion_tokens=completions[0],
            completion_starts=completions[1],
            scores=scores,
            margins=np.load(self.path / f"{name}.margins.npy", mmap_mode="r"),
            names_file=self.path / f"{name}.names.json",
        )

    def require_kind(self, *kinds: Kind) -> None:
        """Refuses a store that a stage cannot read.

        Raises:
          DataError: naming the kinds.
        """
        if self.kind not in kinds:
            raise DataError(
                f"the example store {self.path} is of kind {self.kind!r}",
                f"name a store of kind {' or '.join(map(repr, kinds))}",
            )

    def require_vocabulary(self, sha256: str, reader: str) -> None:
        """Refuses a store whose ids mean something else to its reader.

        Args:
          sha256: the identity of the reader's vocabulary.
          reader: names it, such as a checkpoint's directory.

        Raises:
          DataError: the vocabularies differ.
        """
        if self.vocabulary_sha256 != sha256:
            raise DataError(
                f"the example store {self.path} has the vocabulary {self.vocabulary_sha256[:16]}, but {reader} reads {sha256[:16]}",
                "prepare the examples with the vocabulary of the token store that the checkpoint was trained on",
            )

    def _ragged(self, split: str, part: str) -> tuple[np.ndarray, np.ndarray]:
        dtype = token_dtype(self.manifest["vocabulary"]["size"]).newbyteorder("<")
        tokens = np.memmap(self.path / f"{split}.{part}.tokens", dtype=dtype, mode="r")
        return tokens, np.load(self.path / f"{split}.{part}.npy")
