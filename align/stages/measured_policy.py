"""The part that measures a policy inside a stage: a meter, or none where no prompts are configured."""

from collections.abc import Callable, Mapping
from typing import Any

from align.models.parents import Parent
from align.models.policy import Policy
from align.stage_config import TrainingConfig
from align.training import policy_meter
from align.training.policy_meter import SAMPLES_FILE, MeterConfig, PolicyMeter, Samples
from align.training.stage_directory import StageDirectory
from scaling.run_directory import write_json

# The reference's samples, of the last few references that this process measured: all runs of a study begin with the same ones.
_OF_REFERENCE: dict[tuple, Samples] = {}
_REFERENCES_KEPT = 4


class MeasuredPolicy:
    """Measures, and remembers samples so that they are not drawn twice."""

    def __init__(self, config: MeterConfig, parent: Parent, policy: Policy, training: TrainingConfig):
        """Opens the meter where there is anything to measure."""
        self._meter = PolicyMeter(config, parent, policy, training) if config.prompts else None
        self.gold_name = config.gold.name if config.gold else None
        by_content = (*policy_meter.data_of(config).values(), *policy_meter.parents_of(config).values())
        self._reference_key = (config, by_content, parent.identity, training.compute_dtype, training.execution)
        self._last: Samples | None = None

    def measure(
        self,
        parameters: Mapping[str, Any],
        reference: Mapping[str, Any],
        step: int,
        stop_if_asked: Callable[[], None],
    ) -> dict[str, Any]:
        """A row of measurements under the key "policy", or nothing; at step 0 the policy is the reference."""
        if self._meter is None:
            return {}
        if step == 0:
            self._last = self._of_reference(reference, stop_if_asked)
        else:
            self._last = self._meter.sample(parameters, reference, stop_if_asked)
        return {"policy": self._meter.row(self._last)}

    def write_samples(
        self, parameters: Mapping[str, Any], reference: Mapping[str, Any], directory: StageDirectory
    ) -> None:
        """Writes scores by prompt of the final policy and of its reference, which drew with the same keys.

        What this process has not drawn is drawn again: the final policy's samples where it was continued after the last measurement, the reference's where it
        did not begin at step 0.
        """
        if self._meter is None:
            return
        final = self._last or self._meter.sample(parameters, reference, lambda: None)
        first = self._of_reference(reference, lambda: None)
        content = {"policy": self._meter.by_prompt(final), "reference": self._meter.by_prompt(first)}
        write_json(directory.path / SAMPLES_FILE, content)

    def _of_reference(self, reference: Mapping[str, Any], stop_if_asked: Callable[[], None]) -> Samples:
        if self._reference_key not in _OF_REFERENCE:
            found = self._meter.sample(reference, reference, stop_if_asked)
            while len(_OF_REFERENCE) >= _REFERENCES_KEPT:
                del _OF_REFERENCE[next(iter(_OF_REFERENCE))]
            _OF_REFERENCE[self._reference_key] = found
        return _OF_REFERENCE[self._reference_key]
