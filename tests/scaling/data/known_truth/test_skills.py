"""Skills: the tail of their use, and what a hidden name costs."""

import numpy as np
import pytest

from scaling.data.known_truth.floor import entropies
from scaling.data.known_truth.skills import Skills
from scaling.errors import ConfigError


@pytest.mark.parametrize("tail", [0.5, 1.0])
def test_loss_falls_in_the_number_of_skills_by_the_tail(tail):
    """A learner that knows the n most used skills and guesses the rest has an excess in proportion to n**-tail, far from the last skill."""
    skills = Skills(names=45, arguments=2, tail=tail)
    use = np.sort(skills.use_AxB.ravel())[::-1]
    unknown = 1 - np.cumsum(use)
    # Of an endless Zipf law; the finite one ends, which bends the tail down by its own last term.
    last = (len(use) + 0.5) ** -tail
    slope = np.polyfit(np.log([10, 20, 40, 80]), np.log(unknown[[9, 19, 39, 79]] + use[0] / tail * last), 1)[0]
    assert slope == pytest.approx(-tail, rel=0.05)


def test_drawn_segments_name_skills_as_often_as_stated_and_answer_as_they_map():
    skills = Skills(names=4, arguments=4, tail=0.5, noise=0.2, mean_length=40, held_out_tokens=200_000)
    segments = np.concatenate(skills.documents("validation")).reshape(-1, 4) - [0, 4, 8, 12]
    counted = np.zeros((4, 4))
    np.add.at(counted, (segments[:, 0], segments[:, 1]), 1 / len(segments))
    np.testing.assert_allclose(counted, skills.use_AxB, atol=0.01)
    right = skills.answer_AxBxX[segments[:, 0], segments[:, 1], segments[:, 2]] == segments[:, 3]
    assert right.mean() == pytest.approx(0.8 + 0.2 / 4, abs=0.01)


def test_predictions_of_any_piece_sum_to_one():
    skills = Skills(names=3, arguments=3, mean_length=40)
    for piece in ([0], [0, 3], [3], [3, 6], [6], [1, 4, 8], [4, 7], [7]):
        total = sum(
            np.exp(-skills.visible_nats(np.array([*piece, symbol]), False)[-1]) for symbol in next_symbols(piece[-1])
        )
        assert total == pytest.approx(1.0)
    end = np.exp(-skills.visible_nats(np.array([2, 5, 8, 9]), True)[-1])
    again = sum(np.exp(-skills.visible_nats(np.array([2, 5, 8, 9, symbol]), False)[-1]) for symbol in range(3))
    assert end + again == pytest.approx(1.0) and end == pytest.approx(4 / 40)


def next_symbols(symbol):
    place = min(symbol // 3, 3)
    return range(3 * (place + 1), 3 * (place + 2))


def test_without_noise_and_with_one_use_the_floor_is_that_of_names_and_arguments():
    skills = Skills(names=4, arguments=4, noise=0.0, mean_length=4e9)
    plateau = (entropies(skills.use_AxB.ravel()) + np.log(4)) / 4
    assert skills.floor().plateau == pytest.approx(plateau, abs=1e-6)
    assert skills.entropy_rate() == pytest.approx(plateau, abs=1e-6)


def test_more_symbols_than_characters_are_refused():
    with pytest.raises(ConfigError, match="needs 132 symbols, but there are 94"):
        Skills(names=50, arguments=16)
