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

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from align.data.examples import Kind
from align.data.rows import Examples
from scaling.data.store import MANIFEST, VOCABULARY, sha256_of_file, token_dtype
from scaling.data.vocabularies import Vocabulary, load_vocabulary
from scaling.errors import DataError

SCHEMA_VERSION = 1
_REWRITE = "delete the directory and prepare it again"


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleStore:
    """An opened store.

    Attributes:
      path: its directory.
      manifest: the content of manifest.json.
    """

    path: pathlib.Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | pathlib.Path, verify: Literal["size", "hash"] = "size") -> "ExampleStore":
        """Opens and checks a store.

        Args:
          path: its directory.
          verify: "size" checks the manifest and every file's size; "hash" also re-reads every byte.

        Raises:
          DataError: it is missing, half-written, truncated or altered.
        """
        path = pathlib.Path(path)
        store = cls(path, _read_manifest(path))
        store._check_files(verify)
        return store

    @property
    def kind(self) -> Kind:
        """What its examples are."""
        return self.manifest["kind"]

    @property
    def num_completions(self) -> int:
        """K, completions per example."""
        return self.manifest["num_completions"]

    @property
    def store_hash(self) -> str:
        """Content hash: equal for equal examples, whatever the directory is called."""
        return self.manifest["store_hash"]

    @property
    def vocabulary_sha256(self) -> str:
        """Stores and checkpoints with equal hashes speak the same ids."""
        return self.manifest["vocabulary"]["sha256"]

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits it holds."""
        return tuple(self.manifest["splits"])

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
        return load_vocabulary(self.path / VOCABULARY)

    def split(self, name: str) -> Examples:
        """Opens one split.

        Raises:
          DataError: the store has no such split.
        """
        if name not in self.manifest["splits"]:
            raise DataError(
                f"the example store {self.path} has no split {name!r}", f"choose one of {list(self.split_names)}"
            )
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

    def _check_files(self, verify: Literal["size", "hash"]) -> None:
        for name, entry in self.manifest["files"].items():
            file = self.path / name
            size = file.stat().st_size if file.is_file() else None
            if size is None:
                raise DataError(f"the example store {self.path} has lost its file {name}", _REWRITE)
            if size != entry["bytes"]:
                raise DataError(
                    f"{file} has {size} bytes instead of {entry['bytes']}: it is truncated or altered", _REWRITE
                )
            if verify == "hash" and sha256_of_file(file) != entry["sha256"]:
                raise DataError(f"{file} is altered: its hash is not the manifest's", _REWRITE)


def content_hash(manifest: Mapping[str, Any]) -> str:
    """The `store_hash` of a manifest: over what the examples are, not over how or when they were made."""
    content = {
        **{key: manifest[key] for key in ("schema_version", "kind", "num_completions", "splits", "files")},
        "vocabulary": {key: manifest["vocabulary"][key] for key in ("sha256", "eos_id", "pad_id")},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_manifest(path: pathlib.Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        raise DataError(
            f"there is no example store at {path} ({MANIFEST} is missing)",
            "write it with align.prepare_data, or correct the path",
        )
    try:
        manifest = json.loads(file.read_text())
        if "num_completions" not in manifest:
            raise DataError(f"{path} is no example store", "name a directory written by align.prepare_data")
        if manifest["schema_version"] != SCHEMA_VERSION:
            raise DataError(
                f"{file} has schema_version {manifest['schema_version']}, this program reads {SCHEMA_VERSION}", _REWRITE
            )
        intact = manifest["store_hash"] == content_hash(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is not a manifest of an example store ({type(error).__name__}: {error})", _REWRITE
        ) from error
    if not intact:
        raise DataError(f"{file} is altered: store_hash does not match its content", _REWRITE)
    return manifest
