"""The forecasters that compete: every form of L(N, D), fitted with a longer or a shorter memory of compute.

No form holds over all compute: warm-up, batch size and learning rate that do not follow the size bend a law, and a fit to all
runs then answers for its cheapest ones. A memory weights a run of compute C by (C/C_max)^(1/memory), so that a fit with a short
one extrapolates from where it stands. Which form and which memory deserve trust is not assumed; rollouts measure it.
"""

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import engine, starts
from analysis.laws.fitting.objectives import HUBER
from analysis.laws.forms import chinchilla, kaplan, over_training, skaling
from analysis.laws.forms.form import Form, evaluate
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

FORMS: tuple[Form, ...] = (chinchilla.FORM, skaling.FORM, over_training.FORM, kaplan.ND)
# In units of ln C: a run e^memory times cheaper counts 1/e.
MEMORIES = (np.inf, 2.0, 1.0, 0.5)
_STARTS = 12


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A form with a memory."""

    form: Form
    memory: float

    @property
    def name(self) -> str:
        """For reports."""
        return self.form.name if np.isinf(self.memory) else f"{self.form.name}, memory {self.memory:g}"


CANDIDATES = tuple(Candidate(form, memory) for form, memory in itertools.product(FORMS, MEMORIES))


@dataclasses.dataclass(frozen=True)
class Points:
    """What the candidates see: ln N and ln D [K, 2], ln C [K] and ln L [K], by ascending C."""

    log_nd: FloatArray
    log_flops: FloatArray
    log_loss: FloatArray

    def __len__(self) -> int:
        """K."""
        return len(self.log_loss)


def points_of(table: RunsTable) -> Points:
    """The runs of a table by ascending compute."""
    order = np.argsort(table.log("flops"), kind="stable")
    log_nd = np.stack([table.log("params"), table.log("tokens")], axis=1)
    return Points(log_nd[order], table.log("flops")[order], table.log("loss")[order])


@dataclasses.dataclass(frozen=True)
class Fits:
    """Every candidate fitted to the cheapest runs of several windows.

    Attributes:
      theta: by form name: parameters in centred coordinates, float64[W, M, P], windows by memories.
      centre: of ln N and ln D, float64[2].
    """

    theta: dict[str, FloatArray]
    centre: FloatArray

    def log_loss(self, log_nd_QxV: FloatArray) -> FloatArray:
        """ln L by every window and candidate, in the order of :data:`CANDIDATES`, float64[W, candidates, Q]."""
        found = []
        for form in FORMS:
            theta = self.theta[form.name]
            flat = evaluate(form, theta.reshape(-1, theta.shape[-1]), log_nd_QxV - self.centre)
            found.append(flat.reshape(*theta.shape[:2], -1))
        return np.concatenate(found, axis=1)


def fit(points: Points, counts: tuple[int, ...]) -> Fits:
    """Fits every candidate to the `count` cheapest runs, for each of `counts`; all of a form in one batch."""
    centre = points.log_nd.mean(axis=0)
    x_KxV = points.log_nd - centre
    weights = np.stack([_weights(points.log_flops, count) for count in counts])
    return Fits({form.name: _fit_form(form, x_KxV, points.log_loss, weights) for form in FORMS}, centre)


def _weights(log_flops_K: FloatArray, count: int) -> FloatArray:
    """Of every run for every memory, float64[M, K]; nothing for the runs after the first `count`."""
    behind_K = np.maximum(log_flops_K[count - 1] - log_flops_K, 0.0)
    seen_K = np.arange(len(log_flops_K)) < count
    return np.stack([np.where(seen_K, np.exp(-behind_K / memory), 0.0) for memory in MEMORIES])


def _fit_form(form: Form, x_KxV: FloatArray, y_K: FloatArray, w_WxMxK: FloatArray) -> FloatArray:
    """Parameters of every window and memory, float64[W, M, P]."""
    windows, memories, length = w_WxMxK.shape
    begin, problem = [], []
    for window, w_MxK in enumerate(w_WxMxK):
        # What a long memory would start from serves the short ones as well.
        own = starts.starts(form, x_KxV, y_K, w_MxK[0])[:_STARTS]
        begin += [own] * memories
        problem += [window * memories + memory for memory in range(memories) for _ in own]
    problem_S = np.array(problem)
    w_SxK = w_WxMxK.reshape(-1, length)[problem_S]
    # A curved valley that takes longer than the first steps has all but the same curve everywhere.
    steps = engine.FIRST_STEPS
    found = engine.minimise(form, HUBER, x_KxV, y_K[None], w_SxK, np.concatenate(begin), form.bounds(y_K), steps)
    best = [
        np.flatnonzero(problem_S == index)[np.argmin(found.objective[problem_S == index])]
        for index in range(windows * memories)
    ]
    return found.theta[best].reshape(windows, memories, -1)
