"""Published tables of runs, each read into the columns `params, tokens, flops, loss` [`cluster, unique_tokens`].

A folder holds the tables as their authors gave them: `epoch_chinchilla` (Besiroglu et al. 2024, arXiv:2404.10102), `porian2024`
(Porian et al. 2024, arXiv:2406.19146), `gemstones` (McLeish et al. 2025, arXiv:2502.06857) and `datablations` (Muennighoff et al. 2023,
arXiv:2305.16264). Any other file there that :mod:`analysis.laws.tables.sources` can read is one more table.
"""

import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.tables import sources, table

# The five largest losses are outliers of the digitisation (Besiroglu et al. 2024, section 2).
_EPOCH_OUTLIERS = 5
_PORIAN = ["dataset", "hparams", "warmup", "decay", "param_count", "val"]
_TABLE_FILES = (".csv", ".tsv", ".parquet", ".jsonl")


def read(folder: pathlib.Path) -> dict[str, table.RunsTable]:
    """Every table of a folder, by name.

    Args:
      folder: with the sub-folders above, those that exist, or with table files of its own.

    Raises:
      TableError: nothing there is a table of runs.
    """
    frames: dict[str, pd.DataFrame] = {}
    for name, reader in _READERS.items():
        if (folder / name).is_dir():
            frames |= reader(folder / name)
    raw = {name: sources.from_frame(frame, name) for name, frame in frames.items()}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in _TABLE_FILES:
            raw[path.stem] = sources.read(str(path))
    if not raw:
        raise TableError(f"{folder} holds no table of runs", f"give a folder with {', '.join(_READERS)} or table files")
    return {name: table.build(item, source=name) for name, item in raw.items()}


def _epoch(folder: pathlib.Path) -> dict[str, pd.DataFrame]:
    raw = pd.read_csv(folder / "svg_extracted_data.csv")
    kept = raw[raw["loss"] < np.sort(raw["loss"])[-_EPOCH_OUTLIERS]]
    params, flops = kept["Model Size"], kept["Training FLOP"]
    columns = {"params": params, "tokens": flops / (6 * params), "flops": flops, "loss": kept["loss"]}
    return {"epoch_chinchilla": pd.DataFrame(columns)}


def _porian(folder: pathlib.Path) -> dict[str, pd.DataFrame]:
    raw = pd.read_csv(folder / "isoflop_points.csv").rename(columns={"n": "params"})
    return {
        "porian2024/" + "/".join(key): rows[["params", "tokens", "flops", "loss"]]
        for key, rows in raw.groupby(["table", *_PORIAN])
    }


def _gemstones(folder: pathlib.Path) -> dict[str, pd.DataFrame]:
    found = {}
    for path in sorted(folder.glob("*.jsonl")):
        raw = pd.read_json(path, lines=True)
        params, tokens = (raw[name].astype(np.float64) for name in ("params_active_precise", "tokens"))
        columns = {"params": params, "tokens": tokens, "flops": 6 * params * tokens, "loss": raw["final_loss"]}
        name = path.stem.removeprefix("wandb_df_for_fitting_")
        found[f"gemstones/{name}"] = pd.DataFrame(columns | {"cluster": raw["run_name"]})
    return found


def _datablations(folder: pathlib.Path) -> dict[str, pd.DataFrame]:
    """All rows with their unique tokens, and those of a single epoch, to which the plain laws apply."""
    found = {}
    for path in sorted(folder.glob("*.csv")):
        raw = pd.read_csv(path)
        columns = {"params": raw["N"], "tokens": raw["D_total"], "unique_tokens": raw["U_unique"], "loss": raw["loss"]}
        frame = pd.DataFrame(columns).assign(flops=6 * raw["N"] * raw["D_total"])
        found[f"datablations/{path.stem}"] = frame
        once = frame[frame["tokens"] <= frame["unique_tokens"] * 1.01]
        found[f"datablations/{path.stem}/one_epoch"] = once.drop(columns="unique_tokens")
    return found


_READERS: dict[str, Callable[[pathlib.Path], dict[str, pd.DataFrame]]] = {
    "epoch_chinchilla": _epoch,
    "porian2024": _porian,
    "gemstones": _gemstones,
    "datablations": _datablations,
}
