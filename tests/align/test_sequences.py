"""Masks come from lengths; recombined rows hold the prompt of one and the completion of another."""

import numpy as np

from align.sequences import Sequences, completion_mask, recombined, stacked, token_mask

# An id that is elsewhere a padding or an end occurs inside prompt and completion: no id is special.
ROWS = Sequences(
    np.array([[1, 0, 5, 6, 1, 0], [7, 8, 9, 0, 1, 2]], np.int32), np.array([2, 3], np.int32), np.array([5, 6], np.int32)
)


def test_masks_count_every_id_inside_the_lengths_and_none_outside():
    np.testing.assert_array_equal(completion_mask(ROWS), [[0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(token_mask(ROWS), [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(ROWS.completion_lengths, [3, 3])


def test_recombined_rows_hold_one_prompt_and_the_other_completion():
    swapped = Sequences(*(array[::-1] for array in ROWS))
    mixed = recombined(ROWS, swapped)
    np.testing.assert_array_equal(mixed.tokens, [[1, 0, 0, 1, 2, 0], [7, 8, 9, 5, 6, 1]])
    np.testing.assert_array_equal(mixed.prompt_lengths, [2, 3])
    np.testing.assert_array_equal(mixed.lengths, [5, 6])


def test_stacked_rows_keep_their_order():
    both = stacked(ROWS, Sequences(*(array[::-1] for array in ROWS)))
    np.testing.assert_array_equal(both.lengths, [5, 6, 6, 5])
    np.testing.assert_array_equal(both.tokens[0], both.tokens[3])
