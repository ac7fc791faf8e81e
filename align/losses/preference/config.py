"""The choice of a preference loss, as data: what a Gin file binds. Nothing here imports JAX."""

import dataclasses
import math
from typing import Any, Literal

from align.losses.preference.options import LOSSES
from scaling.errors import ConfigError

FDivergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]
AlphaConvention = Literal["wang", "cressie_read"]
NllReduction = Literal["sum", "mean", "tokens"]


@dataclasses.dataclass(frozen=True)
class PreferenceConfig:
    """A loss of preference pairs and its options; an option that is None has the loss's published default (`options.LOSSES`).

    Attributes:
      loss: a name of `options.LOSSES`.
      beta: strength of the tie to the reference (IPO's tau; ORPO's lambda; the scale of SimPO's and CPO's rewards).
      label_smoothing: probability that a label is wrong.
      f_divergence: what replaces KL(pi || ref) as the tie (Wang et al. 2023, arXiv:2309.16240); scores are f'(pi / ref).
      alpha: of `f_divergence` "alpha".
      alpha_convention: "wang": f'(u) = (1 - u^-alpha) / alpha, reverse KL at 0 and forward KL at 1; "cressie_read": f'(u) = (u^(alpha - 1) - 1) / (alpha - 1),
        as TRL has it, which is Wang's with 1 - alpha.
      ld_alpha: weight of the log-probabilities of tokens beyond the length of the shorter completion (LD-DPO); 1 counts them in full.
      wpo: WPO's weights (Zhou et al. 2024, arXiv:2406.11827): "none", "plain" (geometric mean of the probabilities of a completion's tokens) or "aligned"
        (these divided by `Completions.log_alignment`).
      reduction: of IPO: log-ratios as "sum" (the paper) or "mean" over tokens (TRL).
      desirable_weight: KTO's lambda_D.
      undesirable_weight: KTO's lambda_U.
      temperature: DiscoPOP's tau.
      gamma: SimPO's target margin, in units of the scaled rewards.
      nll_weight: weight of the chosen completion's negative log-likelihood.
      nll_reduction: that likelihood's "sum" over tokens, "mean" over the completion's tokens, or "tokens": divided so that the mean over pairs is the mean
        over the chosen tokens of the whole batch (TRL).
      unlikelihood_weight: weight of the rejected completion's log-likelihood (the DPO paper's alpha, between 0 and 1).
    """

    loss: str = "sigmoid"
    beta: float = 0.1
    label_smoothing: float | None = None
    f_divergence: FDivergence | None = None
    alpha: float | None = None
    alpha_convention: AlphaConvention | None = None
    ld_alpha: float | None = None
    wpo: Literal["none", "plain", "aligned"] | None = None
    reduction: Literal["sum", "mean"] | None = None
    desirable_weight: float | None = None
    undesirable_weight: float | None = None
    temperature: float | None = None
    gamma: float | None = None
    nll_weight: float | None = None
    nll_reduction: NllReduction | None = None
    unlikelihood_weight: float | None = None

    def __post_init__(self):
        if self.loss not in LOSSES:
            raise ConfigError(f"PreferenceConfig.loss is {self.loss!r}", f"choose one of {', '.join(sorted(LOSSES))}")
        _check_number("beta", self.beta, 0, math.inf, open_below=True)
        for name in given(self):
            if name not in LOSSES[self.loss].options:
                raise ConfigError(
                    f"PreferenceConfig.{name} is set, and the loss {self.loss!r} has no such option",
                    f"leave it out, or choose a loss that has it: {', '.join(_losses_with(name))}",
                )
            _check_option(name, getattr(self, name))
        _check_combination(self)

    def option(self, name: str) -> Any:
        """The value of an option: as given, or the published default."""
        value = getattr(self, name)
        return LOSSES[self.loss].options[name] if value is None else value


