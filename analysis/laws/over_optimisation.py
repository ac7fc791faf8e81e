"""Over-optimisation laws: the gold reward against the distance from the initial policy.

Gao, Schulman and Hilton 2022 (arXiv:2210.10760), and for direct alignment Rafailov et al. 2024 (arXiv:2406.02900). Stage two's records give the
points: the KL of a policy (or the n of best-of-n) and its gold reward (or win rate); rewards are measured from that of the initial policy.

Every form is linear in alpha and beta, so there is one optimum, and it is solved for. The points of one run share its noise: intervals are those of
:mod:`analysis.laws.intervals.clustered`, whose clusters are runs; what they cover: `python -m analysis.laws.simulation.over_optimisation`.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting import solve
from analysis.laws.forms import over_optimisation as forms
from analysis.laws.forms.form import Direct
from analysis.laws.intervals import clustered
from analysis.laws.intervals.clustered import ClusteredFit
from analysis.laws.result import Certificate, Estimate, Result

FloatArray = npt.NDArray[np.float64]

FORMS = {"best_of_n": forms.BEST_OF_N, "rl": forms.RL, "direct_alignment": forms.DIRECT_ALIGNMENT}
_FEWEST = 4


@dataclasses.dataclass(frozen=True)
class Points:
    """What a law is fitted to.

    Attributes:
      distance_K: sqrt(KL), above zero.
      reward_K: that of the initial policy subtracted.
      weight_K: inverse variances, their mean 1.
      error_K: reported standard errors; NaN where there are none.
      cluster_K: the run of each point.
    """

    distance_K: FloatArray
    reward_K: FloatArray
    weight_K: FloatArray
    error_K: FloatArray
    cluster_K: npt.NDArray[np.int64]

    def kept(self, which_K: npt.NDArray[np.bool_]) -> "Points":
        """Some of them."""
        return Points(*(getattr(self, field.name)[which_K] for field in dataclasses.fields(self)))

    @property
    def clusters(self) -> int:
        """How many runs."""
        return len(np.unique(self.cluster_K))


def fit(
    frame: pd.DataFrame,
    method: str,
    replicates: int = 400,
    level: float = 0.9,
    rng: np.random.Generator | None = None,
    response: str = "gold_reward",
    unit: str = "runs",
) -> Result:
    """Fits R(d) of one reward model.

    Args:
      frame: rows with `kl` in nats (or `n` for best-of-n, whose KL is known) and the response, the initial policy's subtracted; optionally
        `cluster` (policies of one training run, or what one prompt says of several n) and `<response>_error` (standard errors, which weigh the points).
      method: `best_of_n`, `rl` or `direct_alignment`.
      replicates: draws of the parameters, for bands.
      level: coverage of the intervals.
      rng: of the draws.
      response: the column of the reward; `win_rate` for direct alignment as Rafailov et al. fit it.
      unit: what the clusters are, for words and flags: "runs", or "prompts" of a single run.

    Returns:
      The law. `derived` holds the peak (`peak_distance`, `peak_reward`); the flags say where it lies beyond the data, or nowhere.

    Raises:
      TableError: columns are missing, an error is not positive or fewer than four points have left the initial policy.
    """
    return fit_points(points(frame, method, response), method, replicates, level, rng, unit)


def fit_points(
    table: Points,
    method: str,
    replicates: int = 400,
    level: float = 0.9,
    rng: np.random.Generator | None = None,
    unit: str = "runs",
) -> Result:
    """As :func:`fit`, of points that were read already."""
    rng = np.random.default_rng(0) if rng is None else rng
    form = FORMS[method]
    x_KxP = forms.basis(form, table.distance_K)
    # With one run there is nothing to compare it with: its points are taken as independent, and a flag says so.
    cluster_K = table.cluster_K if table.clusters > 1 else np.arange(len(table.distance_K))
    solved = clustered.fit(x_KxP, table.reward_K, table.weight_K, cluster_K)
    derived, beyond = _peak(form, solved, table.distance_K, level)
    method_in_words = f"t interval, CR2 over {solved.clusters} {unit if table.clusters > 1 else 'points'}"
    parameters = {
        name: Estimate(float(value), solved.interval(contrast_P, level), level, method_in_words)
        for name, value, contrast_P in zip(form.names, solved.theta_P, np.eye(2), strict=True)
    }
    certificate = _certificate(form, table, solved)
    return Result(
        name=form.name, form=form.equation, source=form.source, parameters=parameters, derived=derived,
        objective=float(table.weight_K @ solved.residual_K**2), objective_name="weighted sum of squared residuals", certificate=certificate,
        flags=(*certificate.objections, *_flags(table, unit), *beyond), run_ids=(), theta=solved.theta_P, replicates=solved.draws(replicates, rng),
        predictor=fitting.predictor_of(form), level=level,
        details={"residual": solved.residual_K, "form": form, "points": table, "fit": solved},
    )  # fmt: skip


def points(frame: pd.DataFrame, method: str, response: str = "gold_reward") -> Points:
    """The points of a table that have left the initial policy. Raises TableError as :func:`fit`."""
    if method not in FORMS:
        raise TableError(f"the method {method!r} has no over-optimisation law", f"choose one of {', '.join(FORMS)}")
    if response not in frame or not {"kl", "n"} & set(frame.columns):
        raise TableError(f"the table lacks {response}, or both kl and n", f"add the columns kl (nats) and {response}")
    kl_K = frame["kl"].to_numpy(np.float64) if "kl" in frame else forms.best_of_n_kl(frame["n"])
    moved = kl_K > 0
    if moved.sum() < _FEWEST:
        raise TableError(
            f"{int(moved.sum())} points have a KL above zero, and {_FEWEST} are needed", "measure more policies"
        )
    kept = frame[moved]
    name = f"{response}_error"
    error_K = kept[name].to_numpy(np.float64) if name in kept else np.full(len(kept), np.nan)
    if name in kept and not (error_K > 0).all():
        raise TableError(
            f"{name} is not positive in {int((~(error_K > 0)).sum())} of {len(kept)} rows",
            f"leave the column {name} out, or correct it",
        )
    weight_K = 1 / error_K**2 if name in kept else np.ones(len(kept))
    clusters = kept["cluster"] if "cluster" in kept else pd.Series(range(len(kept)))
    return Points(
        np.sqrt(kl_K[moved]),
        kept[response].to_numpy(np.float64),
        weight_K / weight_K.mean(),
        error_K,
        pd.factorize(clusters)[0].astype(np.int64),
    )


def _certificate(form: Direct, table: Points, solved: ClusteredFit) -> Certificate:
    """The solution of a linear problem is its only optimum; what remains to certify is how well the two columns are told apart."""
    x_KxV = np.log(table.distance_K)[:, None]
    condition = solve.condition_number(form, x_KxV, solved.theta_P, table.weight_K)
    x_KxP = forms.basis(form, table.distance_K)
    gradient_P = np.abs((table.weight_K * solved.residual_K) @ x_KxP)
    scale_P = np.abs(table.weight_K * table.reward_K) @ np.abs(x_KxP) + 1e-300
    return Certificate(
        starts=1, starts_at_best=1, distinct_optima=1, second_gap=None, gradient_relative=float(np.max(gradient_P / scale_P)), active_bounds=(),
        condition_number=condition, identifiability=solve.identifiability(condition),
    )  # fmt: skip


def _peak(
    form: Direct, solved: ClusteredFit, distance_K: FloatArray, level: float
) -> tuple[dict[str, Estimate], tuple[str, ...]]:
    """The peak with intervals, and what must be said of it."""
    distance, reward = (float(form.derived[name](solved.theta_P[None])[0]) for name in ("peak_distance", "peak_reward"))
    low, high = _where_the_slope_vanishes(form, solved, level)
    furthest = float(distance_K.max())
    if not np.isfinite(distance):
        flags = ("no peak: beta is not positive, so the fitted reward never turns",)
    elif distance > furthest:
        flags = (f"the peak at d = {distance:.3g} lies beyond the data (d up to {furthest:.3g}): it is extrapolated",)
    elif distance < float(distance_K.min()):
        flags = (f"the peak at d = {distance:.3g} lies before the first point (d = {distance_K.min():.3g})",)
    elif not np.isfinite(high):
        flags = ("the peak is not established: at this level a reward that never turns is not excluded",)
    else:
        flags = ()
    derived = {
        "peak_distance": Estimate(
            distance, (low, high), level, "Fieller: distances at which a slope of zero is not rejected"
        ),
        "peak_reward": _peak_reward(form, solved, distance_K, np.isfinite(high), reward, level),
    }
    return derived, flags


def _where_the_slope_vanishes(form: Direct, solved: ClusteredFit, level: float) -> tuple[float, float]:
    """All d at which R'(d) = alpha - beta·u(d) = 0 is not rejected (Fieller 1954): a profile of the peak, exact where theta is normal.

    u is increasing, so it is an interval of u; with no upper end where beta = 0 is not rejected either.
    """
    slope_P = np.array(
        [1.0, -forms.slope_argument(form, float(form.derived["peak_distance"](solved.theta_P[None])[0]))]
    )
    slope_P[1] = slope_P[1] if np.isfinite(slope_P[1]) else -1e3
    t = solved.quantile(slope_P, level)
    (alpha, beta), covariance = solved.theta_P, solved.covariance_PxP
    # (alpha - beta·u)^2 <= t^2 · variance, as a quadratic in u.
    a = beta**2 - t**2 * covariance[1, 1]
    b = -2 * (alpha * beta - t**2 * covariance[0, 1])
    c = alpha**2 - t**2 * covariance[0, 0]
    discriminant = b**2 - 4 * a * c
    if discriminant < 0 or (a <= 0 and alpha <= 0):
        return 0.0, np.inf
    roots = np.sort((-b + np.array([-1.0, 1.0]) * np.sqrt(discriminant)) / (2 * a))
    if a > 0:
        return forms.distance_of_slope_argument(form, roots[0]), forms.distance_of_slope_argument(form, roots[1])
    return forms.distance_of_slope_argument(form, roots[1]), np.inf


def _peak_reward(
    form: Direct, solved: ClusteredFit, distance_K: FloatArray, bounded: bool, reward: float, level: float
) -> Estimate:
    """By the delta method on ln R*; where no peak is established, at least what the curve reaches within the data."""
    if bounded and reward > 0:
        contrast_P = forms.log_peak_gradient(form, solved.theta_P)
        half = solved.quantile(contrast_P, level) * solved.error(contrast_P)
        return Estimate(reward, (reward * np.exp(-half), reward * np.exp(half)), level, "delta method on ln R*")
    x_KxP = forms.basis(form, np.linspace(distance_K.min(), distance_K.max(), 50))
    low = max(solved.interval(contrast_P, level)[0] for contrast_P in x_KxP)
    return Estimate(reward, (low, np.inf), level, "the least that the curve reaches within the data; no upper end")


def _flags(table: Points, unit: str) -> tuple[str, ...]:
    flags = []
    if unit == "prompts":
        flags.append(
            f"one run: intervals are over its {table.clusters} prompts, and what another policy or proxy of its kind would give is not in them"
        )
    elif table.clusters == 1:
        flags.append(
            "one run: its points are taken as independent, and what other seeds would give is not in the intervals"
        )
    elif table.clusters < 4:
        flags.append(f"{table.clusters} runs: intervals are wide, because so few say little of how runs differ")
    if len(table.distance_K) < 3 * 2:
        flags.append(f"{len(table.distance_K)} points for 2 parameters")
    return tuple(flags)
