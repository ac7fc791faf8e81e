"""Writes example stores: under a temporary name that is replaced when everything is in it, or removed when anything fails."""

import array
import contextlib
import hashlib
import json
import pathlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from align.data.agreement import Agreement
from align.data.examples import TokenExample, kind_of
from align.data.store import ExampleStore
from scaling.data.manifested import VOCABULARY, sha256_of_file, write_manifest
from scaling.data.store import token_dtype
from scaling.data.store_writer import atomic_directory
from scaling.data.vocabularies import Vocabulary
from scaling.errors import DataError


class ExampleWriter:
    """Writes the files of one store; see :func:`writing`."""

    def __init__(self, directory: pathlib.Path, vocabulary: Vocabulary, num_completions: int):
        self._directory = directory
        self._vocabulary = vocabulary
        self._num_completions = num_completions
        self._dtype = token_dtype(vocabulary.size).newbyteorder("<")
        self._splits: dict[str, dict[str, Any]] = {}
        self._labels: dict[str, dict[str, Any]] = {}
        # Of whole examples and of prompts, by split: counted against train in the manifest.
        self._contents: dict[str, dict[str, Counter[bytes]]] = {}

    def write_split(self, name: str, examples: Iterable[TokenExample]) -> dict[str, Any]:
        """Writes one split in the order given, and returns its entry in the manifest.

        Raises:
          DataError: there are no examples.
        """
        prompt_lengths, completion_lengths = array.array("q"), array.array("q")
        scores, margins, names = array.array("f"), array.array("f"), []
        agreement = Agreement()
        contents = self._contents[name] = {"examples": Counter(), "prompts": Counter()}
        with contextlib.ExitStack() as stack:
            prompts = stack.enter_context(open(self._directory / f"{name}.prompts.tokens", "wb"))
            completions = (
                stack.enter_context(open(self._directory / f"{name}.completions.tokens", "wb"))
                if self._num_completions
                else None
            )
            for example in examples:
                prompts.write(self._bytes(example.prompt))
                prompt_lengths.append(len(example.prompt))
                for completion in example.completions:
                    completions.write(self._bytes(completion))
                    completion_lengths.append(len(completion))
                known = example.scores if len(example.scores) else [np.nan] * self._num_completions
                scores.extend(float(score) for score in known)
                margins.append(float(example.margin))
                names.append(example.name)
                contents["examples"][_digest(example.prompt, *example.completions)] += 1
                contents["prompts"][_digest(example.prompt)] += 1
                agreement.add(known)
        if not names:
            raise DataError(f"the split {name!r} has no examples", "loosen the filters or give more data")
        shape = (len(names), self._num_completions)
        lengths_NxK = np.array(completion_lengths, np.int64).reshape(shape)
        self._save(f"{name}.prompts.npy", _starts(prompt_lengths))
        if self._num_completions:
            self._save(f"{name}.completions.npy", _starts(completion_lengths))
        self._save(f"{name}.scores.npy", np.array(scores, np.float32).reshape(shape))
        self._save(f"{name}.margins.npy", np.array(margins, np.float32))
        (self._directory / f"{name}.names.json").write_text(json.dumps(names))
        self._splits[name] = _summary(np.array(prompt_lengths, np.int64), lengths_NxK)
        self._labels[name] = agreement.to_json()
        return self._splits[name]

    def summary(self, name: str) -> str:
        """One line for people about a split that was written."""
        entry, noise = self._splits[name], self._labels[name]["noise"]
        line = f"{entry['examples']:,} examples, {entry['prompt_tokens']:,} tokens of prompts, {entry['completion_tokens']:,} of completions"
        return line if noise is None else f"{line}, label noise {noise:.3f}"

    def finish(self, description: Mapping[str, Any]) -> None:
        """Writes the vocabulary and, last, the manifest.

        Args:
          description: further fields of the manifest (source, request, what was left out).
        """
        self._vocabulary.save(self._directory / VOCABULARY)
        manifest = {
            "kind": kind_of(self._num_completions),
            "num_completions": self._num_completions,
            **description,
            "labels": self._labels,
            "also_in_train": self._also_in_train(),
            "vocabulary": self._vocabulary.manifest(),
            "splits": self._splits,
            "files": {
                str(file.relative_to(self._directory)): {
                    "bytes": file.stat().st_size,
                    "sha256": sha256_of_file(file),
                }
                for file in sorted(self._directory.rglob("*"))
                if file.is_file()
            },
        }
        write_manifest(self._directory, ExampleStore, manifest)

    def _also_in_train(self) -> dict[str, dict[str, int]]:
        """For each other split, how many of its examples are in train too, and how many of its prompts; a prompt that a whole source shares is."""
        train = self._contents.get("train", {})
        return {
            split: {
                what: sum(count for key, count in found.items() if key in train[what])
                for what, found in contents.items()
            }
            for split, contents in self._contents.items()
            if train and split != "train"
        }

    def _bytes(self, ids: np.ndarray) -> bytes:
        return ids.astype(self._dtype).tobytes()

    def _save(self, name: str, values: np.ndarray) -> None:
        with open(self._directory / name, "wb") as file:
            np.save(file, values)


@contextlib.contextmanager
def writing(path: pathlib.Path, vocabulary: Vocabulary, num_completions: int) -> Iterator[ExampleWriter]:
    """A writer whose store appears at `path` when the block ends, and not at all when it raises.

    Raises:
      OutputError: the directory cannot be written or is full, or `path` is taken.
    """
    with atomic_directory(path) as partial:
        yield ExampleWriter(partial, vocabulary, num_completions)
    ExampleStore.open(path)


def _digest(*parts: np.ndarray) -> bytes:
    hashed = hashlib.blake2b(digest_size=12)
    for part in parts:
        # The length first, so that the boundary between prompt and completion counts.
        hashed.update(len(part).to_bytes(8, "little") + part.astype(np.int64).tobytes())
    return hashed.digest()


def _starts(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))]).astype(np.int64)


def _summary(prompt_lengths_N: np.ndarray, lengths_NxK: np.ndarray) -> dict[str, Any]:
    longest_N = lengths_NxK.max(axis=1, initial=0)
    return {
        "examples": len(prompt_lengths_N),
        "prompt_tokens": int(prompt_lengths_N.sum()),
        "completion_tokens": int(lengths_NxK.sum()),
        "longest_prompt": int(prompt_lengths_N.max()),
        "longest_row": int((prompt_lengths_N + longest_N).max()),
    }
