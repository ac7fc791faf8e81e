"""Has a reward judge comparisons: a judge that no policy was optimised against, where no person and no other model is at hand.

python -m analysis.judge --gin_file=configs/align/judges/lexicon.gin --comparisons=DIR/comparisons.jsonl --output=DIR/lexicon.jsonl [--dry_run]

`analysis.comparisons` writes the comparisons, `analysis.frontier --judgements` reads the answers.
"""

import json
from collections.abc import Sequence

from absl import flags
from etils import epath

from analysis.laws.errors import TableError
from scaling import gin_files, verbs
from scaling.errors import ConfigError, DataError

_COMPARISONS = flags.DEFINE_string("comparisons", None, "The comparisons.jsonl of analysis.comparisons.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Where the answers go; needed unless --dry_run.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Say who would judge how much, and write nothing.")


def main(argv: Sequence[str]) -> None:
    """The verb."""
    del argv
    verbs.share_compilations()
    # Imported here, because the line above must come before JAX is, and --help needs none of it.
    from analysis.alignment.judging import reward_judge
    from analysis.alignment.judging.comparisons import read

    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file is given", "see configs/align/judges/")
    if not _OUTPUT.value and not _DRY_RUN.value:
        raise ConfigError("--output is missing", "say where the answers go, or add --dry_run")
    judge = gin_files.load(reward_judge.RewardJudge, verbs.gin_file_flags(), verbs.gin_binding_flags()).config
    try:
        asked = read(_COMPARISONS.value)
    except TableError as error:
        raise DataError(error.what, error.remedy) from error
    print(f"{judge.reward.name} (identity {judge.reward.identity}) judges {len(asked)} comparisons")
    if _DRY_RUN.value:
        return
    said = reward_judge.verdicts(judge, asked)
    epath.Path(_OUTPUT.value).write_text("".join(json.dumps(line) + "\n" for line in said))
    ties = sum(line["verdict"] == "tie" for line in said)
    print(f"wrote {_OUTPUT.value}: {len(said)} verdicts, {ties} ties")


if __name__ == "__main__":
    verbs.run(main)
