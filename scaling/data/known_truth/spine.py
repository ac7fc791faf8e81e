"""What is predictable of a sentence by one who has not seen its beginning.

A window that begins inside a sentence hides the stack of nonterminals that are still to be expanded. Read from its top, the stack of a random
node of a random derivation is the output of a Markov chain: the right siblings of the node, those of its parent, and so on to the root, where
the parent of an A is drawn in proportion to how often it has an A among its children. So a forward filter over the slots of the
rules predicts what surfaces when the visible part has been expanded.
"""

import dataclasses
import functools

import numpy as np

# Places of a window whose excess is told apart; almost every sentence that was cut has ended by then.
PLACES = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Spine:
    """The filter of one grammar; terminals number its rules, nonterminal 0 starts.

    Attributes:
      children: nonterminals after each terminal.
      rules: per nonterminal.
      probabilities_NxR: of the rules.
      occurrences_N: of the nonterminals in a derivation, in expectation.
    """

    children: tuple[tuple[int, ...], ...]
    rules: int
    probabilities_NxR: np.ndarray
    occurrences_N: np.ndarray

    @functools.cached_property
    def slots(self) -> list[tuple[int, int]]:
        """(rule, place among its children); one further slot, the last, stands for having reached the root."""
        return [(rule, place) for rule, children in enumerate(self.children) for place in range(len(children))]

    @functools.cached_property
    def symbol_of_slot(self) -> np.ndarray:
        """int [slots + 1]: the nonterminal in each slot; -1 for the end of the stack."""
        return np.array([*(self.children[rule][place] for rule, place in self.slots), -1])

    @functools.cached_property
    def climb_NxK(self) -> np.ndarray:
        """Which slot surfaces after a whole A of unknown place, float64 [N, slots + 1]."""
        ends = len(self.slots)
        index = {slot: number for number, slot in enumerate(self.slots)}
        direct_NxK = np.zeros((len(self.occurrences_N), ends + 1))
        upward_NxN = np.zeros((len(self.occurrences_N), len(self.occurrences_N)))
        direct_NxK[0, ends] = 1.0 / self.occurrences_N[0]
        for number, (rule, place) in enumerate(self.slots):
            child, parent = self.symbol_of_slot[number], rule // self.rules
            if not self.occurrences_N[child]:
                continue  # Neither it nor its parent occurs in any sentence.
            share = self.occurrences_N[parent] * self.probabilities_NxR.flat[rule] / self.occurrences_N[child]
            if (rule, place + 1) in index:
                direct_NxK[child, index[rule, place + 1]] += share
            else:
                upward_NxN[child, parent] += share
        return np.linalg.solve(np.eye(len(upward_NxN)) - upward_NxN, direct_NxK)

    @functools.cached_property
    def next_KxK(self) -> np.ndarray:
        """Which slot surfaces after the whole symbol of a known slot, float64 [slots, slots + 1]."""
        rows = np.zeros((len(self.slots), len(self.slots) + 1))
        index = {slot: number for number, slot in enumerate(self.slots)}
        for number, (rule, place) in enumerate(self.slots):
            after = index.get((rule, place + 1))
            rows[number] = self.climb_NxK[rule // self.rules] if after is None else np.eye(len(rows) + 1)[after]
        return rows

    def nats(self, symbols: np.ndarray, ended: bool) -> np.ndarray:
        """See :meth:`scaling.data.known_truth.process.Process.visible_nats`."""
        surfaced = (int(symbols[0]) // self.rules,)
        stack = list(self.children[symbols[0]][::-1])
        nats = []
        for terminal in symbols[1:]:
            cost = -np.log(self.probabilities_NxR.flat[terminal])
            if stack:
                stack.pop()
            else:
                surfaced = (*surfaced, int(terminal) // self.rules)
                cost += self.surprise(surfaced)
            nats.append(cost)
            stack += self.children[terminal][::-1]
        if ended:
            nats.append(self.surprise((*surfaced, -1)))
        return np.array(nats)

    def surprise(self, surfaced: tuple[int, ...]) -> float:
        """-ln P(last of the symbols that surface | those before); -1 is the end of the stack."""
        if surfaced not in self._surprises:
            predicted_K = self._predicted(surfaced[:-1])
            self._surprises[surfaced] = float(-np.log(predicted_K[self.symbol_of_slot == surfaced[-1]].sum()))
        return self._surprises[surfaced]

    @functools.cached_property
    def _surprises(self) -> dict[tuple[int, ...], float]:
        return {}

    @functools.cached_property
    def _known(self) -> dict[tuple[int, ...], np.ndarray]:
        return {}

    def _predicted(self, surfaced: tuple[int, ...]) -> np.ndarray:
        """Which slot surfaces next, float64 [slots + 1]."""
        if surfaced not in self._known:
            if len(surfaced) == 1:
                self._known[surfaced] = self.climb_NxK[surfaced[0]]
            else:
                slot_K = self._predicted(surfaced[:-1]) * (self.symbol_of_slot == surfaced[-1])
                self._known[surfaced] = slot_K[:-1] @ self.next_KxK / slot_K.sum()
        return self._known[surfaced]


def excess(spine: Spine, sentences: list[np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What windows of 1, 2, ... tokens hide, in nats per window, with standard errors over sentences.

    A window begins at a terminal, and not at an EOS, as often as one of its targets is counted (a share of length / (length + 1) each), so these
    two shares cancel: the excess per counted target at place i is the mean, over all terminals of all sentences, of the surprise at what
    surfaces i terminals later. Where it surfaces, one who saw the whole sentence would not be surprised.

    Args:
      spine: the filter.
      sentences: a sample.
    """
    sums_DxT = np.zeros((len(sentences), PLACES))
    for number, sentence in enumerate(sentences):
        kinds = [*(sentence // spine.rules).tolist(), -1]
        after = _first_lower(np.array([len(spine.children[terminal]) for terminal in sentence]))
        for begin in range(len(sentence)):
            surfaced, place = (kinds[begin],), begin
            while place < len(sentence) and after[place] - begin <= PLACES:
                place = after[place]
                surfaced = (*surfaced, kinds[place])
                sums_DxT[number, place - begin - 1] += spine.surprise(surfaced)
    lengths_D = np.array([len(sentence) for sentence in sentences], float)
    cumulative_DxT = np.cumsum(sums_DxT, axis=1)
    means_T = cumulative_DxT.sum(axis=0) / lengths_D.sum()
    residuals_DxT = cumulative_DxT - means_T * lengths_D[:, None]
    errors_T = np.sqrt(np.square(residuals_DxT).sum(axis=0)) / lengths_D.sum()
    return tuple(means_T.tolist()), tuple(errors_T.tolist())


def _first_lower(children_L: np.ndarray) -> list[int]:
    """Where what lies under each terminal's nonterminal surfaces: the first later place at which the stack is lower; L is the end."""
    heights = np.cumsum(np.concatenate([[1], children_L - 1]))  # before each terminal, and after the last
    after, waiting = [0] * len(children_L), []
    for place, height in enumerate(heights):
        while waiting and heights[waiting[-1]] > height:
            after[waiting.pop()] = place
        waiting.append(place)
    return after
