"""The over-optimisation law of some policies with its held-out part: of one method, or of one proxy that a method climbed.

Policies of several runs are clustered by run. A single best-of-n has no second run, but its prompts are independent, so its clusters are prompts
(`by_prompt.json`); where it kept none, its points are taken as independent and the law's flags say so.
"""

import dataclasses
import json

import numpy as np
import pandas as pd
from etils import epath

from analysis.laws import over_optimisation
from analysis.laws import over_optimisation_held_out as held_out
from analysis.laws.errors import TableError
from analysis.laws.over_optimisation_held_out import HeldOut
from analysis.laws.result import NotFitted, Result

BY_PROMPT = "by_prompt.json"
# Kind of run -> the form of its law; kinds of offline preference losses have Rafailov et al.'s.
_FORMS = {"best_of_n": "best_of_n", "ppo": "rl"}


@dataclasses.dataclass(frozen=True)
class FittedLaw:
    """A law and its check.

    Attributes:
      law: of the gold reward, or why there is none.
      check: fitted up to the median distance, and predicted beyond; None where there are too few points.
    """

    law: Result | NotFitted
    check: HeldOut | None


def law_form(kind: str) -> str:
    """Which of :data:`analysis.laws.over_optimisation.FORMS` describes runs of a kind."""
    return _FORMS.get(kind, "direct_alignment")


def fit(rows: pd.DataFrame, draws: int, level: float, rng: np.random.Generator) -> FittedLaw:
    """Fits the law of some rows of :class:`analysis.alignment.measurements.Measurements`, all of one kind.

    Raises:
      TableError: a file of curves by prompt cannot be used.
    """
    form = law_form(rows["kind"].iloc[0])
    prompts = _by_prompt(rows)
    table, unit = (_by_run(rows), "runs") if prompts is None else (prompts, "prompts")
    try:
        law = over_optimisation.fit(table, form, draws, level, rng, unit=unit)
    except TableError as error:
        described = over_optimisation.FORMS[form]
        return FittedLaw(NotFitted(described.name, described.equation, described.source, error.what), None)
    predict = held_out.predict_beyond if prompts is None else held_out.predict_mean_beyond
    try:
        return FittedLaw(law, predict(table, form, level=level, rng=rng))
    except TableError:
        return FittedLaw(law, None)  # too few points on one side of the cut


def _by_run(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as laws want them; reported errors weigh only where every point has one."""
    table = rows[["kl", "gain", "run_id"]].rename(columns={"gain": "gold_reward", "run_id": "cluster"})
    error = rows["gold_error"]
    return table.assign(gold_reward_error=error) if (error[rows["kl"] > 0] > 0).all() else table


def _by_prompt(rows: pd.DataFrame) -> pd.DataFrame | None:
    """The curve of every prompt of a single best-of-n, above that of n = 1; None where the rows are no such thing."""
    path = epath.Path(rows["path"].iloc[0]) / BY_PROMPT
    if rows["n"].isna().any() or rows["run_id"].nunique() > 1 or not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        gold_PxS = np.asarray(content["gold"], np.float64)
        start_P = gold_PxS[:, content["sizes"].index(1)]
        columns = [content["sizes"].index(int(n)) for n in rows["n"]]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise TableError(
            f"{path} does not hold the curves of its run ({error})", "remove the file or the run"
        ) from error
    gain_PxN = gold_PxS[:, columns] - start_P[:, None]
    prompts = len(gain_PxN)
    return pd.DataFrame({
        "kl": np.tile(rows["kl"].to_numpy(), prompts), "gold_reward": gain_PxN.ravel(), "cluster": np.repeat(np.arange(prompts), len(columns)),
    })  # fmt: skip
