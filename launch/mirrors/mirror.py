"""What an export needs of a mirror."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from launch.mirrors.content import RunContent


@dataclasses.dataclass(frozen=True)
class Exported:
    """How far a run has been exported.

    Attributes:
      stamp: of the run then; it is not looked at again while that is the same.
      status: of the run then.
      step: the last step that was written; -1 before the first.
      count: how often the run was written to.
      place: the mirror's own word for where.
    """

    stamp: str
    status: str
    step: int = -1
    count: int = 0
    place: str = ""


class Mirror(Protocol):
    """One destination. What it holds is known from the destination itself, so that deleting that is all it takes to begin anew."""

    # Whether rows may be appended later; if not, a run that has changed is given whole.
    appends: bool

    def exported(self) -> Mapping[str, Exported]:
        """What it holds, by run id."""

    def write(self, content: RunContent, before: Exported | None) -> None:
        """Writes what `content` has beyond `before`, and then notes how far it came; a kill in between must not double anything."""

    def close(self) -> None:
        """Releases what it holds."""
