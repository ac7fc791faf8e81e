"""The over-training law: L(C, M) = E + (a·M^eta + b·M^−eta)·C^−eta with M = D/N (Gadre et al. 2024, arXiv:2403.08540, eq. 4).

It is Chinchilla's law with alpha = beta = 2·eta: along a ray of constant D/N the loss falls as one power of compute, whatever
the ratio. C is 6·N·D.
"""

import numpy as np

from analysis.laws.forms.form import LogSum, Parameter

_LOG_SIX = float(np.log(6.0))


def _terms(shape, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    (eta,) = shape
    log_n, log_d = x
    ratio, product = log_d - log_n, log_n + log_d
    return eta * (ratio - product), -eta * (ratio + product), 0.0


FORM = LogSum(
    name="over_training",
    equation="L(C, M) = E + (a·M^eta + b·M^-eta)·C^-eta, M = D/N, C = 6·N·D",
    source="Gadre et al. 2024 (arXiv:2403.08540), eq. 4",
    variables=("params", "tokens"),
    coefficients=("log a", "log b", "log E"),
    shape=(Parameter("eta", 0.01, 2.0, 0.02, 1.25),),
    terms=_terms,
    natural={
        "a": lambda theta: np.exp(theta[:, 0] + theta[:, 3] * _LOG_SIX),
        "b": lambda theta: np.exp(theta[:, 1] + theta[:, 3] * _LOG_SIX),
        "E": lambda theta: np.exp(theta[:, 2]),
        "eta": lambda theta: theta[:, 3],
    },
    # The best M at any compute: d/dM of a·M^eta + b·M^-eta vanishes.
    derived={"M_opt": lambda theta: np.exp((theta[:, 1] - theta[:, 0]) / (2 * theta[:, 3]))},
)
