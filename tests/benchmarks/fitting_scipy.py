"""The published recipe in plain scipy, for fitting_speed.py: Besiroglu et al. 2024 (arXiv:2404.10102).

The fit is L-BFGS-B from Hoffmann et al.'s 4,500 starts with finite differences and default tolerances. The bootstrap is BFGS from
Hoffmann et al.'s estimate with the gradient in closed form (finite differences take about three times as long). A part of either may
be run (`every`, `replicates`), and its time is scaled to the whole.
"""

import json
import sys

import numpy as np
from scipy import optimize

from tests.benchmarks import epoch_table, stopwatch

# A start whose end is this close to the optimum, relative to it, has reached it.
AT_OPTIMUM = 1e-4


class Objective:
    """sum-Huber of log residuals, with the logarithms of the table taken once."""

    def __init__(self, table: epoch_table.Table, w_K: np.ndarray):
        self._log_n, self._log_d, self._log_loss = np.log(table.params), np.log(table.tokens), np.log(table.loss)
        self._w_K = w_K

    def value(self, theta: np.ndarray) -> float:
        """The objective alone, for finite differences."""
        return self._parts(theta)[0]

    def with_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The objective and its gradient."""
        value, slope_K, log_terms, log_sum = self._parts(theta)
        by_n, by_d = (slope_K * np.exp(term - log_sum) for term in log_terms)
        by_e = slope_K * np.exp(theta[0] - log_sum)
        return value, np.array([by_e.sum(), by_n.sum(), by_d.sum(), -by_n @ self._log_n, -by_d @ self._log_d])

    def _parts(self, theta: np.ndarray) -> tuple:
        log_e, log_a, log_b, alpha, beta = theta
        log_terms = log_a - alpha * self._log_n, log_b - beta * self._log_d
        log_sum = np.logaddexp(np.logaddexp(*log_terms), log_e)
        residual = log_sum - self._log_loss
        clipped = np.clip(residual, -epoch_table.DELTA, epoch_table.DELTA)
        return float(self._w_K @ (clipped * (residual - 0.5 * clipped))), self._w_K * clipped, log_terms, log_sum


def main(table: str, every: int, replicates: int, replicates_of: int) -> dict:
    """Each `every`-th start, and the first `replicates` of `replicates_of` resamplings."""
    data = epoch_table.read(table)
    starts = epoch_table.starts(every)
    objective = Objective(data, np.ones(len(data.loss)))
    with stopwatch.lap() as fitting:
        ends = [optimize.minimize(objective.value, start, method="L-BFGS-B") for start in starts]
    values = np.array([end.fun for end in ends])
    weights = epoch_table.replicate_weights(len(data.loss), replicates)
    with stopwatch.lap() as refitting:
        refits = [
            optimize.minimize(Objective(data, w_K).with_gradient, epoch_table.HOFFMANN, jac=True, method="BFGS")
            for w_K in weights
        ]
    return {
        "fit": fitting.as_dict(epoch_table.STARTS / len(starts)),
        "starts": len(starts),
        "starts_at_best": int(np.sum(values <= epoch_table.OPTIMUM * (1 + AT_OPTIMUM))),
        "succeeded": int(sum(end.success for end in ends)),
        "theta": ends[int(np.argmin(values))].x.tolist(),
        "bootstrap": refitting.as_dict(replicates_of / replicates),
        "thetas": [end.x.tolist() for end in refits],
    }


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
