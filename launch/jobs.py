"""From runs to the jobs of an engine: groups that share a compiled step, cut so that all slots have work, longest first."""

import collections
import heapq
import itertools
import math
from collections.abc import Sequence
from typing import Protocol

from launch.engines.engine import Job
from launch.rates import STARTUP_SECONDS

# Groups are cut so that each slot has about this many pieces of work: few enough to share start-ups, enough to end together.
_PIECES_PER_SLOT = 4


class Run(Protocol):
    """What is known of a run before it is trained; see :class:`launch.manifest.ManifestRun`."""

    run_id: str
    group: str
    population: str
    seconds: float
    own_flops: float
    memory_bytes: float


def jobs_of(runs: Sequence[Run], slots: int) -> list[Job]:
    """Cuts the groups of runs into jobs, longest first.

    A group stays one process, which compiles once, unless it is so long that other slots would wait for it. Where it is cut, runs that may train side by
    side stay together as far as that leaves work for all slots.

    Args:
      runs: those that have work.
      slots: jobs at a time.
    """
    longest = max(_seconds(runs) / (slots * _PIECES_PER_SLOT), STARTUP_SECONDS)
    groups: dict[str, list[Run]] = collections.defaultdict(list)
    for run in runs:
        groups[run.group].append(run)
    jobs = [job for group in groups.values() for job in _pieces(group, longest)]
    return sorted(jobs, key=lambda job: (-job.seconds, job.name))


def makespan(jobs: Sequence[Job], slots: int) -> float:
    """Predicted seconds until the last of the slots is free, when each takes the next job as soon as it can."""
    free_at = [0.0] * slots
    for job in jobs:
        heapq.heapreplace(free_at, free_at[0] + job.seconds)
    return max(free_at)


def shard(jobs: Sequence[Job], index: int, count: int) -> list[Job]:
    """One of several shares of about equal FLOPs: each job, those with the most first, goes to the share with the least so far.

    Every host that cuts the same jobs finds the same shares.

    Args:
      jobs: of a submission, finished ones included.
      index: of the share, from 0.
      count: of shares.
    """
    shares: list[list[Job]] = [[] for _ in range(count)]
    loads = [(0.0, place) for place in range(count)]
    for job in sorted(jobs, key=lambda job: (-job.flops, job.name)):
        load, place = loads[0]
        shares[place].append(job)
        heapq.heapreplace(loads, (load + job.flops, place))
    return shares[index]


def _pieces(group: Sequence[Run], longest: float) -> list[Job]:
    """Splits a group into pieces of about equal time, of which each takes whole populations where these are no longer than `longest`."""
    shares = [share for population in _populations(group) for share in _cut(population, longest)]
    count = min(len(shares), max(1, math.ceil(_seconds(group) / longest)))
    pieces: list[list[Run]] = [[] for _ in range(count)]
    loads = [(0.0, place) for place in range(count)]
    for share in sorted(shares, key=lambda share: (-_seconds(share), share[0].run_id)):
        load, place = loads[0]
        pieces[place] += share
        heapq.heapreplace(loads, (load + _seconds(share), place))
    return [_job(f"{piece[0].group}.{number:02d}", piece) for number, piece in enumerate(pieces)]


def _populations(group: Sequence[Run]) -> list[list[Run]]:
    """The runs that may train side by side, together; a run of which that is not known is alone."""
    alike: dict[str, list[Run]] = collections.defaultdict(list)
    for run in sorted(group, key=lambda run: run.run_id):
        alike[run.population or run.run_id].append(run)
    return list(alike.values())


def _cut(population: Sequence[Run], longest: float) -> list[Sequence[Run]]:
    """Shares of a population whose numbers of runs differ by one at most, none longer than `longest` where single runs allow it."""
    count = min(len(population), max(1, math.ceil(_seconds(population) / longest)))
    ends = [len(population) * place // count for place in range(count + 1)]
    return [population[first:last] for first, last in itertools.pairwise(ends)]


def _seconds(runs: Sequence[Run]) -> float:
    return sum(run.seconds for run in runs)


def _job(name: str, runs: Sequence[Run]) -> Job:
    return Job(
        name,
        tuple(run.run_id for run in runs),
        seconds=STARTUP_SECONDS + _seconds(runs),
        flops=sum(run.own_flops for run in runs),
        memory_bytes=max(run.memory_bytes for run in runs),
    )
