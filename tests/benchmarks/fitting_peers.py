"""Published packages, for fitting_speed.py: `chinchilla` and `simple-scaling-laws`. Run by an interpreter that has both.

Both are asked for the form E + A/N^alpha + B/D^beta on the same 240 rows. `chinchilla` minimises by BFGS from a grid of starts; its Huber loss of
logarithms has delta 1 by default, so delta = 1e-3 is given by hand. `simple-scaling-laws` minimises squared errors of the loss itself
and draws from a wild bootstrap, so its optimum is another one.
"""

import functools
import importlib.metadata
import itertools
import json
import sys
import tempfile
import types

import numpy as np

from tests.benchmarks import epoch_table, stopwatch


def main(table: str, package: str, **request: int) -> dict:
    """Runs one package."""
    data = epoch_table.read(table)
    run = {"chinchilla": fit_by_chinchilla, "simple-scaling-laws": fit_by_simple_scaling_laws}[package]
    return {"version": importlib.metadata.version(package)} | run(data, **request)


def fit_by_chinchilla(data: epoch_table.Table, every: int) -> dict:
    """Each `every`-th of its grid of starts in one process, without its plots; time scaled to the whole grid."""
    from chinchilla import Chinchilla, core
    from chinchilla._metrics import log_huber

    loss = functools.partial(log_huber, delta=epoch_table.DELTA)
    with tempfile.TemporaryDirectory() as directory:
        fitter = Chinchilla(directory, param_grid=epoch_table.GRID, loss_fn=loss, log_level=40)
        for params, tokens, nats in zip(data.params, data.tokens, data.loss, strict=True):
            fitter.append(N=params, D=tokens, loss=nats)
        # The package takes the product of the axes by itself; this gives it a part of the product.
        core.itertools = types.SimpleNamespace(product=lambda *axes: list(itertools.product(*axes))[::every])
        fitter.visualizer.optim = lambda *unused, **unused_too: None
        with stopwatch.lap() as fitting:
            fitter.fit(parallel=False)
    found = fitter.get_params()
    count = len(epoch_table.starts(every))
    return {"fit": fitting.as_dict(epoch_table.STARTS / count), "starts": count, "theta": _theta(found)}


def fit_by_simple_scaling_laws(data: epoch_table.Table, draws: int) -> dict:
    """A fit with its draws."""
    import polars
    import simple_scaling_laws

    frame = polars.DataFrame(
        {
            "training_run_id": [f"run {index}" for index in range(len(data.loss))],
            "model_size__params": data.params,
            "dataset_size__tokens": data.tokens,
            "test_loss__nats": data.loss,
        }
    )
    with stopwatch.lap() as fitting:
        model = simple_scaling_laws.fit(frame, law="separable-power", n_draws=draws, seed=0)
    found = model.params("test_loss__nats")
    # Its amplitudes are those of sizes divided by a reference.
    for amplitude, exponent, column in (("A", "alpha", "model_size__params"), ("B", "beta", "dataset_size__tokens")):
        found[amplitude] *= model.observed_domain[column]["reference"] ** found[exponent]
    return {"fit": fitting.as_dict(), "theta": _theta(found)}


def _theta(found: dict[str, float]) -> list[float]:
    """In the order of epoch_table.GRID."""
    return [
        float(np.log(found["E"])),
        float(np.log(found["A"])),
        float(np.log(found["B"])),
        found["alpha"],
        found["beta"],
    ]


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
