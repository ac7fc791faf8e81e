"""Numbers for people: four significant digits, powers of ten only where they help, intervals in brackets."""

import math

from analysis.laws.result import Estimate


def number(value: float | None, digits: int = 4) -> str:
    """`value` with `digits` significant digits; a dash for what is not a number."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{decimals}f}"
    return f"{value:.{digits - 1}e}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def interval(estimate: Estimate, digits: int = 4) -> str:
    """`[low, high]`, or a dash where there is none."""
    if estimate.interval is None:
        return "–"
    low, high = estimate.interval
    return f"[{number(low, digits)}, {number(high, digits)}]"


def short(count: float) -> str:
    """1234567 as 1.23M."""
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        # What rounds to a thousand of the smaller suffix is one of the larger.
        if count >= 0.9995 * limit:
            return f"{count / limit:.3g}{suffix}"
    return f"{count:.3g}"


def short_interval(estimate: Estimate) -> str:
    """The interval of a count of parameters or tokens; a dash where there is none."""
    return "–" if estimate.interval is None else f"[{', '.join(short(bound) for bound in estimate.interval)}]"


def percent(fraction: float) -> str:
    """A fraction as a percentage with two decimals."""
    return f"{100 * fraction:.2f}%"
