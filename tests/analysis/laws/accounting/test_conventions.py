"""The same runs under every convention: which are known, what moves, and that replicates pair."""

import numpy as np
import pytest

from analysis.laws import parametric
from analysis.laws.accounting import conventions
from analysis.laws.intervals import bootstrap
from analysis.laws.optima import optimal
from analysis.laws.tables import table


@pytest.fixture(scope="module")
def counted(ladder):
    noise = 0.003 * np.random.default_rng(0).standard_normal((80, len(ladder)))
    return conventions.side_by_side(ladder, bootstrap.Draws(noise)), noise


def test_the_ladder_comes_first_and_every_known_pair_once(ladder):
    pairs = conventions.known(ladder)
    assert pairs[0] == ("non_embedding", "kaplan_6nd_non_embedding")
    assert pairs[:6] == list(conventions.LADDER) and len(set(pairs)) == len(pairs)
    # Two parameter counts times the five FLOP counts that every record of the fixture knows.
    assert len(pairs) == 10 and not any(flops == "xla_measured" for _, flops in pairs)


def test_each_entry_is_the_law_of_the_table_so_counted(ladder, counted):
    """Refitted alone, every convention gives the same exponent; FLOPs do not enter L(N, D), so laws are shared."""
    found, _ = counted
    for item in found:
        other = ladder.under(table.Conventions(item.parameters, item.flops))
        alone = parametric.fit(other)
        assert item.law.parameters["alpha"].value == pytest.approx(alone.parameters["alpha"].value, rel=1e-6)
        assert item.exponents.a.value == pytest.approx(optimal.exponents(alone, other).a.value, rel=1e-6)
        assert (item.exponents.low_flops, item.exponents.high_flops) == (
            other.frame["flops"].min(),
            other.frame["flops"].max(),
        )
    assert len({id(item.law) for item in found}) == 2


def test_movements_are_of_paired_replicates(counted):
    """Kaplan's counting is the reference; the interval of a movement within one count of parameters is narrower than independence."""
    found, _ = counted
    assert found[0].moved is None and all(item.moved.interval for item in found[1:])
    assert found[0].exponents.a.value > found[5].exponents.a.value + 0.05, "embeddings flatten the exponent"
    for item in found[1:]:
        assert item.moved.value == pytest.approx(item.exponents.a.value - found[0].exponents.a.value)
    widths = [np.ptp(item.exponents.a.interval) for item in (found[0], found[1])]
    assert np.ptp(found[1].moved.interval) < 0.5 * np.hypot(*widths)


def test_entries_are_json(counted):
    entry = counted[0][1].to_json()
    assert entry["parameters"] == "non_embedding" and entry["flops"] == "6nd_head"
    assert entry["alpha"]["interval"][0] < entry["alpha"]["value"] and entry["moved"]["level"] == 0.9
    # The fixture holds one run out.
    assert abs(entry["held_out_error_percent"]) < 10


def test_pairs_can_be_chosen_and_what_a_table_cannot_support_is_left_out(ladder):
    pairs = [("total", "6nd"), ("total", "no_such_count"), ("non_embedding", "6nd_head")]
    found = conventions.side_by_side(ladder, pairs=pairs)
    assert [(item.parameters, item.flops) for item in found] == [pairs[0], pairs[2]]
    assert found[1].moved.interval is None
