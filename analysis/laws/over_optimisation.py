"""Over-optimisation laws: the gold reward against the distance from the initial policy.

Gao, Schulman and Hilton 2022 (arXiv:2210.10760). Stage two's records give the points: the KL of a policy (or the n of
best-of-n) and its gold reward; rewards are measured from that of the initial policy.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting.objectives import least_squares
from analysis.laws.forms import over_optimisation as forms
from analysis.laws.intervals import bootstrap
from analysis.laws.result import Result

FloatArray = npt.NDArray[np.float64]

FORMS = {"best_of_n": forms.BEST_OF_N, "rl": forms.RL}
_FEWEST = 4


def fit(
    frame: pd.DataFrame, method: str, replicates: int = 400, level: float = 0.9, rng: np.random.Generator | None = None
) -> Result:
    """Fits R(d) of one reward model.

    Args:
      frame: rows with `kl` in nats (or `n` for best-of-n, whose KL is known) and `gold_reward`, the initial policy's subtracted;
        optionally `cluster` (policies of one training run) and `gold_reward_error`.
      method: `best_of_n` or `rl`.
      replicates: case-bootstrap draws over clusters.
      level: coverage of the intervals.
      rng: of the draws.

    Raises:
      TableError: columns are missing or fewer than four points have left the initial policy.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    if method not in FORMS:
        raise TableError(f"the method {method!r} has no over-optimisation law", f"choose one of {', '.join(FORMS)}")
    if "gold_reward" not in frame or not {"kl", "n"} & set(frame.columns):
        raise TableError("the table lacks gold_reward, or both kl and n", "add the columns kl (nats) and gold_reward")
    kl_K = frame["kl"].to_numpy(np.float64) if "kl" in frame else forms.best_of_n_kl(frame["n"])
    moved = kl_K > 0
    if moved.sum() < _FEWEST:
        raise TableError(
            f"{int(moved.sum())} points have a KL above zero, and {_FEWEST} are needed", "measure more policies"
        )
    kept, form = frame[moved], FORMS[method]
    x_KxV, y_K = 0.5 * np.log(kl_K[moved])[:, None], kept["gold_reward"].to_numpy(np.float64)
    weight_K = np.ones(len(kept))
    if "gold_reward_error" in kept:
        weight_K = 1 / kept["gold_reward_error"].to_numpy(np.float64) ** 2
        weight_K /= weight_K.mean()
    clusters = kept["cluster"] if "cluster" in kept else pd.Series(range(len(kept)))
    cluster_K = pd.factorize(clusters)[0].astype(np.int64)
    weights_RxK = bootstrap.case_weights(cluster_K, np.zeros(len(kept), np.int64), replicates, rng)
    draws = bootstrap.Draws(np.zeros((replicates, len(kept))), weights_RxK)
    fitted = fitting.fit_form(form, x_KxV, y_K, draws, least_squares(), weight_K)
    return fitting.result_of(fitted, form, run_ids=(), level=level, objective=least_squares())
