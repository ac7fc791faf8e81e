"""The loss along the compute-optimal frontier: L_opt(C) = E + A/C^gamma, which Chinchilla's L(N, D) implies (eq. 4)."""

import numpy as np

from analysis.laws.forms.form import LogSum, exponent

_SOURCE = "Hoffmann et al. 2022 (arXiv:2203.15556), eq. 4"

WITH_FLOOR = LogSum(
    name="frontier",
    equation="L_opt = E + A/C^gamma",
    source=_SOURCE,
    variables=("flops",),
    coefficients=("log A", "log E"),
    shape=(exponent("gamma"),),
    terms=lambda shape, x, xp: (-shape[0] * x[0], 0.0),
    natural={
        "A": lambda theta: np.exp(theta[:, 0]),
        "E": lambda theta: np.exp(theta[:, 1]),
        "gamma": lambda theta: theta[:, 2],
    },
)
WITHOUT_FLOOR = LogSum(
    name="frontier_without_floor",
    equation="L_opt = A/C^gamma",
    source=_SOURCE + ", without E",
    variables=("flops",),
    coefficients=("log A",),
    shape=(exponent("gamma"),),
    terms=lambda shape, x, xp: (-shape[0] * x[0],),
    natural={"A": lambda theta: np.exp(theta[:, 0]), "gamma": lambda theta: theta[:, 1]},
)
