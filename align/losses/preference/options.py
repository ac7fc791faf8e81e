"""Every preference loss there is: its source, its options with their published defaults, what it needs. Nothing here imports JAX."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Published:
    """What is known of a loss before it is computed.

    Attributes:
      source: the paper, with the equation where there is one.
      options: fields of `PreferenceConfig`, beside `beta`, that the loss takes, with their defaults.
      needs_reference: whether it reads log-probabilities of the reference.
      needs_mismatched: whether it reads completions of other prompts.
      couples_batch: whether a pair's loss depends on the other pairs, beyond what `BatchStatistics` hands over: such a batch cannot be cut.
      soft_labels: whether it takes `PreferencePairs.probability`.
    """

    source: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs_reference: bool = True
    needs_mismatched: bool = False
    couples_batch: bool = False
    soft_labels: bool = False


_WPO = {"wpo": "none"}
_LENGTH = {"ld_alpha": 1.0}
_RATIO = _WPO | _LENGTH
_SCORE = _RATIO | {"f_divergence": "reverse_kl", "alpha": 0.5, "alpha_convention": "wang"}

DPO = "Rafailov et al. 2023 (arXiv:2305.18290)"

LOSSES: dict[str, Published] = {
    "sigmoid": Published(f"DPO: {DPO}, eq. 7", _SCORE | {"label_smoothing": 0.0}, soft_labels=True),
    "cdpo": Published(
        "conservative DPO: Mitchell 2023, 'A note on DPO with noisy preferences'",
        _SCORE | {"label_smoothing": 0.1},
        soft_labels=True,
    ),
    "sigmoid_norm": Published(
        "length-normalised DPO: Lambert et al. 2024, Tülu 3 (arXiv:2411.15124)",
        _SCORE | {"label_smoothing": 0.0},
        soft_labels=True,
    ),
    "ld_dpo": Published(
        "LD-DPO: Liu et al. 2024 (arXiv:2409.06411)",
        _SCORE | {"label_smoothing": 0.0, "ld_alpha": 0.5},
        soft_labels=True,
    ),
    "robust": Published("robust DPO: Chowdhury et al. 2024 (arXiv:2403.00409)", _SCORE | {"label_smoothing": 0.1}),
    "ipo": Published("IPO: Azar et al. 2023 (arXiv:2310.12036), eq. 17", _SCORE | {"reduction": "sum"}),
    "hinge": Published("SLiC as a loss of log-ratios: Liu et al. 2023, RSO (arXiv:2309.06657)", _SCORE),
    "kto": Published(
        "KTO: Ethayarajh et al. 2024 (arXiv:2402.01306)",
        _RATIO | {"desirable_weight": 1.0, "undesirable_weight": 1.0},
        needs_mismatched=True,
    ),
    "bco": Published("BCO with its reward shift: Jung et al. 2024 (arXiv:2404.04656)", _RATIO),
    "bco_pair": Published("BCO without a reward shift: Jung et al. 2024 (arXiv:2404.04656)", _RATIO),
    "exo": Published(
        "EXO, two completions: Ji et al. 2024 (arXiv:2402.00856), eq. 16", _SCORE | {"label_smoothing": 1e-3}
    ),
    "nca": Published("NCA, two completions: Chen et al. 2024 (arXiv:2402.05369)", _RATIO),
    "sppo": Published("SPPO: Wu et al. 2024 (arXiv:2405.00675), eq. 4.7", _RATIO, soft_labels=True),
    "aot": Published(
        "AOT, paired: Melnyk et al. 2024 (arXiv:2406.05882)", _LENGTH | {"label_smoothing": 0.0}, couples_batch=True
    ),
    "aot_unpaired": Published(
        "AOT, unpaired: Melnyk et al. 2024 (arXiv:2406.05882)", _LENGTH | {"label_smoothing": 0.0}, couples_batch=True
    ),
    "apo_zero": Published("APO-zero: D'Oosterlinck et al. 2024 (arXiv:2408.06266), eq. 7", _RATIO),
    "apo_down": Published("APO-down: D'Oosterlinck et al. 2024 (arXiv:2408.06266), eq. 8", _RATIO),
    "discopop": Published(
        "DiscoPOP, log-ratio modulated: Lu et al. 2024 (arXiv:2406.08414), eq. 5", _SCORE | {"temperature": 0.05}
    ),
    "orpo": Published(
        "ORPO, beta is its lambda: Hong et al. 2024 (arXiv:2403.07691)",
        {"nll_weight": 1.0, "nll_reduction": "mean"},
        needs_reference=False,
    ),
    "simpo": Published(
        "SimPO: Meng et al. 2024 (arXiv:2405.14734)",
        _WPO | {"gamma": 0.5, "label_smoothing": 0.0},
        needs_reference=False,
        soft_labels=True,
    ),
    "cpo": Published(
        "CPO: Xu et al. 2024 (arXiv:2401.08417)",
        {"nll_weight": 1.0, "nll_reduction": "sum", "label_smoothing": 0.0},
        needs_reference=False,
        soft_labels=True,
    ),
    "unlikelihood": Published(
        f"likelihood of the chosen, unlikelihood of the rejected: {DPO}, section 6",
        {"unlikelihood_weight": 1.0, "nll_reduction": "sum"},
        needs_reference=False,
    ),
    "preferred_ft": Published(
        f"fine-tuning on the chosen alone: {DPO}, section 6", {"nll_reduction": "sum"}, needs_reference=False
    ),
}
