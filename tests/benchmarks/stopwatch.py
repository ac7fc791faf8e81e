"""CPU and wall seconds of a piece of work, the same for every interpreter that takes part in a benchmark."""

import contextlib
import dataclasses
import resource
import time
from collections.abc import Iterator


@dataclasses.dataclass
class Lap:
    """What a piece of work took.

    Attributes:
      cpu: seconds of processor time of all threads of this process and of its ended children.
      wall: seconds on the clock.
    """

    cpu: float = 0.0
    wall: float = 0.0

    def as_dict(self, scale: float = 1.0) -> dict[str, float]:
        """For JSON; `scale` brings a sample of the work to the whole."""
        return {"cpu": self.cpu * scale, "wall": self.wall * scale}


def cpu_seconds() -> float:
    """Processor time since this process began, with that of children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@contextlib.contextmanager
def lap() -> Iterator[Lap]:
    """Times the body; the lap is filled in when it ends."""
    taken = Lap()
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield taken
    taken.cpu, taken.wall = cpu_seconds() - cpu, time.perf_counter() - wall
