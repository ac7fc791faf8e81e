"""A study that several commands share, on machines with one disk: `--share=0/4` to `--share=3/4`.

Each policy belongs to one share. What policies start from belongs to all: a share begins with its part, and waits for what another command has in hand. What
nobody has in hand it takes itself, so a share whose fellows were never started, or died, still comes to its end. Nothing is agreed on but by the files of the
stages, so the shares together leave what one command leaves. Nothing here imports JAX.
"""

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from align.stages import side_by_side
from align.stages.side_by_side import NamedStage
from scaling.errors import ConfigError, InterruptedRunError
from scaling.run_directory import BusyError
from scaling.training.interruption import Interruption

_LOOK_SECONDS = 2.0

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Share:
    """One of `count` commands, the `index`-th from 0."""

    index: int = 0
    count: int = 1

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise ConfigError(
                f"--share is {self.index}/{self.count}", "give INDEX/COUNT, such as 0/4 for the first of four"
            )

    @classmethod
    def parsed(cls, text: str) -> "Share":
        """From INDEX/COUNT.

        Raises:
          ConfigError: it is something else.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match:
            raise ConfigError(f"--share is {text!r}", "give INDEX/COUNT, such as 0/4 for the first of four")
        return cls(int(match[1]), int(match[2]))

    def of(self, items: Sequence[T], offset: int = 0) -> list[T]:
        """The items that are this share's: every `count`-th; the `offset` says whose the first is."""
        return [item for number, item in enumerate(items, start=offset) if number % self.count == self.index]

    def own_first(self, items: Sequence[T]) -> list[T]:
        """All items, this share's before the others, so that shares do not begin with the same one."""
        own = set(range(self.index, len(items), self.count))
        return [items[number] for number in sorted(range(len(items)), key=lambda number: number not in own)]

    def awaited(self, take: Callable[[], T], interruption: Interruption, name: str) -> T:
        """What `take` returns, when no other command has it in hand; a command that shares with none is refused instead.

        Args:
          take: makes the thing, or opens what is made already.
          interruption: ends the waiting.
          name: of the thing.

        Raises:
          BusyError: another process has it in hand, and there is one share.
          InterruptedRunError: a signal came while it waited.
        """
        waits = False
        while True:
            try:
                return take()
            except BusyError:
                if self.count == 1:
                    raise
            if not waits:
                print(f"waiting for {name}, which another command has in hand", flush=True)
            waits = True
            if interruption.requested:
                raise InterruptedRunError(f"stopped waiting for {name}; the same command continues")
            time.sleep(_LOOK_SECONDS)


ALONE = Share()


def run_for_all(
    stages: Sequence[NamedStage], root: str, processes: int, interruption: Interruption, share: Share
) -> dict[str, str]:
    """Stages that every share needs: this share's part side by side, then whatever the others have not done yet.

    Returns:
      The status of each, by its name, in the order in which they were given.

    Raises:
      InterruptedRunError, PlumblineError: as :func:`align.stages.side_by_side.run`.
    """
    own = share.of(stages)
    statuses = side_by_side.run(own, root, processes, interruption)
    for stage in stages:
        if stage not in own:
            statuses[stage.name] = share.awaited(
                lambda stage=stage: side_by_side.taken(stage, root, interruption), interruption, stage.name
            )
    return {stage.name: statuses[stage.name] for stage in stages}
