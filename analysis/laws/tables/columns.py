"""Their columns under our names: by a flag, by their own name, or by a name that people really use.

=====================  ==========================================================================================
ours                   what it holds
=====================  ==========================================================================================
params                 parameters, all of them; `params_non_embedding` without the embeddings
tokens                 training tokens of the run, as if trained alone
loss                   final loss; `loss_<domain>` is another loss to choose, `loss_standard_error` its error
flops                  training FLOPs; 6·N·D where there is none; `flops_<convention>` is another count
unique_tokens          tokens before they repeat; `epochs` is tokens / unique_tokens where it is not given
correct, trials        of a downstream task: questions answered rightly, questions asked; or `accuracy` (0 to 1)
run_id, name, cluster  which run; which rows are not independent of each other
step                   of a checkpoint: rows of one name are then checkpoints of one run
seed, family, ...      what else is known of a run
=====================  ==========================================================================================
"""

import dataclasses
import re
from collections.abc import Mapping

import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.tables import reading

REQUIRED = ("params", "tokens", "loss")
COUNTS = ("params", "params_non_embedding", "tokens", "unique_tokens", "flops", "batch_tokens", "correct", "trials")
MEASURES = ("accuracy", "epochs", "seed", "step", "learning_rate", "loss_standard_error", "bytes_per_token")
TIMES = ("wall_seconds", "device_seconds")
WORDS = ("run_id", "name", "family", "kind", "status", "reason", "role", "cluster", "sweep_id", "schedule", "path")
OURS = ("loss", *COUNTS, *MEASURES, *TIMES, *WORDS)
# Names that begin so are further losses and counts, whatever follows.
OPEN = ("loss_", "flops_", "own_flops_")

# Compared in small letters, with every run of other signs as one underscore: "Model Size", "model/size" and "model_size" are one.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "params": (
        "n_params", "num_params", "n_parameters", "num_parameters", "parameters", "parameter_count", "param_count", "params_count",
        "total_params", "total_parameters", "params_total", "model_size", "model_params",
    ),
    "params_non_embedding": (
        "non_embedding_params", "non_embedding_parameters", "n_params_non_embedding", "num_params_non_embedding", "params_no_embedding",
        "params_non_emb", "n_non_embedding", "non_embedding",
    ),
    "tokens": (
        "n_tokens", "num_tokens", "train_tokens", "training_tokens", "total_tokens", "tokens_seen", "tokens_total", "token_count",
        "n_train_tokens", "num_train_tokens", "num_input_tokens_seen", "consumed_tokens", "d_total",
    ),
    "flops": (
        "flop", "total_flops", "training_flops", "training_flop", "train_flops", "train_flop", "compute", "compute_flops", "n_flops",
        "num_flops", "total_flos", "flops_total",
    ),
    "loss": (
        "final_loss", "val_loss", "valid_loss", "validation_loss", "eval_loss", "test_loss", "train_loss", "training_loss", "loss_val",
        "loss_eval", "loss_final", "final_val_loss", "final_train_loss", "final_eval_loss", "cross_entropy", "cross_entropy_loss",
    ),
    "unique_tokens": ("tokens_unique", "n_unique_tokens", "num_unique_tokens", "u_unique"),
    "run_id": ("id", "run_uuid"),
    "name": ("run_name", "display_name", "run", "mlflow_runname"),
    "status": ("state",),
    "step": ("global_step", "train_global_step", "trainer_global_step"),
    "seed": ("random_seed",),
    "learning_rate": ("lr", "max_lr", "peak_lr", "max_learning_rate", "peak_learning_rate"),
    "batch_tokens": ("tokens_per_batch", "tokens_per_step", "batch_size_tokens", "batch_size_in_tokens"),
    "trials": ("n_trials", "num_questions", "n_questions"),
    "correct": ("n_correct", "num_correct"),
}  # fmt: skip
# The symbols of the papers; small letters are too often something else.
SYMBOLS = {"N": "params", "D": "tokens", "C": "flops", "L": "loss", "U": "unique_tokens"}
# A last part alone says enough of these: `model.n_params`, `throughput/total_tokens`. `train/loss` is another loss than `val/loss`.
_BY_LAST_PART = ("params", "params_non_embedding", "tokens", "flops", "unique_tokens")


