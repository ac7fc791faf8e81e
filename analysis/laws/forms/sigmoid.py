"""From loss to a downstream accuracy: a sigmoid, fitted by binomial likelihood and chained behind a law of the loss.

    accuracy = chance + (ceiling − chance) · sigmoid(−k·(L − L_0))

The two-step prediction of downstream tasks (Llama 3, arXiv:2407.21783, section 3.2.1; OLMo's model ladder, Bhagia et al. 2024,
arXiv:2412.04403, eq. 3): first L(N, D), then this. The response is the logit of the accuracy, so that the objective is the
likelihood of the questions that were answered, and not a distance between accuracies.
"""

import numpy as np

from analysis.laws.forms.form import Direct, Parameter

_TINY = 1e-9


def accuracy(theta, loss, xp):  # noqa: ANN001, ANN201 - numbers of either library
    """The accuracy at a loss in nats per token; theta as in :data:`FORM`, all of which broadcasts."""
    slope, middle, chance, ceiling = theta
    # 1/(1 + e^z) without overflow.
    z = slope * (loss - middle)
    return chance + (ceiling - chance) * 0.5 * (1.0 - xp.tanh(0.5 * z))


def _logit(theta, x, xp):  # noqa: ANN001, ANN202 - numbers of either library
    chance = xp.clip(accuracy(theta, xp.exp(x[0]), xp), _TINY, 1.0 - _TINY)
    return xp.log(chance) - xp.log1p(-chance)


FORM = Direct(
    name="sigmoid_of_loss",
    equation="accuracy = chance + (ceiling - chance) / (1 + exp(k·(L - L_0)))",
    source="Bhagia et al. 2024 (arXiv:2412.04403), eq. 3; binomial likelihood",
    variables=("loss",),
    parameters=(
        Parameter("k", 0.05, 100.0, 0.3, 20.0),
        Parameter("L_0", 0.05, 20.0, 0.5, 6.0),
        Parameter("chance", 0.0, 0.9, 0.01, 0.5, logarithmic=False),
        Parameter("ceiling", 0.1, 1.0, 0.5, 1.0, logarithmic=False),
    ),
    response=_logit,
    natural={name: (lambda theta, i=i: theta[:, i]) for i, name in enumerate(("k", "L_0", "chance", "ceiling"))},
    derived={"steepest_slope": lambda theta: -theta[:, 0] * (theta[:, 3] - theta[:, 2]) / 4},
)


def predict(theta_RxP: np.ndarray, log_loss_RxQ: np.ndarray) -> np.ndarray:
    """Accuracy of every replicate at every loss, float64[R, Q]: the chain of a loss law and this one."""
    return accuracy(tuple(column[:, None] for column in theta_RxP.T), np.exp(log_loss_RxQ), np)
