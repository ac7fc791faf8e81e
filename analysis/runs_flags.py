"""The flags that say which runs a verb reads and how, and the reading itself."""

import re
from collections.abc import Sequence

import pandas as pd
from absl import flags

from analysis.laws.errors import TableError
from analysis.laws.tables import quantities, sources, table
from analysis.laws.tables.reading import LOSS_UNITS, Condition, Reading

_RUNS = flags.DEFINE_string(
    "runs",
    None,
    "A directory with record.json files at any depth; a .csv, .tsv, .parquet, .jsonl or .json; an MLflow store (mlruns, mlflow.db); "
    "a CSV or JSON lines from W&B, or its directory of runs. A prefix mlflow: or wandb: says which where that cannot be seen.",
    required=True,
)
_SWEEP = flags.DEFINE_string("sweep", None, "Only runs of this sweep (its name, or its id) or MLflow experiment.")
_HELD_OUT = flags.DEFINE_list("held_out", [], "Run ids to hold out, beside the runs tagged role=held_out.")
_PARAMETERS = flags.DEFINE_enum("parameters", "total", table.PARAMETER_CONVENTIONS, "How parameters are counted.")
_FLOPS = flags.DEFINE_string(
    "flops", None, "A FLOP convention of the records; by default the one that pairs with --parameters."
)
_DOMAIN = flags.DEFINE_string(
    "domain", None, "The held-out set whose loss is fitted; by default the records' primary domain."
)
_COLUMNS = flags.DEFINE_multi_string(
    "columns",
    [],
    'What a table calls its columns, ours=theirs, e.g. "params=Model Size,flops=Training FLOP,loss=val/loss"; repeatable. Usual '
    "names are recognised without it, and --dry_run says which.",
)
_UNITS = flags.DEFINE_multi_string(
    "units", [], "What a count in a table is worth, e.g. params=1e6,tokens=1e9; cells such as 70M or 1.4T need none."
)
_DERIVE = flags.DEFINE_list(
    "derive", [], "tokens: where a table has none, D = C/(6N); flagged, for D then holds what C holds."
)
_LOSS_UNIT = flags.DEFINE_enum(
    "loss_unit",
    None,
    LOSS_UNITS,
    "Of a table's losses, all of which become nats per token; nats if not given, and then questioned.",
)
_BYTES_PER_TOKEN = flags.DEFINE_float(
    "bytes_per_token", None, "Of the tokenizer, to convert losses per byte; by default the column bytes_per_token."
)
_CLUSTER = flags.DEFINE_string(
    "cluster",
    None,
    "The column of a table that says which rows are one run (checkpoints) or otherwise not independent.",
)
_WHERE = flags.DEFINE_multi_string(
    "where", [], 'Only these rows of a table, e.g. "dataset=rw,hparams=tuned"; also != < <= > >=; repeatable.'
)


def load() -> table.RunsTable:
    """The runs that the flags ask for, ready to be fitted.

    Raises:
      TableError: a flag or the table cannot be used.
    """
    return table.load(path(), conventions(), tuple(_HELD_OUT.value), _SWEEP.value, reading())


def read() -> pd.DataFrame:
    """The raw frame (:mod:`analysis.laws.tables.foreign`) that the flags ask for, however few its rows. Raises TableError."""
    return sources.read(path(), _SWEEP.value, reading())


def path() -> str:
    """The value of --runs."""
    return _RUNS.value


def conventions() -> table.Conventions:
    """How the flags want parameters, compute and loss to be counted."""
    return table.Conventions(_PARAMETERS.value, _FLOPS.value, _DOMAIN.value)


def reading() -> Reading:
    """How the flags want a table from elsewhere to be read. Raises TableError."""
    columns = _pairs("columns", _COLUMNS.value)
    if _CLUSTER.value is not None:
        columns |= {"cluster": _CLUSTER.value}
    return Reading(
        columns,
        {name: _unit(name, text) for name, text in _pairs("units", _UNITS.value).items()},
        tuple(_DERIVE.value),
        _LOSS_UNIT.value,
        _BYTES_PER_TOKEN.value,
        tuple(Condition.parse(text) for value in _WHERE.value for text in re.split(r",(?=[^,=<>]+[=<>])", value)),
    )


def _pairs(flag: str, values: Sequence[str]) -> dict[str, str]:
    """`a=b,c=d` as a dictionary; a comma inside a value is one that no `name=` follows."""
    pairs: dict[str, str] = {}
    for text in (part for value in values for part in re.split(r",(?=\s*\w+=)", value)):
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise TableError(
                f"--{flag}={text} is no pair",
                f"write --{flag}=ours=theirs" if flag == "columns" else f"write --{flag}=params=1e6",
            )
        if name in pairs:
            raise TableError(f"--{flag} names {name} twice, {pairs[name]!r} and {value!r}", "say it once")
        pairs[name] = value
    return pairs


def _unit(name: str, text: str) -> float:
    """A number such as 1e6; M and B are those of 70M and 1B."""
    value = quantities.number(f"1{text}" if text.lower() in quantities.SUFFIXES else text, suffixes=True)
    if value is None or not 0 < value < float("inf"):
        raise TableError(f"--units={name}={text} is not a positive number", f"write e.g. --units={name}=1e6")
    return value
