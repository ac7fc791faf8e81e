"""What a search found, as text."""

import shlex
from typing import Any

from launch import tables
from launch.search_config import Search
from launch.tuning.space import Space
from launch.tuning.study import Study
from launch.tuning.trials import Trial


def trials_table(study: Study, search: Search) -> str:
    """One row a trial, the best first, diverged ones last."""
    space = Space(search.space)
    rows = [
        (
            str(trial.number),
            "diverged" if trial.score.diverged else f"{trial.score.value:.4f}",
            *map(_shown, space.values(trial.parameters).values()),
        )
        for trial in ranked(study, search)
    ]
    return tables.align(("trial", "score", *space.bindings), rows, right={0, 1})


def best_lines(study: Study, search: Search) -> str:
    """The best trial, as flags that give another run its values."""
    order = ranked(study, search)
    if not order or order[0].score.diverged:
        return "no trial was completed"
    values = Space(search.space).values(order[0].parameters)
    given = " ".join(shlex.quote(f"--gin.{binding}={_as_gin(value)}") for binding, value in values.items())
    return f"best: trial {order[0].number}, {order[0].score.value:.4f}: {given}"


def ranked(study: Study, search: Search) -> list[Trial]:
    """The told trials, the best first."""
    sign = 1 if search.direction == "minimize" else -1
    return sorted(study.told(), key=lambda trial: (trial.score.diverged, sign * trial.score.value, trial.number))


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _as_gin(value: Any) -> str:
    """A reference such as @ladder.llama() goes without quotes."""
    return value if isinstance(value, str) and value[:1] in ("@", "%") else repr(value)
