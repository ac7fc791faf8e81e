"""The part that measures a policy inside a stage: a meter, or none where no prompts are configured."""

from collections.abc import Callable, Mapping
from typing import Any

from align.models.parents import Parent
from align.models.policy import Policy
from align.stage_config import TrainingConfig
from align.training.policy_meter import SAMPLES_FILE, MeterConfig, PolicyMeter, Samples
from align.training.stage_directory import StageDirectory


class MeasuredPolicy:
    """Measures, and remembers the last samples so that they are not drawn twice at the end."""

    def __init__(self, config: MeterConfig, parent: Parent, policy: Policy, training: TrainingConfig):
        """Opens the meter where there is anything to measure."""
        self._meter = PolicyMeter(config, parent, policy, training) if config.prompts else None
        self.gold_name = config.gold.name if config.gold else None
        self._last: Samples | None = None

    def measure(
        self, parameters: Mapping[str, Any], reference: Mapping[str, Any], stop_if_asked: Callable[[], None]
    ) -> dict[str, Any]:
        """A row of measurements under the key "policy", or nothing."""
        if self._meter is None:
            return {}
        self._last = self._meter.sample(parameters, reference, stop_if_asked)
        return {"policy": self._meter.row(self._last)}

    def write_samples(
        self, parameters: Mapping[str, Any], reference: Mapping[str, Any], directory: StageDirectory
    ) -> None:
        """Writes the final policy's scores by prompt; they are drawn again where the stage was continued after its last measurement."""
        if self._meter is None:
            return
        samples = self._last or self._meter.sample(parameters, reference, lambda: None)
        self._meter.write_samples(samples, directory.path / SAMPLES_FILE)
