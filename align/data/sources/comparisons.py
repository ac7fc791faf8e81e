"""Two whole dialogues that differ in the last answer, as Anthropic publishes its comparisons: the prompt is what they share."""

import os
from typing import NamedTuple

ANSWER = "\n\nAssistant:"
QUESTION = "\n\nHuman:"


class Comparison(NamedTuple):
    """A prompt with two answers.

    Attributes:
      prompt: the shared dialogue, up to and with the last "Assistant:" that both sides have.
      chosen, rejected: what follows it on each side.
      flaw: why there is no such split; empty where there is.
    """

    prompt: str
    chosen: str
    rejected: str
    flaw: str = ""


def split_dialogues(chosen: str, rejected: str) -> Comparison:
    """Splits two dialogues at the last "Assistant:" before they part.

    The last one of either side would not do: where the sides part earlier, an answer of one side would become part of the prompt.

    Args:
      chosen: the preferred dialogue, "\\n\\nHuman: ...\\n\\nAssistant: ..." repeated.
      rejected: the other.
    """
    shared = os.path.commonprefix([chosen, rejected])
    place = shared.rfind(ANSWER)
    if place < 0:
        return Comparison("", "", "", "whose sides share no turn of the assistant")
    end = place + len(ANSWER)
    prompt, sides = chosen[:end], (chosen[end:], rejected[end:])
    parted = any(QUESTION in side for side in sides)
    return Comparison(prompt, *sides, flaw="whose sides part before the last answer" if parted else "")
