"""The shape and the parts of a decoder-only transformer, as data.

Nothing here imports JAX: planners and cost tables read these classes too.
"""

import dataclasses
from typing import Literal

from scaling.errors import ConfigError

Norm = Literal["rmsnorm", "layernorm"]
NormPosition = Literal["pre", "post"]
Activation = Literal["swiglu", "geglu", "gelu"]
Positions = Literal["rope", "learned", "sinusoidal"]
Residual = Literal["serial", "parallel"]
Initialisation = Literal["gpt2", "llama", "neox"]


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """One decoder-only transformer; :mod:`scaling.models.ladder` derives whole families from a width.

    Attributes:
      family: the name under which runs of this architecture are fitted together.
      vocab_size: rows of the embedding; must equal the vocabulary of the token store.
      width: features of the residual stream (d_model).
      depth: number of layers.
      heads: query heads; `heads * head_dim` need not equal `width`, but does in every shipped ladder.
      kv_heads: key and value heads (grouped-query attention, Ainslie et al. 2023); must divide `heads`.
      head_dim: features of a head.
      mlp_dim: hidden features of the feed-forward block.
      max_length: longest sequence; the size of the table when `positions` is "learned".
      norm: RMSNorm (Zhang and Sennrich 2019) or LayerNorm (Ba et al. 2016).
      norm_position: before each sub-layer with a final norm, or after each residual sum (Xiong et al. 2020).
      activation: SwiGLU, GeGLU (Shazeer 2020) or GELU (tanh approximation, as GPT-2).
      positions: rotary (Su et al. 2021), a learned table, or fixed sinusoids (Vaswani et al. 2017).
      rope_theta: base of the rotary frequencies.
      rope_fraction: the fraction of each head that is rotated (GPT-NeoX: 0.25).
      residual: attention then feed-forward, or both from one input (GPT-J, GPT-NeoX).
      tied: whether the head is the transposed embedding.
      biases: whether projections and LayerNorms have biases.
      norm_epsilon: added to the variance inside norms.
      z_loss: weight of (log Z)^2 in the training loss (PaLM, section 5); 0 switches it off.
      initialisation: the paper whose initial scales are used; see :mod:`scaling.models.parameters`.

    Raises:
      ConfigError: a size is not positive or two sizes do not divide.
    """

    family: str
    vocab_size: int
    width: int
    depth: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_dim: int
    max_length: int = 2048
    norm: Norm = "rmsnorm"
    norm_position: NormPosition = "pre"
    activation: Activation = "swiglu"
    positions: Positions = "rope"
    rope_theta: float = 10_000.0
    rope_fraction: float = 1.0
    residual: Residual = "serial"
    tied: bool = False
    biases: bool = False
    norm_epsilon: float = 1e-5
    z_loss: float = 0.0
    initialisation: Initialisation = "llama"

    def __post_init__(self):
        for name in ("vocab_size", "width", "depth", "heads", "kv_heads", "head_dim", "mlp_dim", "max_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"TransformerConfig.{name} is {value!r}", "give a positive integer")
        if not 0 < self.rope_fraction <= 1:
            raise ConfigError(
                f"TransformerConfig.rope_fraction is {self.rope_fraction!r}",
                "give a fraction above 0 and at most 1; positions other than 'rope' rotate nothing",
            )
        if self.heads % self.kv_heads:
            raise ConfigError(
                f"TransformerConfig.heads ({self.heads}) is not a multiple of kv_heads ({self.kv_heads})",
                "choose kv_heads among the divisors of heads",
            )
        if self.norm_position == "post" and self.residual == "parallel":
            raise ConfigError(
                "TransformerConfig.residual 'parallel' is not defined for norm_position 'post'",
                "use norm_position 'pre'",
            )
        if self.positions == "rope" and self.rotary_dim < 2:
            raise ConfigError(
                f"TransformerConfig.rope_fraction {self.rope_fraction} of head_dim {self.head_dim} rotates nothing",
                "raise rope_fraction or head_dim",
            )
        if self.positions == "sinusoidal" and self.width % 2:
            raise ConfigError(
                f"TransformerConfig.width ({self.width}) is odd", "sinusoidal positions need an even width"
            )

    @property
    def rotary_dim(self) -> int:
        """Features of a head that are rotated: an even number."""
        return 2 * int(self.head_dim * self.rope_fraction / 2)

    @property
    def gated(self) -> bool:
        """Whether the feed-forward block has a gate projection."""
        return self.activation in ("swiglu", "geglu")