@dataclasses.dataclass(frozen=True)
class Recognised:
    """Which column of theirs is which of ours.

    Attributes:
      mapping: ours -> theirs.
      said: in words, what a user should check.
    """

    mapping: Mapping[str, str]
    said: tuple[str, ...]


def recognise(frame: pd.DataFrame, asked: Mapping[str, str], source: str) -> Recognised:
    """Finds our columns in a table.

    What is asked for comes first, then our own names, then aliases. An alias counts only where it is the only candidate.

    Args:
      frame: with their columns.
      asked: ours -> theirs, of --columns.
      source: for messages.

    Raises:
      TableError: a column is not there, `asked` names something that is none of ours, or several columns could be a required one.
    """
    _refuse_unknown(asked)
    mapping = {ours: reading.lookup(frame, theirs, source, f"--columns={ours}") for ours, theirs in asked.items()}
    said = []
    if mapping:
        said.append("columns as told: " + _listed(mapping))
    names = [str(name) for name in frame.columns]
    own = {name: name for name in names if (name in OURS or name.startswith(OPEN)) and name not in mapping}
    # The column of clusters is mostly one of names, which stays one.
    taken = {theirs for ours, theirs in mapping.items() if ours != "cluster"}
    guessed = {}
    for ours in ALIASES:
        if ours in mapping:
            continue
        candidates = [name for name in names if name not in taken and _is_alias(name, ours)]
        if ours in own:
            others = [name for name in candidates if name not in own]
            if others and ours in REQUIRED:
                said.append(f"{ours} is the column {ours}; there is also {', '.join(others)} (--columns={ours}=...)")
        elif len(candidates) == 1:
            guessed[ours] = candidates[0]
        elif candidates and ours in (*REQUIRED, "flops"):
            raise TableError(
                f"{source}: {ours} could be any of the columns {', '.join(candidates)}",
                f"say which, by --columns={ours}=NAME",
            )
        elif candidates:
            said.append(f"{ours} could be {' or '.join(candidates)}; neither is used (--columns={ours}=...)")
    if guessed:
        said.append("columns recognised: " + _listed(guessed))
    # A column that goes by an alias is not another loss or count besides.
    own = {ours: theirs for ours, theirs in own.items() if theirs not in {*taken, *guessed.values()}}
    return Recognised({**own, **guessed, **mapping}, tuple(said))


def renamed(frame: pd.DataFrame, mapping: Mapping[str, str]) -> pd.DataFrame:
    """Their cells under our names; columns that are none of ours stay as they are, unless they would take one of our names."""
    ours = {name: frame[theirs] for name, theirs in mapping.items()}
    used = set(mapping.values())
    rest = {
        name: frame[name]
        for name in frame.columns
        if name not in used and name not in ours and name not in OURS and not str(name).startswith(OPEN)
    }
    return pd.DataFrame({**ours, **rest}, index=frame.index)


def _refuse_unknown(asked: Mapping[str, str]) -> None:
    unknown = [ours for ours in asked if ours not in OURS and not ours.startswith(OPEN)]
    if unknown:
        raise TableError(
            f"--columns={unknown[0]}={asked[unknown[0]]}: {unknown[0]} is no column of ours",
            f"write ours=theirs, ours being one of {', '.join(OURS)}, or loss_..., flops_...",
        )


def _is_alias(name: str, ours: str) -> bool:
    bare = reading.bare(name)
    if SYMBOLS.get(bare) == ours:
        return True
    known = (ours, *ALIASES[ours])
    return _plain(bare) in known or (ours in _BY_LAST_PART and _plain(re.split(r"[./]", bare)[-1]) in known)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _listed(mapping: Mapping[str, str]) -> str:
    return ", ".join(f"{ours} from {theirs!r}" for ours, theirs in mapping.items())
