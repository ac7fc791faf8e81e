"""What a proxy's size, comparisons, label noise and number of members do to its law (Gao et al. 2022, figure 3; Coste et al. 2024).

Along one axis only proxies that are alike in all others are compared: they are a stratum, and strata are added up. So a ladder of sizes is not
disturbed by one of label noise that crosses it. Under the hypothesis that the axis does nothing, the values of a stratum may be permuted, which gives
the p-value without any assumption about their distribution, and says how small it could have become at all.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from align.statistics import multiplicity
from analysis.alignment.proxies import AXES, ProxyLaw
from analysis.laws.result import finite

FloatArray = npt.NDArray[np.float64]

ACCURACY = "proxy_accuracy"
QUANTITIES = ("best_gain", "alpha", "beta")
# Axes whose steps are ratios: slopes are per doubling. Those of the others are per 0.1.
_RATIOS = ("proxy_params", "proxy_comparisons", "proxy_members")
_FEWEST_VALUES = 3
# Up to so many proxies of a stratum all orders are listed; beyond, so many are drawn.
_LISTED, _DRAWN = 7, 20_000


@dataclasses.dataclass(frozen=True)
class Trend:
    """How a quantity moves with one axis, all others equal.

    Attributes:
      method, quantity, axis: of what; the quantity is "best_gain", "alpha" or "beta", and the axis may be "proxy_accuracy", which all proxies share.
      proxies, strata: how many were compared, and in how many groups that are alike in everything else.
      correlation: Kendall's tau-b within strata, -1 to 1.
      slope: least squares within strata, per doubling (size, comparisons, members) or per 0.1 (label noise, accuracy).
      p_value: two-sided, of no association, by permutation within strata.
      least_p: that the most extreme order would have had: above 0.05 there are too few proxies to find anything.
      adjusted: `p_value` by Holm over all trends of the report whose least_p is below 0.05; NaN for the others.
    """

    method: str
    quantity: str
    axis: str
    proxies: int
    strata: int
    correlation: float
    slope: float
    p_value: float
    least_p: float
    adjusted: float = float("nan")

    @property
    def per(self) -> str:
        """What the slope is per."""
        return "doubling" if self.axis in _RATIOS else "0.1"

    @property
    def verdict(self) -> str:
        """In words."""
        if self.least_p > 0.05:
            return "too few proxies to tell"
        if self.adjusted > 0.05:
            return "no trend" if self.p_value > 0.05 else "no trend after Holm"
        return "rises" if self.correlation > 0 else "falls"

    def to_json(self) -> dict[str, Any]:
        """Numbers or null, never NaN."""
        values = {
            name: finite(value) if isinstance(value, float) else value
            for name, value in dataclasses.asdict(self).items()
        }
        return {**values, "slope_per": self.per, "verdict": self.verdict}


def trends(laws: Sequence[ProxyLaw], rng: np.random.Generator) -> list[Trend]:
    """Every method, quantity and axis that took at least three values."""
    found = []
    for method in sorted({law.method for law in laws}):
        of_method = [law for law in laws if law.method == method]
        for axis, quantity in itertools.product((*AXES, ACCURACY), QUANTITIES):
            trend = _trend(of_method, method, axis, quantity, rng)
            found += [] if trend is None else [trend]
    can_tell = [index for index, trend in enumerate(found) if trend.least_p <= 0.05]
    adjusted = multiplicity.holm([found[index].p_value for index in can_tell])
    for index, value in zip(can_tell, adjusted, strict=True):
        found[index] = dataclasses.replace(found[index], adjusted=float(value))
    return found


def _trend(laws: list[ProxyLaw], method: str, axis: str, quantity: str, rng: np.random.Generator) -> Trend | None:
    groups: dict[tuple, list[tuple[float, float]]] = {}
    for law in laws:
        value, response = _value(law, axis), _response(law, quantity)
        if np.isfinite(value) and np.isfinite(response):
            # Accuracy is what all axes come to, so nothing else is held equal.
            alike = () if axis == ACCURACY else tuple(str(law.axes[other]) for other in AXES if other != axis)
            groups.setdefault((law.gold_name, str(law.params), *alike), []).append((value, response))
    strata = [np.array(rows) for rows in groups.values() if len({value for value, _ in rows}) > 1]
    if not strata or len(np.unique(np.concatenate(strata)[:, 0])) < _FEWEST_VALUES:
        return None
    concordance = sum(_concordance(rows[:, 0], rows[:, 1]) for rows in strata)
    distribution = _permuted(strata, rng)
    total = sum(distribution.values())
    p_value, least_p = (
        sum(count for score, count in distribution.items() if abs(score) >= extreme) / total
        for extreme in (abs(concordance), max(map(abs, distribution)))
    )
    pairs = np.sqrt(np.prod([sum(_untied(rows[:, column]) for rows in strata) for column in (0, 1)], dtype=np.float64))
    return Trend(
        method, quantity, axis, sum(map(len, strata)), len(strata), float(concordance / pairs) if pairs else 0.0, _slope(strata, axis),
        p_value, least_p,
    )  # fmt: skip


def _value(law: ProxyLaw, axis: str) -> float:
    return law.accuracy if axis == ACCURACY else law.axes[axis]


def _response(law: ProxyLaw, quantity: str) -> float:
    if quantity == "best_gain":
        return law.best_gain
    estimate = law.estimate(quantity)
    return float("nan") if estimate is None else estimate.value


def _concordance(value_K: FloatArray, response_K: FloatArray) -> int:
    """Concordant minus discordant pairs."""
    signs_KxK = np.sign(value_K[:, None] - value_K[None, :]) * np.sign(response_K[:, None] - response_K[None, :])
    return int(signs_KxK.sum()) // 2


def _untied(value_K: FloatArray) -> int:
    return int((value_K[:, None] != value_K[None, :]).sum()) // 2


def _permuted(strata: list[np.ndarray], rng: np.random.Generator) -> Counter[int]:
    """How often each concordance arises when responses are permuted within strata: sums over strata, so a convolution."""
    joint: Counter[int] = Counter({0: 1})
    for rows in strata:
        if len(rows) <= _LISTED:
            orders = itertools.permutations(range(len(rows)))
        else:
            # The order that was found is one of them, so no p-value is 0.
            orders = itertools.chain([range(len(rows))], (rng.permutation(len(rows)) for _ in range(_DRAWN)))
        own = Counter(_concordance(rows[:, 0], rows[list(order), 1]) for order in orders)
        both: Counter[int] = Counter()
        for (score, count), (other, times) in itertools.product(joint.items(), own.items()):
            both[score + other] += count * times
        joint = both
    return joint


def _slope(strata: list[np.ndarray], axis: str) -> float:
    """Least squares with an intercept for each stratum."""
    x = [np.log2(rows[:, 0]) if axis in _RATIOS else rows[:, 0] / 0.1 for rows in strata]
    moved_K = np.concatenate([column - column.mean() for column in x])
    return float(moved_K @ np.concatenate([rows[:, 1] for rows in strata]) / (moved_K @ moved_K))