@dataclasses.dataclass(frozen=True)
class PreferenceMixture:
    """A weighted sum of losses; implicit rewards are those of the first.

    Attributes:
      terms: the losses.
      weights: one for each.
    """

    terms: tuple[PreferenceConfig, ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        if not self.terms or len(self.terms) != len(self.weights):
            raise ConfigError(
                f"PreferenceMixture has {len(self.terms)} terms and {len(self.weights)} weights",
                "give one weight for each of its terms",
            )
        for weight in self.weights:
            _check_number("weights", weight, 0, math.inf, owner="PreferenceMixture")


def mpo(beta: float = 0.1) -> PreferenceMixture:
    """Mixed preference optimisation: 0.8 DPO + 0.2 BCO + 1 NLL of the chosen (Wang et al. 2024, arXiv:2411.10442)."""
    nll = PreferenceConfig("preferred_ft", nll_reduction="mean")
    return PreferenceMixture((PreferenceConfig("sigmoid", beta), PreferenceConfig("bco", beta), nll), (0.8, 0.2, 1.0))


def rpo(beta: float = 0.1, nll_weight: float = 1.0) -> PreferenceMixture:
    """DPO + alpha NLL of the chosen by its length (Pang et al. 2024, Iterative reasoning preference optimization, arXiv:2404.19733)."""
    nll = PreferenceConfig("preferred_ft", nll_reduction="mean")
    return PreferenceMixture((PreferenceConfig("sigmoid", beta), nll), (1.0, nll_weight))


def given(config: PreferenceConfig) -> list[str]:
    """The options that are set, by field name."""
    fields = [field.name for field in dataclasses.fields(config) if field.name not in ("loss", "beta")]
    return [name for name in fields if getattr(config, name) is not None]


# Bounds of the numbers and names of the others.
_RANGES = {
    "label_smoothing": (0, 0.5),
    "alpha": (-math.inf, math.inf),
    "ld_alpha": (0, 1),
    "desirable_weight": (0, math.inf),
    "undesirable_weight": (0, math.inf),
    "temperature": (0, math.inf),
    "gamma": (-math.inf, math.inf),
    "nll_weight": (0, math.inf),
    "unlikelihood_weight": (0, math.inf),
}
_NAMES = {
    "f_divergence": ("reverse_kl", "forward_kl", "js", "alpha"),
    "alpha_convention": ("wang", "cressie_read"),
    "wpo": ("none", "plain", "aligned"),
    "reduction": ("sum", "mean"),
    "nll_reduction": ("sum", "mean", "tokens"),
}


def _losses_with(option: str) -> list[str]:
    return sorted(name for name, loss in LOSSES.items() if option in loss.options)


def _check_option(name: str, value: Any) -> None:
    if name in _NAMES:
        if value not in _NAMES[name]:
            raise ConfigError(f"PreferenceConfig.{name} is {value!r}", f"choose one of {', '.join(_NAMES[name])}")
        return
    _check_number(name, value, *_RANGES[name], open_below=name == "temperature")


def _check_number(
    name: str, value: Any, least: float, most: float, open_below: bool = False, owner: str = "PreferenceConfig"
) -> None:
    fits = isinstance(value, int | float) and math.isfinite(value) and least <= value <= most
    if not fits or (open_below and value == least):
        wanted = f"above {least}" if open_below else f"of at least {least}"
        raise ConfigError(f"{owner}.{name} is {value!r}", f"give a finite number {wanted}, at most {most}")


def _check_combination(config: PreferenceConfig) -> None:
    options = LOSSES[config.loss].options
    if "f_divergence" in options and config.option("f_divergence") != "alpha":
        for name in ("alpha", "alpha_convention"):
            if getattr(config, name) is not None:
                raise ConfigError(
                    f"PreferenceConfig.{name} is set, and f_divergence is {config.option('f_divergence')!r}",
                    "leave it out, or set f_divergence to 'alpha'",
                )
    if config.loss == "robust" and config.option("label_smoothing") == 0.5:
        raise ConfigError("PreferenceConfig.label_smoothing is 0.5: such labels say nothing", "give less than 0.5")
    if config.loss == "exo" and config.option("label_smoothing") == 0:
        raise ConfigError(
            "PreferenceConfig.label_smoothing is 0, and EXO's reverse KL is infinite there",
            "give a number above 0, such as 0.001",
        )
