"""Skills of Zipf-distributed use: a corpus on which loss falls as skill after skill is learned, by a power law of tunable tail.

The quantisation model of neural scaling (Michaud, Liu, Girit and Tegmark 2023): skill s = 1, 2, ... is needed with probability p_s in
proportion to s^-(1 + tail); a model with the n most used ones is left with a loss above the floor in proportion to sum_{s > n} p_s, which falls as
n^-tail. A document is a row of segments of four tokens: two that name a skill, an argument, and the answer that this skill maps it to.
"""

import dataclasses
import functools

import numpy as np

from scaling.data.known_truth.floor import Floor, binary_entropy, entropies, of_positions
from scaling.data.known_truth.process import ROUNDING, Process

SEGMENT = 4


@dataclasses.dataclass(frozen=True)
class Skills(Process):
    """Segments (name, name, argument, answer), each of a skill drawn anew; after every segment a document ends with equal probability.

    Attributes:
      names: symbols of each of the two places of a name; there are names**2 skills.
      arguments: arguments, and as many answers. A skill is a random map between them, so it takes arguments * log2(arguments) bits to know one.
      tail: the exponent by which the loss falls in the number of skills learned; p_s is in proportion to s^-(1 + tail).
      noise: share of the answers that are drawn at random instead.
    """

    names: int = 24
    arguments: int = 16
    tail: float = 0.5
    noise: float = 0.05

    def __post_init__(self):
        """See the base class."""
        self.require(self.names >= 2, "names", "give at least 2 symbols")
        self.require(self.arguments >= 2, "arguments", "give at least 2 symbols")
        self.require(self.tail > -1, "tail", "give more than -1, or rare skills would be used most")
        self.require(0 <= self.noise <= 1, "noise", "give a share from 0 to 1")
        self.require(self.mean_length > SEGMENT, "mean_length", f"give more than a segment of {SEGMENT} symbols")
        super().__post_init__()

    @property
    def kind(self) -> str:
        """See the base class."""
        return "skills"

    @property
    def alphabet_size(self) -> int:
        """See the base class; each place of a segment has symbols of its own, so a symbol tells its place."""
        return 2 * self.names + 2 * self.arguments

    @functools.cached_property
    def use_AxB(self) -> np.ndarray:
        """P(skill) by the two symbols of its name, which are given to the ranks at random; float64 [names, names]."""
        weights_K = np.arange(1, self.names**2 + 1) ** -(1.0 + self.tail)
        weights_K = self.generator("names").permutation(weights_K / weights_K.sum())
        return weights_K.reshape(self.names, self.names)

    @functools.cached_property
    def answer_AxBxX(self) -> np.ndarray:
        """The answer of each skill to each argument, int64 [names, names, arguments]."""
        return self.generator("answers").integers(0, self.arguments, (self.names, self.names, self.arguments))

    @functools.cached_property
    def answers_AxBxXxY(self) -> np.ndarray:
        """P(answer | skill, argument), float64 [names, names, arguments, arguments]."""
        exact = np.eye(self.arguments)[self.answer_AxBxX]
        return (1 - self.noise) * exact + self.noise / self.arguments

    @property
    def stop_probability(self) -> float:
        """That a document ends after a segment."""
        return SEGMENT / self.mean_length

    def entropy_rate(self) -> float:
        """Nats per token of documents one after another, EOS and first tokens counted."""
        return (self._segment_nats() + binary_entropy(self.stop_probability)) / (SEGMENT + self.stop_probability)

    def floor(self) -> Floor:
        """See the base class.

        Every segment has four counted targets: the rest of itself, and the EOS or the first symbol of the next. A window that begins at an
        argument, or at the second symbol of a name, hides the skill from one answer, at its first or second place.
        """
        use_AxB, answers = self.use_AxB, self.answers_AxBxXxY
        known = float(np.einsum("ab,abx->", use_AxB, entropies(answers))) / self.arguments
        nameless_XxY = np.einsum("ab,abxy->xy", use_AxB, answers)
        use_B = use_AxB.sum(axis=0)
        half_named_BxXxY = np.einsum("ab,abxy->bxy", use_AxB / use_B, answers)
        first = entropies(nameless_XxY).mean() - known
        second = float(use_B @ entropies(half_named_BxXxY).mean(axis=-1)) - known
        stop = self.stop_probability
        plateau = (self._segment_nats() - stop * entropies(use_AxB.sum(axis=1)) + binary_entropy(stop)) / SEGMENT
        return of_positions(plateau + np.array([first, second, 0.0]) / SEGMENT, plateau, ROUNDING)

    def draw(self, generator: np.random.Generator, count: int) -> list[np.ndarray]:
        """See the base class."""
        segments_D = generator.geometric(self.stop_probability, count)
        total = int(segments_D.sum())
        skills = np.searchsorted(np.cumsum(self.use_AxB)[:-1], generator.random(total), side="right")
        first, second = np.divmod(skills, self.names)
        arguments = generator.integers(0, self.arguments, total)
        guesses = generator.integers(0, self.arguments, total)
        answers = np.where(generator.random(total) < self.noise, guesses, self.answer_AxBxX[first, second, arguments])
        offsets = np.array([0, self.names, 2 * self.names, 2 * self.names + self.arguments])
        symbols = (np.stack([first, second, arguments, answers], axis=1) + offsets).ravel()
        return np.split(symbols, SEGMENT * np.cumsum(segments_D)[:-1])

    def visible_nats(self, symbols: np.ndarray, ended: bool) -> np.ndarray:
        """See the base class."""
        nats, segment = [], {}
        for symbol in symbols:
            place, value = self._place(int(symbol))
            nats.append(-np.log(self._probability(place, value, segment)))
            segment = {place: value} if place == 0 else {**segment, place: value}
            if place == SEGMENT - 1:
                segment = {}
        return np.array([*nats[1:], *([-np.log(self.stop_probability)] if ended else [])])

    def _segment_nats(self) -> float:
        """Of a segment: its skill, its argument, its answer."""
        known = np.einsum("ab,abx->", self.use_AxB, entropies(self.answers_AxBxXxY)) / self.arguments
        return float(entropies(self.use_AxB.ravel()) + np.log(self.arguments) + known)

    def _place(self, symbol: int) -> tuple[int, int]:
        for place, size in enumerate((self.names, self.names, self.arguments)):
            if symbol < size:
                return place, symbol
            symbol -= size
        return SEGMENT - 1, symbol

    def _probability(self, place: int, value: int, segment: dict[int, int]) -> float:
        """Of a symbol, given what is visible of its segment."""
        use_AxB = self.use_AxB
        if place == 0:
            return (1 - self.stop_probability) * use_AxB[value].sum()
        if place == 2:
            return 1 / self.arguments
        first = segment.get(0, slice(None))
        if place == 1:
            # The first symbol of a piece may lack its first name; nobody asks for its probability then.
            return float(np.sum(use_AxB[first, value]) / np.sum(use_AxB[first]))
        if 2 not in segment:
            return 1.0  # The same: a piece that begins with an answer.
        weights = np.where(self._matching(segment), use_AxB, 0.0)
        return float(np.sum(weights * self.answers_AxBxXxY[:, :, segment[2], value]) / weights.sum())

    def _matching(self, segment: dict[int, int]) -> np.ndarray:
        """The skills that the visible symbols of a name leave possible, bool [names, names]."""
        matching = np.ones(self.use_AxB.shape, bool)
        if 0 in segment:
            matching &= np.arange(self.names)[:, None] == segment[0]
        if 1 in segment:
            matching &= np.arange(self.names)[None, :] == segment[1]
        return matching
