"""Loss along training as approach 1 reads it: smoothed, and interpolated over compute."""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import ndimage

FloatArray = npt.NDArray[np.float64]

SMOOTHING_STEPS = 10.0


@dataclasses.dataclass(frozen=True)
class TrainingCurve:
    """One run's loss over compute, or a size's finished runs in order of compute.

    Attributes:
      log_params: ln N.
      log_flops: ln C, ascending, float64[T].
      log_tokens: ln D, float64[T].
      log_loss: ln L, float64[T].
    """

    log_params: float
    log_flops: FloatArray
    log_tokens: FloatArray
    log_loss: FloatArray

    def loss_at(self, log_flops_Q: FloatArray) -> FloatArray:
        """ln L at computes, straight between points in ln C; infinite where the run has not begun or has ended."""
        return np.interp(log_flops_Q, self.log_flops, self.log_loss, left=np.inf, right=np.inf)

    def tokens_at(self, log_flops_Q: FloatArray) -> FloatArray:
        """ln D at computes."""
        return np.interp(log_flops_Q, self.log_flops, self.log_tokens)


def smoothed(steps_T: npt.NDArray[np.int64], loss_T: FloatArray, deviation: float = SMOOTHING_STEPS) -> FloatArray:
    """A running Gaussian average over training steps, float64[T].

    Steps that were not logged count for nothing, and neither do those before the first or after the last.

    Args:
      steps_T: strictly ascending integers.
      loss_T: the loss logged there.
      deviation: of the Gaussian, in steps; Hoffmann et al. use 10.
    """
    at_T = np.asarray(steps_T) - steps_T[0]
    value, weight = np.zeros(at_T[-1] + 1), np.zeros(at_T[-1] + 1)
    value[at_T], weight[at_T] = loss_T, 1.0
    sums, counts = (ndimage.gaussian_filter1d(x, deviation, mode="constant") for x in (value, weight))
    return sums[at_T] / counts[at_T]


def of_run(
    params: float,
    flops_per_token: float,
    steps_T: npt.NDArray[np.int64],
    tokens_T: FloatArray,
    loss_T: FloatArray,
    deviation: float = SMOOTHING_STEPS,
) -> TrainingCurve:
    """The curve of a run from its log, as Hoffmann et al. 2022 (arXiv:2203.15556), section 3.1, prepare it.

    Args:
      params: N.
      flops_per_token: C/D under the convention in use.
      steps_T: strictly ascending training steps.
      tokens_T: tokens seen by each, positive.
      loss_T: training loss in nats per token.
      deviation: of the smoothing, in steps.

    Raises:
      ValueError: steps do not ascend, or a number is not positive.
    """
    if len(steps_T) < 2 or np.any(np.diff(steps_T) <= 0):
        raise ValueError("a training curve needs at least two steps in ascending order")
    if min(params, flops_per_token, np.min(tokens_T), np.min(loss_T)) <= 0:
        raise ValueError("parameters, FLOPs per token, tokens and losses must be positive")
    log_tokens = np.log(tokens_T)
    log_loss = np.log(smoothed(steps_T, loss_T, deviation))
    return TrainingCurve(float(np.log(params)), log_tokens + np.log(flops_per_token), log_tokens, log_loss)
