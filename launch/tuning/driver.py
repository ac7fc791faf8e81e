"""The one process that drives a search: it asks for trials, has an engine train their runs, and tells what the records say.

Whatever ends it, the same command continues: trials that were asked for and not told are trained first, and the study is held against the run
directories (:mod:`launch.tuning.study`).
"""

import contextlib
from collections.abc import Iterator

from launch import claims
from launch.engines import catalogue
from launch.engines.engine import Engine
from launch.tuning import refilling, rounds, trials
from launch.tuning.prepared import Prepared
from launch.tuning.study import Study, require_optuna
from scaling.errors import InterruptedRunError


def run(prepared: Prepared, engine: Engine) -> Study:
    """Drives the search to its last trial: in rounds where a submission of the engine is a whole sweep, else without.

    Args:
      prepared: see :func:`launch.tuning.prepared.prepare`.
      engine: trains the runs side by side as far as it has slots.

    Returns:
      the study, every trial told or given up.

    Raises:
      InterruptedRunError: a signal ended it, or another process drives the search.
      BadInputError: runs were refused.
      ConfigError: Optuna is not installed, or the objective is not in the records.
    """
    search, root = prepared.search, prepared.root
    require_optuna()
    engine.check(root)
    with _only_driver(prepared):
        study = Study(search, prepared.search_id, prepared.journal, trials.on_disk(root, prepared.search_id, search))
        if study.rebuilt and study.told():
            print(f"the journal was written anew from {len(study.told())} recorded trials")
        in_rounds = search.rounds or not catalogue.is_attached(engine)
        (rounds if in_rounds else refilling).train(prepared, engine, study)
    return study


@contextlib.contextmanager
def _only_driver(prepared: Prepared) -> Iterator[None]:
    """Two drivers would ask for the same trials twice."""
    claim = claims.try_claim(prepared.journal.parent, f"{prepared.search_id}.lock")
    if claim is None:
        raise InterruptedRunError(
            f"another process drives the search {prepared.search_id}; the same command continues what it leaves"
        )
    try:
        yield
    finally:
        claim.close()
