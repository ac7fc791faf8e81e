"""A judge whose preference for a position is planted: it is measured, and asking in both orders removes it from the labels."""

import numpy as np
import pytest
from scipy.special import expit

from align.data.judging import OrderedJudge, judged
from align.data.ranking import write_ranked
from scaling.errors import ConfigError
from tests.align.data.small_stores import BYTES
from tests.align.data.test_ranking import samples

PAIRS = 20_000


def ask(difference: float, judge: OrderedJudge):
    """So many pairs of one difference of gold scores, the better side first in the row."""
    return judged(np.tile([[difference, 0.0]], (PAIRS, 1)), judge, np.random.default_rng(0))


@pytest.mark.parametrize("position", [0.0, 1.5])
def test_answers_have_the_probabilities_of_the_model(position):
    """Both shares, their bias in log-odds and its test, within four standard errors."""
    found = ask(1.0, OrderedJudge(position, temperature=2.0)).verdicts
    error = 4 * np.sqrt(0.25 / PAIRS)
    assert abs(found.share_when_first - expit(0.5 + position)) < error
    assert abs(found.share_when_second - expit(0.5 - position)) < error
    assert found.position_logit == pytest.approx(position, abs=0.07)
    assert (found.position_test < 1e-6) == (position > 0)


def test_both_orders_remove_the_position_from_the_labels():
    """Believing one answer, the share of labels follows the position; where both orders agree, log-odds double and the position cancels."""
    believed = ask(1.0, OrderedJudge(2.0, orders="one"))
    assert not believed.tied_N.any()
    assert abs((believed.order_Nx2[:, 0] == 0).mean() - expit(3.0)) < 4 * np.sqrt(0.25 / PAIRS)
    asked = ask(1.0, OrderedJudge(2.0))
    kept = asked.order_Nx2[~asked.tied_N]
    # P(A in both) / P(B in both) = exp(2 difference), whatever the position.
    assert abs((kept[:, 0] == 0).mean() - expit(2.0)) < 4 * np.sqrt(0.25 / len(kept))
    assert asked.tied_N.mean() == pytest.approx(1 - asked.verdicts.consistency)


def test_a_store_leaves_out_what_the_orders_dispute_and_describes_its_judge(tmp_path):
    drawn = samples([(f"p{i}:", ["a", "b"]) for i in range(200)], [0.5, 0] * 200)
    store = write_ranked(tmp_path / "s", {"train": drawn}, BYTES, OrderedJudge(2.0), seed=0)
    of_judge = store.manifest["judge"]["train"]
    assert of_judge["pairs"] == 200 and of_judge["position_bias"] > 0.2 and of_judge["position_test"] < 1e-4
    assert len(store.split("train")) == round(200 * of_judge["consistency"]) < 200
    with pytest.raises(ConfigError, match="compares two completions"):
        ranked = samples([("p:", ["a", "b", "c"])], [0, 1, 2])
        write_ranked(tmp_path / "t", {"train": ranked}, BYTES, OrderedJudge(), seed=0)
    with pytest.raises(ConfigError, match="temperature"):
        OrderedJudge(temperature=0.0)
