"""The critical batch size, and what it makes of L(C_min) and L(N, S_min), on runs made from Kaplan's own constants."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws import critical_batch
from analysis.laws.fitting import fit as fitting
from analysis.laws.forms import kaplan
from analysis.laws.result import NotFitted
from analysis.laws.tables import sources, table

# Kaplan et al. 2020, table 3 and eq. 1.4.
ALPHA_N, ALPHA_S, N_C, S_C, B_STAR, ALPHA_B = 0.077, 0.76, 6.5e13, 2.1e3, 2.1e8, 0.21


BATCHES = 2.0 ** np.arange(14, 24)


def runs(batches=BATCHES):
    """Readings of three sizes at several batch sizes: S = S_min·(1 + B_crit/B) steps for every S_min."""
    rows = []
    for params in (1e7, 1e8, 1e9):
        for batch in batches:
            minimum = np.geomspace(3e3, 3e5, 12)
            loss = (N_C / params) ** ALPHA_N + (S_C / minimum) ** ALPHA_S
            steps = minimum * (1 + B_STAR / loss ** (1 / ALPHA_B) / batch)
            rows.append(
                pd.DataFrame(
                    {"params": params, "batch_tokens": batch, "tokens": steps * batch, "loss": loss, "least": minimum}
                )
            )
    return pd.concat(rows, ignore_index=True)


def test_kaplans_constants_return():
    """B* and alpha_B within 1% (the readings are interpolated between token counts), every iso-loss curve a hyperbola."""
    found = critical_batch.fit(runs())
    assert found.parameters["B_star"].value == pytest.approx(B_STAR, rel=0.01)
    assert found.parameters["alpha_B"].value == pytest.approx(ALPHA_B, rel=0.01)
    assert max(curve.misfit for curve in found.details["curves"]) < 1e-3


@pytest.mark.slow
def test_corrected_runs_give_the_law_of_size_and_least_steps():
    """From S to S_min by the fitted B_crit, then L(N, S_min): the exponents that made the data."""
    frame = runs()
    law = critical_batch.fit(frame)
    corrected = critical_batch.corrected(table.build(sources.from_frame(frame)), law)
    np.testing.assert_allclose(corrected.frame["minimum_steps"], frame["least"], rtol=0.01)
    found = {name: item.value for name, item in fitting.fit(kaplan.NS, corrected).parameters.items()}
    assert found["alpha_N"] == pytest.approx(ALPHA_N, rel=0.02) and found["alpha_S"] == pytest.approx(ALPHA_S, rel=0.02)
    # C_min = 6·N·B·S at a batch far below the critical one.
    spent = 6 * frame["params"] * frame["tokens"]
    critical = B_STAR / frame["loss"] ** (1 / ALPHA_B)
    np.testing.assert_allclose(
        corrected.frame["minimum_flops"], spent / (1 + frame["batch_tokens"] / critical), rtol=0.01
    )


def test_one_batch_size_is_refused_with_what_is_missing():
    found = critical_batch.fit(runs(batches=np.array([2.0**16])))
    assert isinstance(found, NotFitted) and "3 batch sizes" in found.reason


def test_runs_without_a_batch_size_are_refused():
    found = critical_batch.fit(runs().drop(columns="batch_tokens"))
    assert isinstance(found, NotFitted) and "batch_tokens" in found.reason
