"""The runs table: which runs enter a fit, under which conventions, and which do not and why."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws.errors import TableError
from analysis.laws.tables import foreign, sources
from analysis.laws.tables.loss_units import NATS_PER_TOKEN, is_domain
from analysis.laws.tables.reading import PLAIN, Reading

FloatArray = npt.NDArray[np.float64]

PARAMETER_CONVENTIONS = ("total", "non_embedding")
# The FLOPs that belong to a parameter convention: C = 6·N·D with the same N, so that the optimum has a closed form.
PAIRED_FLOPS = {"total": "6nd", "non_embedding": "kaplan_6nd_non_embedding"}
MINIMUM_RUNS = 6
MINIMUM_DISTINCT = 3
# Sizes and budgets closer than this are one size or one budget (actual values differ from the nominal ones).
SIZE_TOLERANCE = 0.02
_TRUNK = "trunk: its learning rate has not decayed"
# Losses that agree to rounding are one loss.
_SAME_LOSS = 1e-12
COLUMNS = (
    "run_id", "name", "family", "kind", "cluster", "seed", "schedule", "learning_rate", "batch_tokens", "params", "tokens",
    "unique_tokens", "epochs", "flops", "loss", "loss_standard_error", "correct", "trials", "accuracy", "path",
)  # fmt: skip
NUMBERS = (
    "learning_rate", "batch_tokens", "params", "tokens", "unique_tokens", "epochs", "flops", "loss", "loss_standard_error",
    "correct", "trials", "accuracy",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Conventions:
    """How parameters, compute and loss were counted.

    Attributes:
      parameters: `total` or `non_embedding`.
      flops: a FLOP convention of the records; None is the one that pairs with `parameters`.
      domain: the held-out set whose loss is fitted; None is each record's primary domain.
    """

    parameters: str = "total"
    flops: str | None = None
    domain: str | None = None

    def __post_init__(self) -> None:
        """Refuses an unknown parameter convention."""
        if self.parameters not in PARAMETER_CONVENTIONS:
            raise TableError(
                f"the parameter convention {self.parameters!r} is unknown",
                f"choose one of {', '.join(PARAMETER_CONVENTIONS)}",
            )


@dataclasses.dataclass(frozen=True)
class RunsTable:
    """Runs ready to be fitted.

    Attributes:
      frame: one row a run that enters the fits, with :data:`COLUMNS`; numbers are float64.
      held_out: runs kept out to check a prediction; same columns.
      excluded: runs that enter nothing; same columns and `reason`.
      trunks: finished runs that branches left; their own learning rate has not decayed, so they enter nothing either.
      conventions: with `flops` and `domain` resolved to the names in use.
      raw: what was read, with every convention, so that the table can be seen under another one.
      flags: what a reader must know about the table as a whole, in words.
      source: where it came from.
      recognised: how a table from elsewhere was understood, in words.
      loss_unit: of every loss in the frames; nats per token, unless it had to stay per byte.
    """

    frame: pd.DataFrame
    held_out: pd.DataFrame
    excluded: pd.DataFrame
    trunks: pd.DataFrame
    conventions: Conventions
    raw: pd.DataFrame
    flags: tuple[str, ...] = ()
    source: str = ""
    recognised: tuple[str, ...] = ()
    loss_unit: str = NATS_PER_TOKEN

    def __len__(self) -> int:
        """Number of runs in the fit."""
        return len(self.frame)

    def log(self, column: str) -> FloatArray:
        """Natural logarithm of `params`, `tokens`, `flops` or `loss`, float64[K]."""
        return np.log(self.frame[column].to_numpy(np.float64))

    def codes(self, column: str) -> npt.NDArray[np.int64]:
        """An integer for every distinct cluster, or for every size (sizes within 2% are one), int64[K]."""
        if column == "params":
            return grouped(self.log("params"), SIZE_TOLERANCE)
        return pd.factorize(self.frame[column])[0].astype(np.int64)

    def under(self, conventions: Conventions, held_out_ids: tuple[str, ...] = ()) -> "RunsTable":
        """The same runs under other conventions."""
        return build(self.raw, conventions, (*self.held_out["run_id"], *held_out_ids), self.source)

    def flop_conventions(self) -> tuple[str, ...]:
        """The FLOP conventions that every run of the fit knows."""
        names = [column.removeprefix("flops_") for column in self.raw.columns if column.startswith("flops_")]
        used = self.raw[self.raw["run_id"].isin(self.frame["run_id"])]
        return tuple(name for name in names if np.isfinite(used[f"flops_{name}"].to_numpy(np.float64)).all())


def load(
    path: str,
    conventions: Conventions = Conventions(),
    held_out_ids: tuple[str, ...] = (),
    sweep: str | None = None,
    reading: Reading = PLAIN,
) -> RunsTable:
    """Reads records, a table file, an MLflow store or what W&B leaves.

    Args:
      path: where the runs are; see :mod:`analysis.laws.tables.sources`.
      conventions: how to count.
      held_out_ids: runs to keep out of the fits, beside those tagged `role=held_out`.
      sweep: keeps the runs of one sweep, by its name or its id; None keeps all.
      reading: how a table from elsewhere is to be understood.

    Raises:
      TableError: the table cannot be read, or holds too little to fit; rows are named.
    """
    return build(sources.read(path, sweep, reading), conventions, held_out_ids, path)


def build(
    raw: pd.DataFrame, conventions: Conventions = Conventions(), held_out_ids: tuple[str, ...] = (), source: str = ""
) -> RunsTable:
    """Makes the table of a raw frame (:func:`analysis.laws.tables.sources.read`, `from_frame`); see :func:`load`."""
    unknown = sorted(set(held_out_ids) - set(raw["run_id"]))
    if unknown:
        raise TableError(
            f"{source}: no run is called {', '.join(unknown)}", "give --held_out the run_id of a run in the table"
        )
    conventions = _resolved(raw, conventions, source)
    frame = _counted(raw, conventions)
    reasons = _reasons(raw, frame, conventions)
    kept = reasons == ""
    held_out = kept & ((raw["role"] == "held_out") | raw["run_id"].isin(held_out_ids))
    used = frame[kept & ~held_out].reset_index(drop=True)
    out = frame[~kept].assign(reason=reasons[~kept]).reset_index(drop=True)
    _refuse_too_little(used, out, source)
    # A trunk that did its work is no run that something is wrong with.
    excluded, trunks = (out[rows].reset_index(drop=True) for rows in (out["reason"] != _TRUNK, out["reason"] == _TRUNK))
    flags = (*_flags(raw[kept & ~held_out]), *_sweep_flags(raw[kept]), *raw.attrs.get(foreign.QUESTIONS, ()))
    return RunsTable(
        used,
        frame[held_out].reset_index(drop=True),
        excluded,
        trunks.drop(columns="reason"),
        conventions,
        raw,
        flags,
        source,
        tuple(raw.attrs.get(foreign.RECOGNISED, ())),
        loss_unit_of(raw),
    )


def loss_unit_of(raw: pd.DataFrame) -> str:
    """The unit of every loss in a raw frame, in words."""
    return raw.attrs.get(foreign.LOSS_UNIT, NATS_PER_TOKEN)


def usable(raw: pd.DataFrame, conventions: Conventions, source: str = "") -> pd.DataFrame:
    """The runs of a raw frame that could enter a fit, however few, with :data:`COLUMNS` and `created` where it is known."""
    conventions = _resolved(raw, conventions, source)
    frame = _counted(raw, conventions)
    if "created" in raw.columns:
        frame = frame.assign(created=raw["created"])
    return frame[_reasons(raw, frame, conventions) == ""].reset_index(drop=True)


def _resolved(raw: pd.DataFrame, conventions: Conventions, source: str) -> Conventions:
    if f"params_{conventions.parameters}" not in raw.columns:
        raise TableError(f"{source} has no {conventions.parameters} parameter count", "choose --parameters=total")
    flops = conventions.flops
    if flops is None:
        flops = foreign.AS_GIVEN if f"flops_{foreign.AS_GIVEN}" in raw.columns else PAIRED_FLOPS[conventions.parameters]
    known = sorted(column.removeprefix("flops_") for column in raw.columns if column.startswith("flops_"))
    if flops not in known:
        raise TableError(f"{source} has no FLOPs under the convention {flops!r}", f"choose one of {', '.join(known)}")
    domains = sorted(column.removeprefix("loss_") for column in raw.columns if is_domain(column))
    domain = conventions.domain
    if domain is None:
        primary = raw["primary_domain"].dropna().unique()
        if len(primary) != 1:
            raise TableError(
                f"{source}: the runs name the primary domains {', '.join(map(str, primary)) or '(none)'}",
                f"choose one by --domain, of {', '.join(domains)}",
            )
        domain = str(primary[0])
    if domain not in domains:
        raise TableError(
            f"{source} has no loss on the domain {domain!r}", f"choose --domain of {', '.join(domains) or '(none)'}"
        )
    return Conventions(conventions.parameters, flops, domain)


def _counted(raw: pd.DataFrame, conventions: Conventions) -> pd.DataFrame:
    frame = raw.assign(
        params=raw[f"params_{conventions.parameters}"],
        flops=raw[f"flops_{conventions.flops}"],
        loss=raw[f"loss_{conventions.domain}"],
        loss_standard_error=raw[f"loss_error_{conventions.domain}"],
    ).reindex(columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(NUMBERS, np.float64))


def _reasons(raw: pd.DataFrame, frame: pd.DataFrame, conventions: Conventions) -> pd.Series:
    """Why a run enters nothing, or the empty string. The first reason that holds is given."""
    reasons = pd.Series("", index=raw.index, dtype=object)

    def exclude(where: pd.Series, reason: pd.Series | str) -> None:
        text = reason if isinstance(reason, pd.Series) else pd.Series(reason, index=raw.index)
        reasons.loc[where & (reasons == "")] = text[where & (reasons == "")]

    detail = raw["reason"].fillna("").astype(str)
    exclude(raw["status"] != "completed", raw["status"].astype(str) + detail.where(detail == "", ": " + detail))
    exclude(raw["kind"] == "trunk", _TRUNK)
    exclude(~raw["kind"].isin(["pretrain", "branch"]), "not a pre-training run: " + raw["kind"].astype(str))
    exclude(raw["role"] == "excluded", "tagged role=excluded")
    exclude(~np.isfinite(frame["loss"]), f"no finite loss on {conventions.domain}")
    for column in ("params", "tokens", "flops", "loss"):
        exclude(~((frame[column] > 0) & np.isfinite(frame[column])), f"{column} is not a positive finite number")
    return reasons


def _refuse_too_little(used: pd.DataFrame, excluded: pd.DataFrame, source: str) -> None:
    left_out = excluded["reason"].str.split(":").str[0].value_counts()
    because = (
        f" ({', '.join(f'{count} excluded: {reason}' for reason, count in left_out.items())})" if len(excluded) else ""
    )
    if len(used) < MINIMUM_RUNS:
        raise TableError(
            f"{source} has {len(used)} usable runs{because}; a law with five parameters needs at least {MINIMUM_RUNS}",
            "train more runs",
        )
    for column in ("params", "tokens"):
        distinct = _distinct(np.log(used[column].to_numpy(np.float64)))
        if distinct < MINIMUM_DISTINCT:
            raise TableError(
                f"{source}: the usable runs have {distinct} distinct values of {column}{because}; "
                f"at least {MINIMUM_DISTINCT} are needed",
                f"train runs at more values of {column}",
            )
    losses = used["loss"].to_numpy(np.float64)
    if np.ptp(losses) <= _SAME_LOSS * losses.max():
        raise TableError(
            f"{source}: the loss is {losses[0]:.6g} in every usable run{because}, so there is nothing to fit",
            "check which column or domain holds the loss",
        )


def _distinct(values_K: FloatArray) -> int:
    """How many values are further apart than the tolerance; a dense ladder, whose neighbours are all close, has many."""
    count, last = 0, -np.inf
    for value in np.sort(values_K):
        if value - last > SIZE_TOLERANCE:
            count, last = count + 1, value
    return count


def _sweep_flags(raw: pd.DataFrame) -> tuple[str, ...]:
    """Ids differ when a sweep is extended, so its name alone tells sweeps apart."""
    names = sorted(set(raw["sweep_id"].map(sources.sweep_name)))
    if len(names) < 2:
        return ()
    listed = ", ".join(name or "(no sweep)" for name in names)
    return (f"the table mixes runs of several sweeps: {listed}; --sweep=NAME keeps those of one",)


def _flags(raw: pd.DataFrame) -> tuple[str, ...]:
    flags = []
    repeated = raw["epochs"].astype(np.float64) > 1.0 + 1e-9
    if repeated.any():
        flags.append(f"{int(repeated.sum())} runs saw their data more than once; these laws assume fresh tokens")
    families = sorted(set(raw["family"].dropna().astype(str)) - {""})
    if len(families) > 1:
        flags.append(f"the table mixes the families {', '.join(families)}; one law is fitted through all of them")
    stores = raw["store_hash"].dropna().unique() if "store_hash" in raw.columns else ()
    if len(stores) > 1:
        flags.append(f"the runs were trained on {len(stores)} different token stores; their losses may not compare")
    return tuple(flags)


def grouped(values_K: FloatArray, tolerance: float) -> npt.NDArray[np.int64]:
    """Labels runs of sorted values by groups whose neighbours differ by at most `tolerance`, int64[K], ascending."""
    order = np.argsort(values_K, kind="stable")
    starts = np.concatenate([[0], (np.diff(values_K[order]) > tolerance).astype(np.int64)])
    labels = np.empty(len(values_K), np.int64)
    labels[order] = np.cumsum(starts)
    return labels
