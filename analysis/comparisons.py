"""Writes what judges are to be asked: pairs of answers by prompt, in both orders, without the names of the policies; and the key to them.

python -m analysis.comparisons --runs=DIR [--policy=RUN_ID] [--against=RUN_ID] [--prompts=N] --output_dir=DIR [--dry_run]

Send comparisons.jsonl to any judge, human or model, and have it answer each line with {"id": ..., "verdict": "first", "second" or "tie"}; `analysis.judge`
asks a reward. Then

python -m analysis.frontier --runs=DIR --judgements=answers.jsonl --key=DIR/key.jsonl --output_dir=REPORT
"""

from collections.abc import Sequence

from absl import flags
from etils import epath

from analysis import output_directory
from analysis.laws.errors import TableError
from scaling import verbs
from scaling.errors import ConfigError, DataError

_RUNS = flags.DEFINE_multi_string("runs", None, "A directory with runs of alignment; repeatable.", required=True)
_POLICIES = flags.DEFINE_multi_string(
    "policy", [], "The id of a run whose final policy is judged; repeatable. Default: all."
)
_AGAINST = flags.DEFINE_string(
    "against", "", "The id of a run that all are compared with; by default each with its own reference."
)
_PROMPTS = flags.DEFINE_integer(
    "prompts", None, "So many prompts of each pair, the first ones; by default all.", lower_bound=1
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where comparisons.jsonl and key.jsonl go; needed unless --dry_run."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the pairs that would be asked for, and write nothing.")


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    if not _OUTPUT_DIR.value and not _DRY_RUN.value:
        raise ConfigError("--output_dir is missing", "say where the comparisons go, or add --dry_run")
    if verbs.gin_file_flags() or verbs.gin_binding_flags():
        raise ConfigError("comparisons reads no Gin file and no binding", "remove --gin_file and --gin.NAME=value")
    try:
        _compare()
    except TableError as error:
        raise DataError(error.what, error.remedy) from error


def _compare() -> None:
    from analysis.alignment import measurements
    from analysis.alignment.judging import answers, comparisons

    runs = answers.read(measurements.read(_RUNS.value))
    pairs = comparisons.chosen(runs, _POLICIES.value, _AGAINST.value)
    made = comparisons.made(runs, pairs, _PROMPTS.value)
    print(f"{len(made)} questions: {len(pairs)} pairs of policies, each prompt in both orders")
    for pair in pairs:
        print(f"  {pair.first} ({runs[pair.first].name}) against {pair.second}")
    if _DRY_RUN.value:
        return
    output_directory.make(_OUTPUT_DIR.value)
    comparisons.write(made, epath.Path(_OUTPUT_DIR.value))
    print(
        f"wrote {_OUTPUT_DIR.value}: {comparisons.COMPARISONS} for the judge, {comparisons.KEY} for analysis.frontier"
    )


if __name__ == "__main__":
    verbs.run(main)
