"""Open conversations between two people, as prompts (what was said before) and replies."""

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from align.data.examples import TextExample
from align.data.sources.packages import PROFANITY, has_profanity
from align.data.sources.ratings import SPLITS
from align.data.sources.source import TextSource, hashed_split
from scaling.data.corpora import CORPORA
from scaling.errors import DataError

_CHITCHAT = CORPORA["chitchat"]
_CONTACT = re.compile(r"https?://|www\.|[\w.+-]+@[\w-]+\.\w+")


@dataclasses.dataclass(frozen=True)
class Chat(TextSource):
    """Replies in conversations of the Chit-Chat Challenge, split by conversation.

    An example with an empty reply, or with a web or e-mail address or a listed profanity in prompt or reply, is filtered and counted.

    Attributes:
      history: at most so many turns before the reply are the prompt.
      speakers: begin the turns of the two people; the prompt ends with the replier's, the reply begins with a space.
      max_replies: at most so many replies of one conversation, so that a few endless ones do not fill the data.
      held_out: share of conversations in validation, and as much again in test.
    """

    history: int = 3
    speakers: tuple[str, str] = ("A:", "B:")
    max_replies: int = 16
    held_out: float = 0.05
    kind: Literal["chat"] = "chat"

    num_completions = 1
    splits = SPLITS

    def __post_init__(self):
        """See the base class."""
        self._require(self.history >= 1, "history", "give at least 1 turn")
        self._require(self.max_replies >= 1, "max_replies", "give at least 1")
        self._require(0 < self.held_out < 0.5, "held_out", "give a share between 0 and 0.5")
        self._require(all(self.speakers), "speakers", "give both people a name")

    def check(self) -> None:
        """See the base class."""
        _CHITCHAT.folder()
        PROFANITY.folder()

    def manifest(self) -> dict[str, Any]:
        """See the base class."""
        return {**_CHITCHAT.source_manifest(), "filter": f"{PROFANITY.package} {PROFANITY.version}"}

    def examples(self, split: str) -> Iterator[TextExample]:
        """See the base class."""
        for name, turns in _conversations():
            if hashed_split(f"chat/{name}", self.held_out) == split:
                for place in range(1, min(len(turns), self.max_replies + 1)):
                    yield self._example(f"{name}:{place}", turns, place)

    def _example(self, name: str, turns: tuple[str, ...], place: int) -> TextExample:
        first = max(0, place - self.history)
        said = "\n".join(f"{self.speakers[turn % 2]} {turns[turn]}" for turn in range(first, place))
        prompt, reply = f"{said}\n{self.speakers[place % 2]}", f" {turns[place]}"
        filtered = _unfit(prompt + reply) if turns[place] else "with an empty reply"
        return TextExample(name, prompt, (reply,), filtered=filtered)


def _unfit(text: str) -> str:
    if _CONTACT.search(text):
        return "with a web or e-mail address"
    return "with a listed profanity" if has_profanity(text) else ""


@functools.cache
def _conversations() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Names and turns, by name. Turns alternate between two people; what one says before the other answers is one turn."""
    file = _CHITCHAT.folder() / "dataset.json"
    try:
        conversations = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error})", f"reinstall {_CHITCHAT.package}") from error
    return tuple(
        (
            name,
            tuple(
                " ".join(utterance["text"].strip() for utterance in turn).strip() for turn in conversation["messages"]
            ),
        )
        for name, conversation in sorted(conversations.items())
    )
