"""Reads runs of alignment (record.json, measurements.jsonl) into one table: a row is a measured policy.

run_id, kind, method, setting, seed, gold_name, params     whose policy it is; `setting` is "beta=0.1, ..." and `params` counts all parameters
step, n                                                     where it stands in training, or the n of best-of-n
kl, kl_error, kl_from                                       nats per sequence; exact where known, sampled otherwise (`kl_from` says which)
distance                                                    sqrt(kl); 0 where the sampled KL is below 0
gold, gold_error, gain                                      the gold reward, and what it is above that of the run's own initial policy
proxy, proxy_error, proxy_gain                              the same of the reward that was optimised; NaN where there is none
proxy_params, proxy_comparisons, proxy_label_noise, proxy_accuracy, proxy_members     what that reward was made of; NaN where records do not say
label                                                       of the run, for readers: method, proxy where records describe it, setting and seed
entropy, length, ended, prompts, samples                    as recorded
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from etils import epath

from analysis.laws.errors import TableError
from analysis.laws.tables import quantities, records
from analysis.report.formatting import short

MEASUREMENTS = "measurements.jsonl"
PROXY = ("params", "comparisons", "label_noise", "accuracy", "members")
_NEEDED = ("step", "kl", "gold")
_NUMBERS = (
    "step", "n", "kl", "kl_error", "kl_k3", "kl_exact", "gold", "gold_error", "proxy", "proxy_error", "entropy", "length", "ended", "prompts",
    "samples", "disagreement",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Measurements:
    """The table.

    Attributes:
      frame: one row a measured policy, in the columns above.
      excluded: runs without a row: run_id, kind, method, reason.
      sources: the directories.
      flags: what is doubtful about the whole table.
    """

    frame: pd.DataFrame
    excluded: pd.DataFrame
    sources: tuple[str, ...]
    flags: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        """How many runs were measured."""
        return self.frame["run_id"].nunique()


def read(directories: Sequence[str]) -> Measurements:
    """Reads every run of alignment at any depth of some directories; runs of pretraining among them are passed over.

    Raises:
      TableError: a directory is missing or holds no measured run, a record or a row cannot be used (file and line are named), or a run lies there twice.
    """
    rows, excluded, seen = [], [], {}
    for directory in directories:
        if not epath.Path(directory).is_dir():
            raise TableError(f"{directory} is not a directory", "give --runs directories of runs of alignment")
        for path in records.paths(epath.Path(directory)):
            record = records.load(path)
            if not records.is_of_alignment(record):
                continue
            about = _about(record, path)
            if about["run_id"] in seen:
                raise TableError(
                    f"the run {about['run_id']!r} is recorded in {seen[about['run_id']]} and {path.parent}",
                    "point --runs at one copy of each run",
                )
            seen[about["run_id"]] = path.parent
            found, reason = _measured(path.parent, about, str(record.get("status")))
            rows += found
            if reason:
                excluded.append({**{name: about[name] for name in ("run_id", "kind", "method")}, "reason": reason})
    if not rows:
        what = f"{len(seen)} runs of alignment, none of them measured" if seen else "no run of alignment"
        raise TableError(
            f"{', '.join(directories)}: {what}", f"point --runs at runs whose {MEASUREMENTS} holds kl and gold"
        )
    frame, flags = _with_gains(pd.DataFrame(rows))
    columns = ["run_id", "kind", "method", "reason"]
    return Measurements(frame, pd.DataFrame(excluded, columns=columns), tuple(directories), flags)


def _about(record: dict[str, Any], path: epath.Path) -> dict[str, Any]:
    """What all rows of a run have in common."""
    missing = [name for name in ("run_id", "kind", "seed") if name not in record]
    if missing:
        raise TableError(f"{path} lacks the field {', '.join(missing)}", "remove the run or restore its record")
    settings, parameters = record.get("settings") or {}, record.get("parameters") or {}
    if not isinstance(settings, dict) or not isinstance(parameters, dict):
        raise TableError(f"{path}: settings or parameters is no object", "remove the run or restore its record")
    params = quantities.number(parameters.get("total"))
    proxy = record.get("proxy") or {}
    about = {
        "run_id": str(record["run_id"]), "kind": str(record["kind"]), "method": str(record.get("method") or record["kind"]),
        "setting": ", ".join(f"{name}={_spelt(value)}" for name, value in sorted(settings.items())), "seed": int(record["seed"]),
        "gold_name": str(record.get("gold") or "gold"), "params": np.nan if params is None else params, "path": str(path.parent),
        **{f"proxy_{name}": _known(proxy.get(name)) for name in PROXY},
    }  # fmt: skip
    return about | {"label": _label(about)}


def _label(about: dict[str, Any]) -> str:
    """Proxies tell the runs of a laboratory apart, whose settings are alike."""
    if np.isnan(about["proxy_comparisons"]):
        return " ".join(filter(None, (about["method"], about["setting"], f"seed {about['seed']}")))
    parts = [short(about["proxy_params"]), f"{about['proxy_comparisons']:.0f} pairs"]
    parts += [f"noise {about['proxy_label_noise']:.2g}"] if about["proxy_label_noise"] > 0 else []
    parts += [f"x{about['proxy_members']:.0f}"] if about["proxy_members"] > 1 else []
    return f"{about['method']} ({', '.join(parts)}) seed {about['seed']}"


def _known(value: Any) -> float:
    number = quantities.number(value)
    return np.nan if number is None else number


def _spelt(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _measured(directory: epath.Path, about: dict[str, Any], status: str) -> tuple[list[dict[str, Any]], str]:
    """The rows of a run, or the reason why there are none."""
    path = directory / MEASUREMENTS
    if status != "completed":
        return [], f"its status is {status}"
    if not path.exists():
        return [], f"no {MEASUREMENTS}: no policy was measured"
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.strip():
            rows.append({**about, **_row(line, f"{path}, line {number}")})
    return rows, "" if rows else f"{MEASUREMENTS} is empty"


def _row(line: str, where: str) -> dict[str, Any]:
    remedy = "remove the run or measure it again"
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise TableError(f"{where}: not JSON", remedy) from error
    if not isinstance(values, dict):
        raise TableError(f"{where}: not a JSON object", remedy)
    row = {}
    for name in _NUMBERS:
        number = quantities.number(values.get(name))
        if number is None:
            raise TableError(f"{where}: {name} is {values[name]!r}, which is no number", remedy)
        row[name] = number
    missing = [name for name in _NEEDED if not np.isfinite(row[name])]
    if missing:
        raise TableError(f"{where}: {', '.join(missing)} is missing or not finite", remedy)
    exact = row.pop("kl_exact")
    return row | ({"kl": exact, "kl_error": 0.0, "kl_from": "exact"} if np.isfinite(exact) else {"kl_from": "samples"})


def _with_gains(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Adds distances, and rewards above those of each run's own initial policy (its row of step 0, or of n = 1)."""
    flags = []
    negative = int((frame["kl"] < 0).sum())
    if negative:
        flags.append(
            f"{negative} sampled KLs are below zero (sampling noise, or log-probabilities of another distribution than was sampled)"
        )
    is_start = ((frame["step"] == 0) & frame["n"].isna()) | (frame["n"] == 1)
    starts = frame[is_start].groupby("run_id")[["gold", "proxy"]].mean()
    # A run that did not measure its beginning is given that of the others with its gold reward and size.
    panel = [frame["gold_name"], frame["params"].fillna(0)]
    for column, gain in (("gold", "gain"), ("proxy", "proxy_gain")):
        of_panel = frame[column].where(is_start).groupby(panel).transform("mean")
        frame[gain] = frame[column] - frame["run_id"].map(starts[column]).fillna(of_panel)
    without = frame[~frame["run_id"].isin(starts.index)]["run_id"].nunique()
    if without:
        flags.append(
            f"{without} runs did not measure their initial policy (step 0 or n = 1): the mean of the others' stands for it"
        )
    if frame["gain"].isna().any():
        raise TableError(
            f"no run of {frame[frame['gain'].isna()]['gold_name'].iloc[0]!r} measured its initial policy",
            "measure at step 0 (or n = 1)",
        )
    frame["distance"] = np.sqrt(np.maximum(frame["kl"], 0.0))
    return frame.sort_values(
        ["gold_name", "params", "method", "setting", "seed", "distance"], ignore_index=True
    ), tuple(flags)
