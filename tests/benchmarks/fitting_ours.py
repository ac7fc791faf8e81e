"""Our side of fitting_speed.py: one fresh process, which prints its laps as JSON. Started by fitting_speed with a request in JSON."""

import json
import sys

from tests.benchmarks import epoch_table, stopwatch

with stopwatch.lap() as importing:
    import numpy as np

    from analysis.laws.fitting import objectives, solve
    from analysis.laws.forms import chinchilla
    from analysis.laws.intervals import bootstrap

# From theta of the form to the order of epoch_table.GRID.
_ORDER = [chinchilla.E, chinchilla.A, chinchilla.B, chinchilla.ALPHA, chinchilla.BETA]


def main(table: str, repeats: int, replicates: int, compared: int) -> dict:
    """Imports, fits `repeats` + 1 times, refits `replicates` resamplings; parameters of the first `compared` come back."""
    data = epoch_table.read(table)
    x_KxV, y_K = np.log(np.stack([data.params, data.tokens], axis=1)), np.log(data.loss)
    centre_V, w_K = x_KxV.mean(axis=0), np.ones(len(y_K))
    job = (chinchilla.FORM, x_KxV - centre_V, y_K, w_K)
    laps = []
    for _ in range(1 + repeats):
        with stopwatch.lap() as taken:
            optimum = solve.solve(*job, objectives.HUBER)
        laps.append(taken.as_dict())

    def uncentred(theta_RxP: np.ndarray) -> list:
        return chinchilla.FORM.uncentred(theta_RxP, centre_V)[:, _ORDER].tolist()

    certificate = optimum.certificate
    answer = {
        "importing": importing.as_dict(),
        "fits": laps,
        "theta": uncentred(optimum.theta[None])[0],
        "starts": certificate.starts,
        "starts_at_best": certificate.starts_at_best,
    }
    if replicates:
        draws = bootstrap.Draws(np.zeros((replicates, len(y_K))), epoch_table.replicate_weights(len(y_K), replicates))
        with stopwatch.lap() as refitting:
            refits = bootstrap.refit(*job, optimum, draws, objectives.HUBER)
        answer |= {
            "bootstrap": refitting.as_dict(),
            "rejected": refits.rejected,
            "thetas": uncentred(refits.theta[:compared]),
        }
    return answer | {"whole_process": stopwatch.cpu_seconds()}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
