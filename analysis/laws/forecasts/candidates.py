"""The forms that a forecast weighs against each other, and their fits to the cheapest runs."""

import numpy as np
import numpy.typing as npt

from analysis.laws.fitting import engine
from analysis.laws.fitting.objectives import HUBER
from analysis.laws.fitting.starts import starts
from analysis.laws.forms import chinchilla, data_by_size, data_constrained, kaplan, over_training, skaling
from analysis.laws.forms.form import Form
from analysis.laws.tables.table import RunsTable

FloatArray = npt.NDArray[np.float64]

# Runs this far above the best in ln L count e times less in a fit: laws hold asymptotically.
DISCOUNT = 0.1
_STARTS = 4
_REPEATED = 1.01

# Chinchilla's law is a case of the last two, the over-training law of Chinchilla's: a form beside its own special case is the same opinion twice.
FORMS: tuple[Form, ...] = (kaplan.ND, skaling.FORM, data_by_size.FORM)
# Rolled out beside them, so that a reader sees how the usual laws do, and not weighed.
SPECIAL_CASES: tuple[Form, ...] = (chinchilla.FORM, over_training.FORM)


def forms_of(table: RunsTable) -> tuple[Form, ...]:
    """The forms for a table; the data-constrained one where runs saw their data more than once."""
    unique = table.frame["unique_tokens"]
    known = bool(np.isfinite(unique).all()) if len(table) else False
    if known and (table.frame["tokens"] > _REPEATED * unique).any():
        return (*FORMS, data_constrained.FORM)
    return FORMS


def fit_windows(form: Form, x_KxV: FloatArray, y_K: FloatArray, early_WxK: npt.NDArray[np.bool_]) -> FloatArray:
    """Fits a form to several subsets of the runs in one batch, theta [W, P].

    Runs that are left out have no weight, so all subsets share one compiled shape.

    Args:
      form: the form.
      x_KxV: its variables, centred.
      y_K: ln L.
      early_WxK: which runs each subset holds.
    """
    best_W = np.array([y_K[early_K].min() for early_K in early_WxK])
    weight_WxK = early_WxK * np.exp(-(y_K[None] - best_W[:, None]) / DISCOUNT)
    begun = [starts(form, x_KxV, y_K, weight_K)[:_STARTS] for weight_K in weight_WxK]
    window_S = np.repeat(np.arange(len(begun)), [len(item) for item in begun])
    # A law's slow valleys move its parameters, not its predictions: the first steps are enough here.
    found = engine.minimise(
        form, HUBER, x_KxV, y_K[None], weight_WxK[window_S], np.concatenate(begun), form.bounds(y_K), engine.FIRST_STEPS
    )
    best = [np.flatnonzero(window_S == window) for window in range(len(begun))]
    return found.theta[[rows[np.argmin(found.objective[rows])] for rows in best]]
