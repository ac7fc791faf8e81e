"""Judged win rates in the terminal and in the report."""

from collections import Counter
from collections.abc import Iterator, Sequence

from align.statistics import multiplicity
from analysis.alignment.judging.judged import Judged
from analysis.report.formatting import number
from analysis.report.markup import flag_list, table


def explanation(count: int) -> str:
    """What the columns are."""
    return (
        "Every prompt was asked in both orders; where these disagree it is a tie. won: a tie counts half, with Wilson's interval; of decided: wins among "
        "the prompts that were decided, with Clopper and Pearson's exact interval. orders differ: share of prompts. first +: what standing first adds to a "
        "share of wins. at equal length: by a logistic regression on the difference of lengths. gold: share of decided prompts on which the gold scores of "
        f"the same texts agree. p: of the exact sign test, and of no position bias (exact, McNemar); either by {multiplicity.statement(count)}."
    )


def lines(found: Sequence[Judged], level: float) -> Iterator[str]:
    """The terminal's table, without its explanation."""
    yield (
        f"{'judged':54}{'won':>7}  {'interval':14}{'tied':>6}{'of decided':>22}{'p':>9}{'orders differ':>15}{'first +':>9}{'p':>9}"
        f"{'at equal length':>17}{'gold':>7}"
    )
    for item in found:
        said, rate = item.verdicts, item.verdicts.win_rate
        # Settings may be long; the ids are in frontier.json.
        name = f"{item.judge[:14]}: {item.first_id[:8]} {item.first}"
        yield (
            f"{name[:53]:54}{number(rate.value, 3):>7}  {_ends(rate.interval(level)):14}{rate.ties:>6}{_decided(item, level):>22}{number(item.adjusted, 2):>9}"
            f"{number(1 - said.consistency, 2):>15}{number(said.position_bias, 2):>9}{number(item.adjusted_position, 2):>9}"
            f"{number(item.controlled.value if item.controlled else None, 3):>17}{number(item.agreement, 2):>7}"
        )


def section(found: Sequence[Judged], level: float) -> str:
    """The report's table, with its flags."""
    head = [
        "judge", "policy", "against", "won", "tied", "of decided", "p", "orders differ", "standing first adds", "p of it", "at equal length", "gold agrees",
    ]  # fmt: skip
    rows = [_row(item, level) for item in found]
    shown = table(head, rows, range(3, 12), explanation(len(found)))
    return shown + flag_list(flags(found))


def flags(found: Sequence[Judged]) -> tuple[str, ...]:
    """Every flag, once, with the pairs that it holds for."""
    counts = Counter(flag for item in found for flag in item.flags)
    return tuple(f"{flag} ({count} of {len(found)} pairs)" for flag, count in counts.items())


def _row(item: Judged, level: float) -> list[str]:
    said, rate, controlled = item.verdicts, item.verdicts.win_rate, item.controlled
    return [
        item.judge,
        item.first,
        item.second,
        f"{number(rate.value, 3)}\n{_ends(rate.interval(level))}",
        str(rate.ties),
        _decided(item, level).replace(" [", "\n["),
        number(item.adjusted, 2),
        number(1 - said.consistency, 2),
        number(said.position_bias, 2),
        number(item.adjusted_position, 2),
        "–" if controlled is None else f"{number(controlled.value, 3)}\n{_ends(controlled.interval)}",
        number(item.agreement, 2),
    ]


def _decided(item: Judged, level: float) -> str:
    rate, interval = item.verdicts.win_rate, item.decided_interval(level)
    return "–" if interval is None else f"{number(rate.wins / (rate.wins + rate.losses), 3)} {_ends(interval)}"


def _ends(interval: Sequence[float]) -> str:
    return f"[{', '.join(number(end, 2) for end in interval)}]"
