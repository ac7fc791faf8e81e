"""Writes token stores: into a temporary directory that is renamed when everything is in it, or removed when anything
fails."""

import array
import contextlib
import errno
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from scaling.data import store as store_lib
from scaling.data.manifested import VOCABULARY, sha256_of_file, write_manifest
from scaling.data.store import TokenStore
from scaling.data.vocabularies import Vocabulary
from scaling.errors import DataError, OutputError

# Documents are shuffled inside blocks of this many tokens, so that memory stays bounded; smaller splits are shuffled
# whole.
BLOCK_TOKENS = 2**24


class Document(NamedTuple):
    """A tokenised document.

    Attributes:
      text: UTF-8.
      ids: its tokens, EOS last.
    """

    text: bytes
    ids: np.ndarray


class StoreWriter:
    """Writes the files of one store; see :func:`writing`."""

    def __init__(self, directory: pathlib.Path, vocabulary: Vocabulary, seed: int):
        self._directory = directory
        self._vocabulary = vocabulary
        self._seed = seed
        self._token_bytes = vocabulary.token_bytes
        self._dtype = store_lib.token_dtype(vocabulary.size)
        self._splits: dict[str, dict[str, Any]] = {}

    def write_split(self, name: str, documents: Iterable[Document]) -> dict[str, Any]:
        """Writes one split in an order drawn by the seed and returns its entry in the manifest.

        Raises:
          DataError: there are no documents, or the vocabulary does not keep their text exactly.
        """
        starts, text_hash = array.array("q", [0]), hashlib.sha256()
        num_bytes = 0
        generator = np.random.Generator(np.random.PCG64([self._seed, *name.encode()]))
        with open(self._directory / store_lib.tokens_file(name), "wb") as file:
            for document in _shuffled(self._checked(name, documents), generator):
                file.write(document.ids.astype(self._dtype.newbyteorder("<")).tobytes())
                starts.append(starts[-1] + len(document.ids))
                text_hash.update(len(document.text).to_bytes(8, "little") + document.text)
                num_bytes += len(document.text)
            _flush(file)
        if len(starts) == 1:
            raise DataError(f"the split {name!r} has no documents", "choose other splits or raise the limits")
        self._splits[name] = self._entry(name, np.array(starts, np.int64), num_bytes, text_hash.hexdigest())
        return self._splits[name]

    def finish(self, description: Mapping[str, Any]) -> None:
        """Writes what belongs to all splits, the manifest last.

        Args:
          description: further fields of the manifest (task, corpora, request, versions).
        """
        self._save_array(store_lib.TOKEN_BYTES, self._token_bytes)
        self._vocabulary.save(self._directory / VOCABULARY)
        manifest = {
            **description,
            "vocabulary": self._vocabulary.manifest(),
            "splits": self._splits,
            "token_dtype": self._dtype.name,
            "token_bytes_sha256": sha256_of_file(self._directory / store_lib.TOKEN_BYTES),
        }
        write_manifest(self._directory, TokenStore, manifest)

    def _checked(self, split: str, documents: Iterable[Document]) -> Iterator[Document]:
        """Every token must stand for known bytes, or bits per byte would be wrong; and EOS must mark ends only."""
        for document in documents:
            ends = np.flatnonzero(document.ids == self._vocabulary.eos_id)
            if len(ends) != 1 or ends[0] != len(document.ids) - 1:
                raise DataError(
                    f"a document of split {split!r} does not end in its only EOS", "use a vocabulary of plumbline"
                )
            if int(self._token_bytes[document.ids].sum()) != len(document.text):
                raise DataError(
                    f"the vocabulary does not keep a document of split {split!r} exactly (its tokens stand for "
                    f"{int(self._token_bytes[document.ids].sum())} bytes, its text has {len(document.text)})",
                    "use a vocabulary trained by scaling.train_vocabulary",
                )
            yield document

    def _entry(self, name: str, starts: np.ndarray, num_bytes: int, text_sha256: str) -> dict[str, Any]:
        self._save_array(store_lib.documents_file(name), starts)
        tokens_file = store_lib.tokens_file(name)
        return {
            "tokens": int(starts[-1]),
            "documents": len(starts) - 1,
            "bytes": num_bytes,
            "text_sha256": text_sha256,
            "files": [
                {
                    "name": tokens_file,
                    "tokens": int(starts[-1]),
                    "sha256": sha256_of_file(self._directory / tokens_file),
                }
            ],
            "documents_sha256": sha256_of_file(self._directory / store_lib.documents_file(name)),
        }

    def _save_array(self, name: str, values: np.ndarray) -> None:
        with open(self._directory / name, "wb") as file:
            np.save(file, values)
            _flush(file)


@contextlib.contextmanager
def writing(path: pathlib.Path, vocabulary: Vocabulary, seed: int) -> Iterator[StoreWriter]:
    """A writer whose store appears at `path` when the block ends, and not at all when it raises.

    Raises:
      OutputError: the directory cannot be written or is full, or `path` is taken.
    """
    with atomic_directory(path) as partial:
        yield StoreWriter(partial, vocabulary, seed)
    TokenStore.open(path)


@contextlib.contextmanager
def atomic_directory(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty directory beside `path` that takes its name when the block ends; removed when the block raises.

    Leftovers of processes that were killed are removed first.

    Raises:
      OutputError: the place cannot be written, is full, or is taken.
    """
    if path.exists():
        raise OutputError(f"{path} exists already", "delete it or choose another directory")
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    _make_partial(path, partial)
    with output_errors(path):
        try:
            yield partial
            os.rename(partial, path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _make_partial(path: pathlib.Path, partial: pathlib.Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_partials(path)
        partial.mkdir()
    except OSError as error:
        raise OutputError(
            f"cannot write {path} ({error.strerror})", "choose a directory that can be written"
        ) from error


@contextlib.contextmanager
def output_errors(path: pathlib.Path) -> Iterator[None]:
    """Turns what the file system refuses below `path` into an OutputError that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(
                f"no room to write {path} ({error.strerror})", "free space or choose another disk"
            ) from error
        if error.errno in (
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.ENOTDIR,
            errno.EEXIST,
            errno.ENOTEMPTY,
            errno.EISDIR,
        ):
            raise OutputError(
                f"cannot write {path} ({error.strerror})", "choose a directory that can be written"
            ) from error
        raise


def remove_stale_partials(path: pathlib.Path) -> None:
    """Removes the `.partial-PID` directories beside `path` whose process is gone (or is this one: pids are reused)."""
    for leftover in path.parent.glob(f"{path.name}.partial-*"):
        pid = leftover.name.rpartition("-")[2]
        if pid.isdigit() and (int(pid) == os.getpid() or not _alive(int(pid))):
            shutil.rmtree(leftover)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It exists and belongs to someone else.
        return True
    return True


def _shuffled(documents: Iterable[Document], generator: np.random.Generator) -> Iterator[Document]:
    block: list[Document] = []
    tokens = 0
    for document in documents:
        block.append(document)
        tokens += len(document.ids)
        if tokens >= BLOCK_TOKENS:
            yield from (block[i] for i in generator.permutation(len(block)))
            block, tokens = [], 0
    yield from (block[i] for i in generator.permutation(len(block)))


def _flush(file) -> None:
    """Makes sure that the rename never publishes a file whose bytes are still on their way to the disk."""
    file.flush()
    os.fsync(file.fileno())
