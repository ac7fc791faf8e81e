"""What token stores and example stores share: a directory under a manifest, which names and hashes everything in it."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from scaling.data import verification
from scaling.errors import DataError

MANIFEST = "manifest.json"
VOCABULARY = "vocabulary"

# What is looked at when a store is opened. "size": the manifest and every file's size, in milliseconds. "once": every byte as well, unless this machine has
# read them since the files last changed (see scaling.data.verification). "hash": every byte in any case.
Verify = Literal["size", "once", "hash"]


@dataclasses.dataclass(frozen=True, eq=False)
class ManifestedStore:
    """An opened directory.

    Attributes:
      path: the directory.
      manifest: the content of manifest.json.
    """

    path: pathlib.Path
    manifest: Mapping[str, Any]

    NOUN: ClassVar[str]
    WRITTEN_BY: ClassVar[str]
    SCHEMA_VERSION: ClassVar[int]

    @classmethod
    def content(cls, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a manifest that says what is stored, and not how or when it was written.

        Raises:
          KeyError: the manifest is of something else.
        """
        raise NotImplementedError

    @classmethod
    def content_hash(cls, manifest: Mapping[str, Any]) -> str:
        """The `store_hash` of a manifest: equal contents have equal hashes wherever and whenever they were written."""
        return hashlib.sha256(json.dumps(cls.content(manifest), sort_keys=True).encode()).hexdigest()

    @classmethod
    def described(cls, path: str | pathlib.Path) -> Self:
        """The store as its manifest describes it; no other file is looked at.

        Raises:
          DataError: the manifest is missing, altered, or of something else.
        """
        path = pathlib.Path(path)
        file = path / MANIFEST
        if not file.is_file():
            raise DataError(
                f"there is no {cls.NOUN} at {path} ({MANIFEST} is missing)",
                f"write it with {cls.WRITTEN_BY}, or correct the path",
            )
        try:
            manifest = json.loads(file.read_text())
            intact = manifest["store_hash"] == cls.content_hash(manifest)
            version = manifest["schema_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} holds no {cls.NOUN}: its {MANIFEST} cannot be read as one ({type(error).__name__}: {error})",
                cls.rewrite(),
            ) from error
        if version != cls.SCHEMA_VERSION:
            raise DataError(
                f"{file} has schema_version {version}, this program reads {cls.SCHEMA_VERSION}", cls.rewrite()
            )
        if not intact:
            raise DataError(f"{file} is altered: store_hash does not match its content", cls.rewrite())
        return cls(path, manifest)

    @classmethod
    def rewrite(cls) -> str:
        """The remedy for a store that cannot be mended."""
        return f"delete the directory and run {cls.WRITTEN_BY} again"

    @property
    def store_hash(self) -> str:
        """Content hash: equal for equal contents, whatever the directory is called."""
        return self.manifest["store_hash"]

    @property
    def vocabulary_path(self) -> pathlib.Path:
        """Directory for :func:`scaling.data.vocabularies.load_vocabulary`."""
        return self.path / VOCABULARY

    @property
    def vocabulary_sha256(self) -> str:
        """Stores and checkpoints with equal hashes speak the same ids."""
        return self.manifest["vocabulary"]["sha256"]

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits it holds."""
        return tuple(self.manifest["splits"])

    def require_split(self, name: str) -> None:
        """Raises DataError where there is no such split."""
        if name not in self.manifest["splits"]:
            raise DataError(
                f"the {self.NOUN} {self.path} has no split {name!r}", f"choose one of {list(self.split_names)}"
            )

    def require_file(self, name: str, size: int | None = None) -> pathlib.Path:
        """The path of a file of the store.

        Args:
          name: relative to the store.
          size: its bytes, where they are known.

        Raises:
          DataError: it is missing or truncated.
        """
        file = self.path / name
        if not file.is_file():
            raise DataError(f"the {self.NOUN} {self.path} has lost its file {name}", self.rewrite())
        if size is not None and file.stat().st_size != size:
            raise DataError(
                f"{file} has {file.stat().st_size} bytes instead of {size}: it is truncated or altered", self.rewrite()
            )
        return file

    def require_hashes(self, hashes: Mapping[str, str], verify: Verify) -> None:
        """Holds the bytes of some files against their hashes.

        Args:
          hashes: sha256 by name.
          verify: how.

        Raises:
          DataError: one is missing or altered.
        """
        if verify != "size":
            for name in hashes:
                self.require_file(name)
            believe_stamp = verify == "once"
            verification.verify(self.path, hashes, lambda: self._read(hashes), believe_stamp=believe_stamp)

    def _read(self, hashes: Mapping[str, str]) -> None:
        for name, expected in hashes.items():
            if sha256_of_file(self.path / name) != expected:
                raise DataError(f"{self.path / name} is altered: its hash is not the manifest's", self.rewrite())


def write_manifest(directory: pathlib.Path, store: type[ManifestedStore], content: Mapping[str, Any]) -> None:
    """Completes a manifest with its version and hash, and writes it through to the disk: the last file of a store.

    Args:
      directory: of the store.
      store: what kind of store it is.
      content: every other field.
    """
    manifest = {"schema_version": store.SCHEMA_VERSION, **content}
    manifest["store_hash"] = store.content_hash(manifest)
    with open(directory / MANIFEST, "w") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def sha256_of_file(path: pathlib.Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
