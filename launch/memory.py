"""How much device memory a run needs, from its configuration alone; `scaling.cost` compiles the step and knows better."""

from scaling.accounting import parameters
from scaling.models.config import TransformerConfig
from scaling.run_config import RunConfig

_FLOAT32_BYTES = 4

# Values per feature and token that a layer keeps for its backward pass. `scaling.cost` reports 41, 41 and 37 for LLaMA-like models of width 64, 256
# and 512 on XLA's CPU backend; where every operation is fused it is 17 (Korthikanti et al. 2022, equation 1: 34 bytes, two a value).
_VALUES_PER_FEATURE = 40

# Logits, their softmax and its gradient live at once, in float32.
_LOGIT_COPIES = 3


def run_bytes(config: RunConfig) -> float:
    """Peak bytes of one device: weights, gradients and the optimiser's moments exactly, activations as measured.

    A mesh shares weights over `fsdp` and `tensor`, and tokens over `data` and `fsdp`; a `data` of -1 counts as 1, one device.
    """
    execution = config.execution
    data = max(1, execution.data)
    copies = 4 if config.optimizer.name == "adamw" else 2
    weights = copies * _FLOAT32_BYTES * parameters.count_parameters(config.model).total
    tokens = config.batch_tokens / execution.accumulation
    value_bytes = 2 if config.compute_dtype == "bfloat16" else _FLOAT32_BYTES
    per_token = _activations_per_token(config.model, execution.remat) * value_bytes
    per_token += _LOGIT_COPIES * config.model.vocab_size * _FLOAT32_BYTES
    return weights / (execution.fsdp * execution.tensor) + tokens * per_token / (
        data * execution.fsdp * execution.tensor
    )


def _activations_per_token(model: TransformerConfig, remat: str) -> float:
    """Values per token that stay for the backward pass. Attention is computed in blocks, so no square of the length is kept."""
    if remat == "full":
        # The inputs of every layer, and one layer at a time in full.
        return model.width * (model.depth + _VALUES_PER_FEATURE)
    return model.width * model.depth * _VALUES_PER_FEATURE
