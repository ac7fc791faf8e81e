"""Kaplan's laws (Kaplan et al. 2020, arXiv:2001.08361): powers of one variable, L(N, D) and L(N, S_min).

His N is non-embedding parameters, his C is 6·N·B·S with that N, and losses are nats per token.
"""

import functools

import numpy as np

from analysis.laws.forms.form import LogSum, exponent, outer_exponent

LETTERS = {"params": "N", "tokens": "D", "flops": "C", "minimum_flops": "C_min"}
_CITATIONS = {
    "params": "eq. 1.1",
    "tokens": "eq. 1.2",
    "flops": "at the batch size used, not C_min (figure 1)",
    "minimum_flops": "eq. 1.3",
}


@functools.cache
def power(column: str, floor: bool = False) -> LogSum:
    """L(X) = (X_c/X)^alpha_X, or E + (X_c/X)^alpha_X with a floor (then no longer Kaplan's own form).

    Args:
      column: a key of :data:`LETTERS`.
      floor: whether an irreducible loss is added.
    """
    letter = LETTERS[column]
    shape_at = 2 if floor else 1
    natural = {
        f"alpha_{letter}": lambda theta: theta[:, shape_at],
        # Only ln X_c keeps in range when alpha is small.
        f"log_{letter}_c": lambda theta: theta[:, 0] / theta[:, shape_at],
    }
    if floor:
        natural["E"] = lambda theta: np.exp(theta[:, 1])
    return LogSum(
        name=f"kaplan_{letter.lower()}{'_offset' if floor else ''}",
        equation=f"L({letter}) = {'E + ' if floor else ''}({letter}_c/{letter})^alpha_{letter}",
        source=f"Kaplan et al. 2020 (arXiv:2001.08361), {_CITATIONS[column]}"
        + (", with an irreducible loss added" if floor else ""),
        variables=(column,),
        coefficients=("a", "log E") if floor else ("a",),
        shape=(exponent("alpha"),),
        terms=lambda shape, x, xp: (-shape[0] * x[0], 0.0)[: 1 + floor],
        natural=natural,
    )


def _nd_terms(shape, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    return -shape[0] * x[0], -x[1]


ND = LogSum(
    name="kaplan_nd",
    equation="L(N, D) = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D",
    source="Kaplan et al. 2020 (arXiv:2001.08361), eq. 1.5",
    variables=("params", "tokens"),
    coefficients=("a", "log D_c"),
    shape=(exponent("alpha_N/alpha_D"), outer_exponent("alpha_D")),
    terms=_nd_terms,
    outer=True,
    natural={
        "alpha_N": lambda theta: theta[:, 2] * theta[:, 3],
        "alpha_D": lambda theta: theta[:, 3],
        "log_N_c": lambda theta: theta[:, 0] / theta[:, 2],
        "log_D_c": lambda theta: theta[:, 1],
    },
)


def _ns_terms(shape, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    return -shape[0] * x[0], -shape[1] * x[1]


NS = LogSum(
    name="kaplan_ns",
    equation="L(N, S_min) = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S",
    source="Kaplan et al. 2020 (arXiv:2001.08361), eq. 1.6",
    variables=("params", "minimum_steps"),
    coefficients=("a", "b"),
    shape=(exponent("alpha_N"), exponent("alpha_S")),
    terms=_ns_terms,
    natural={
        "alpha_N": lambda theta: theta[:, 2],
        "alpha_S": lambda theta: theta[:, 3],
        "log_N_c": lambda theta: theta[:, 0] / theta[:, 2],
        "log_S_c": lambda theta: theta[:, 1] / theta[:, 3],
    },
)
