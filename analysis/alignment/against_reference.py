"""Win rates of final policies over their references, prompt by prompt on the gold score: what `samples.json` of a run holds.

Policy and reference answered the same prompts with the same keys. A prompt is won where the mean gold score of the policy's samples is higher.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from align.statistics import length_controlled, multiplicity, win_rates
from align.statistics.length_controlled import LengthControlled
from align.statistics.win_rates import WinRate
from analysis.alignment.measurements import Measurements
from analysis.laws.errors import TableError
from analysis.laws.tables import records

SAMPLES = "samples.json"
# Below so many prompts lengths cannot be told from the rest.
FEWEST_PROMPTS = 10


@dataclasses.dataclass(frozen=True)
class AgainstReference:
    """One run's final policy against its reference.

    Attributes:
      run_id, method, setting, seed, label: the run.
      rate: wins, ties and losses by prompt.
      p_value: of the paired permutation test of the mean difference.
      adjusted: the same by Holm over all runs of the report.
      difference: mean gold score above the reference's.
      controlled: the win rate at equal lengths; None where there are too few prompts.
    """

    run_id: str
    method: str
    setting: str
    seed: int
    label: str
    rate: WinRate
    p_value: float
    adjusted: float
    difference: float
    controlled: LengthControlled | None

    def to_json(self, level: float) -> dict[str, Any]:
        """JSON values."""
        controlled = self.controlled
        return {
            **{
                name: getattr(self, name)
                for name in ("run_id", "method", "setting", "seed", "label", "difference", "p_value", "adjusted")
            },
            **dataclasses.asdict(self.rate),
            "win_rate": self.rate.value,
            "interval": list(self.rate.interval(level)),
            "sign_test": self.rate.sign_test,
            "length_controlled": None
            if controlled is None
            else {"value": controlled.value, "interval": list(controlled.interval)},
        }


def read(measurements: Measurements, level: float) -> list[AgainstReference]:
    """Every measured run that kept its samples.

    Raises:
      TableError: a file of samples cannot be used.
    """
    rows = measurements.frame.drop_duplicates("run_id").set_index("run_id")
    found = []
    for source in measurements.sources:
        for path in records.paths(epath.Path(source)):
            run_id = path.parent.name
            if run_id in rows.index and (path.parent / SAMPLES).exists():
                about = rows.loc[run_id]
                found.append((about, *_compared(path.parent / SAMPLES, level)))
    adjusted = multiplicity.holm([p_value for _, _, p_value, _, _ in found])
    return [
        AgainstReference(
            str(about.name),
            about["method"],
            about["setting"],
            int(about["seed"]),
            about["label"],
            rate,
            p_value,
            float(holm),
            difference,
            controlled,
        )
        for (about, rate, p_value, difference, controlled), holm in zip(found, adjusted, strict=True)
    ]


def _compared(path: epath.Path, level: float) -> tuple[WinRate, float, float, LengthControlled | None]:
    policy, reference = _sides(path)
    ours, theirs = (np.asarray(side["gold"], np.float64).mean(axis=1) for side in (policy, reference))
    rate = win_rates.paired(ours, theirs)
    p_value = win_rates.permutation_test(ours, theirs)
    controlled = None
    if len(ours) >= FEWEST_PROMPTS:
        verdicts = (np.sign(ours - theirs) + 1) / 2
        lengths = [np.asarray(side["length"], np.float64).mean(axis=1) for side in (policy, reference)]
        controlled = length_controlled.win_rate(verdicts, *lengths, level=level)
    return rate, p_value, float(np.mean(ours - theirs)), controlled


def _sides(path: epath.Path) -> Sequence[dict[str, Any]]:
    try:
        content = json.loads(path.read_text())
        policy, reference = content["policy"], content["reference"]
        alike = policy["prompts"] == reference["prompts"] and policy["seed"] == reference["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(
            f"{path} holds no samples of a policy and its reference ({error})", "remove the file or the run"
        ) from error
    if not alike or policy["gold"] is None or reference["gold"] is None:
        raise TableError(
            f"{path}: policy and reference did not answer the same prompts under a gold reward",
            "remove the file or the run",
        )
    return policy, reference
