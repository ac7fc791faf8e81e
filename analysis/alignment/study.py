"""Everything that is said of a table of measurements: the story of `python -m analysis.frontier`.

Methods are compared inside panels: one gold reward, one size of model.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from align.statistics import multiplicity
from analysis.alignment import against_reference, dominance, fitted_laws, frontier, proxies, proxy_trends, raised_alarms
from analysis.alignment.against_reference import AgainstReference
from analysis.alignment.dominance import Comparison
from analysis.alignment.frontier import MethodFrontier
from analysis.alignment.judging.judged import Judged
from analysis.alignment.measurements import Measurements
from analysis.alignment.proxies import ProxyLaw
from analysis.alignment.proxy_trends import Trend
from analysis.alignment.raised_alarms import AlarmRate, RaisedAlarm
from analysis.laws import gain_by_size
from analysis.laws.gain_by_size import GainBySize
from analysis.laws.over_optimisation_held_out import HeldOut
from analysis.laws.result import NotFitted, Result, finite

SCHEMA_VERSION = 1
# Below this share of held-out points inside 90% intervals a law is not to be trusted beyond its data.
_FEWEST_COVERED = 0.5


@dataclasses.dataclass(frozen=True)
class Options:
    """How a study is made: coverage of intervals, draws for bands, and their seed."""

    level: float = 0.9
    draws: int = 400
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class MethodLaw:
    """The over-optimisation law of one method in one panel.

    Attributes:
      method: its name.
      law: of the gold reward, or why there is none.
      check: fitted up to the median distance, and predicted beyond; None where there are too few points.
    """

    method: str
    law: Result | NotFitted
    check: HeldOut | None

    @property
    def objections(self) -> tuple[str, ...]:
        """Why the law is not to be trusted."""
        if isinstance(self.law, NotFitted):
            return ()
        found = [] if self.law.certificate.trusted else [f"{self.method}: {'; '.join(self.law.certificate.objections)}"]
        if self.check is not None and self.check.covered < _FEWEST_COVERED:
            found.append(f"{self.method}: the law misses its held-out part ({self.check.in_words()})")
        return tuple(found)


@dataclasses.dataclass(frozen=True)
class Panel:
    """One gold reward at one size.

    Attributes:
      gold_name, params: which; params is NaN where records do not say.
      frame: its measurements.
      frontiers: of methods, the largest area first.
      comparisons: all pairs.
      laws: one a method.
    """

    gold_name: str
    params: float
    frame: pd.DataFrame
    frontiers: list[MethodFrontier]
    comparisons: list[Comparison]
    laws: list[MethodLaw]


@dataclasses.dataclass(frozen=True)
class SizeLaw:
    """How a method's gain at one KL changes with size.

    Attributes:
      gold_name, method: of what.
      kl: where, in nats: the furthest that every run reached.
      table: params, seed, gain.
      laws: the closer form first.
    """

    gold_name: str
    method: str
    kl: float
    table: pd.DataFrame
    laws: list[GainBySize]


@dataclasses.dataclass(frozen=True)
class AlignmentStudy:
    """All of it."""

    measurements: Measurements
    panels: list[Panel]
    sizes: list[SizeLaw]
    proxies: list[ProxyLaw]
    proxy_trends: list[Trend]
    alarms: list[RaisedAlarm]
    alarm_rates: list[AlarmRate]
    win_rates: list[AgainstReference]
    options: Options
    judged: Sequence[Judged] = ()

    @property
    def multiplicity(self) -> str:
        """How many comparisons the adjusted p-values hold for."""
        return multiplicity.statement(sum(len(panel.comparisons) for panel in self.panels))

    @property
    def objections(self) -> tuple[str, ...]:
        """Why laws are not to be trusted; empty where all are."""
        return tuple(text for panel in self.panels for law in panel.laws for text in law.objections)

    def to_json(self) -> dict[str, Any]:
        """frontier.json: numbers or null, never NaN."""
        frame = self.measurements.frame
        return {
            "schema_version": SCHEMA_VERSION,
            "options": dataclasses.asdict(self.options),
            "measurements": {
                "runs": self.measurements.runs, "policies": len(frame), "sources": list(self.measurements.sources),
                "excluded": self.measurements.excluded.to_dict("records"), "flags": list(self.measurements.flags),
            },
            "multiplicity": self.multiplicity,
            "panels": [_panel_json(panel) for panel in self.panels],
            "gain_by_size": [
                {
                    "gold": item.gold_name, "method": item.method, "kl": item.kl, "points": item.table.to_dict("records"),
                    "laws": [law.to_json() for law in item.laws],
                }
                for item in self.sizes
            ],
            "proxies": [item.to_json() for item in self.proxies],
            "proxy_trends": [item.to_json() for item in self.proxy_trends],
            "alarms": [dataclasses.asdict(item) for item in self.alarms],
            "alarm_rates": [item.to_json() for item in self.alarm_rates],
            "win_rates": [item.to_json(self.options.level) for item in self.win_rates],
            "judged": [item.to_json(self.options.level) for item in self.judged],
            "objections": list(self.objections),
        }  # fmt: skip


def study(measurements: Measurements, options: Options = Options(), judged: Sequence[Judged] = ()) -> AlignmentStudy:
    """Makes the study of a table.

    Args:
      measurements: the table.
      options: of the study.
      judged: what judges said of its policies, which is reported beside it.
    """
    rng = np.random.default_rng(options.seed)
    groups = list(measurements.frame.groupby(["gold_name", "params"], dropna=False))
    compared = dominance.adjusted([dominance.of_panel(_comparable(frame), options.level) for _, frame in groups])
    panels = [
        Panel(name, params, frame, frontier.of_panel(frame, options.level), comparisons, _laws(frame, options, rng))
        for ((name, params), frame), comparisons in zip(groups, compared, strict=True)
    ]
    of_proxies = proxies.of_frame(measurements.frame, options.draws, options.level, rng)
    return AlignmentStudy(
        measurements,
        panels,
        _size_laws(measurements.frame, options.level),
        of_proxies,
        proxy_trends.trends(of_proxies, rng),
        *raised_alarms.of_frame(measurements.frame),
        against_reference.read(measurements, options.level),
        options,
        judged,
    )


def _comparable(panel: pd.DataFrame) -> pd.DataFrame:
    """Without methods that climbed several proxies, whose mean over good and bad ones is no method."""
    mixed = [name for name, method in panel.groupby("method") if proxies.several(method)]
    return panel[~panel["method"].isin(mixed)]


def _laws(panel: pd.DataFrame, options: Options, rng: np.random.Generator) -> list[MethodLaw]:
    """A law a method, all its settings together: what a penalty changes is how far a policy goes along one curve (Gao et al. 2022)."""
    found = []
    for name, method in panel.groupby("method"):
        if method["distance"].max() == 0 or proxies.several(method):
            continue  # Each proxy has a law of its own (proxies.py).
        fitted = fitted_laws.fit(method, options.draws, options.level, rng)
        found.append(MethodLaw(name, fitted.law, fitted.check))
    return found


def _size_laws(frame: pd.DataFrame, level: float) -> list[SizeLaw]:
    found = []
    for (gold_name, name), method in frame.dropna(subset="params").groupby(["gold_name", "method"]):
        sizes = [size for _, size in method.groupby("params") if size["distance"].max() > 0]
        if len(sizes) < 3:
            continue
        reach = min(frontier.reach_of(size) for size in sizes)
        rows = []
        for size in sizes:
            seeds, gain_Sx1 = frontier.by_seed(size, np.array([reach]))
            rows += [
                {"params": float(size["params"].iloc[0]), "seed": int(seed), "gain": float(gain)}
                for seed, gain in zip(seeds, gain_Sx1[:, 0], strict=True)
                if np.isfinite(gain)
            ]
        table = pd.DataFrame(rows, columns=["params", "seed", "gain"])
        if table["params"].nunique() >= 3:
            found.append(SizeLaw(gold_name, name, reach**2, table, gain_by_size.fit(table, level)))
    return found


def _panel_json(panel: Panel) -> dict[str, Any]:
    return {
        "gold": panel.gold_name,
        "params": finite(panel.params),
        "methods": [_frontier_json(item) for item in panel.frontiers],
        "comparisons": [item.to_json() for item in panel.comparisons],
        "laws": {
            item.method: {**item.law.to_json(), "held_out": None if item.check is None else item.check.to_json()}
            for item in panel.laws
        },
    }


def _frontier_json(item: MethodFrontier) -> dict[str, Any]:
    pareto = [
        {name: finite(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in item.pareto.to_dict("records")
    ]
    return {
        "method": item.method, "kind": item.kind, "mean_gain": None if item.area is None else item.area.to_json(), "up_to_kl": item.reach**2,
        "pareto": pareto, "flags": list(item.flags),
        "curves": [
            {"setting": curve.setting, "seeds": curve.seeds, "distance": curve.distance_G.tolist(), "gain": curve.mean_G.tolist(),
             "low": [finite(value) for value in curve.low_G], "high": [finite(value) for value in curve.high_G]}
            for curve in item.curves
        ],
    }  # fmt: skip
