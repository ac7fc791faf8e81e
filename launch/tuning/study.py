"""The Optuna study of a search: its journal is a convenience, the run directories are the truth.

At every start the journal is held against the directories. One that is lost, torn, of another objective or otherwise in disagreement is set aside
and written anew from them, so nothing that was trained is forgotten or trained twice.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from launch.search_config import Search
from launch.tuning.objective import Score
from launch.tuning.space import Space
from launch.tuning.trials import Trial
from scaling import extras

if TYPE_CHECKING:
    import optuna


class Study:
    """Asks Optuna for trials and tells it their scores."""

    def __init__(self, search: Search, name: str, journal: pathlib.Path, disk: Sequence[Trial]):
        """Opens the journal, or makes it anew from the trials on disk.

        Args:
          search: the settings.
          name: of the study in the journal.
          journal: its file; made where it is missing.
          disk: what the run directories show.

        Raises:
          ConfigError: Optuna is not installed.
        """
        require_optuna()
        self._search = search
        self._distributions = Space(search.space).distributions()
        self.rebuilt = not _is_whole(journal)
        if not self.rebuilt:
            self._study = self._opened(name, journal)
            self.rebuilt = not self._agrees_with(disk)
        if self.rebuilt:
            _set_aside(journal)
            self._study = self._opened(name, journal)
            self._fill(disk)

    def ask(self) -> Trial:
        """The next trial, marked as running."""
        # A sampler made anew for each trial: after a restart it would otherwise draw the first trials once more.
        self._study.sampler = self._sampler(len(self._study.get_trials(deepcopy=False)))
        asked = self._study.ask(fixed_distributions=self._distributions)
        return Trial(asked.number, asked.params)

    def tell(self, number: int, score: Score) -> None:
        """Tells the score of a running trial; a diverged one is pruned at its stated value."""
        from optuna.trial import Trial as Running
        from optuna.trial import TrialState

        if score.diverged:
            trial_id = self._study.get_trials(deepcopy=False)[number]._trial_id
            Running(self._study, trial_id).report(score.value, step=0)
            self._study.tell(number, state=TrialState.PRUNED)
        else:
            self._study.tell(number, score.value)

    def give_up(self, number: int) -> None:
        """Tells that a trial failed for a reason that says nothing about its parameters."""
        from optuna.trial import TrialState

        self._study.tell(number, state=TrialState.FAIL)

    def running(self) -> list[Trial]:
        """Trials that were asked for and not told."""
        return [Trial(trial.number, trial.params) for trial in self._trials("RUNNING")]

    def told(self) -> list[Trial]:
        """Trials with their scores, in the order of their numbers."""
        return [
            Trial(trial.number, trial.params, Score(float(trial.value), trial.state.name == "PRUNED"))
            for trial in self._trials("COMPLETE", "PRUNED")
        ]

    def failed(self) -> list[int]:
        """Numbers of the trials that were given up."""
        return [trial.number for trial in self._trials("FAIL") if trial.params]

    def left(self) -> int:
        """Trials that may still be asked for."""
        return max(0, self._search.trials - len(self.told()) - len(self.failed()) - len(self.running()))

    def _trials(self, *states: str) -> list["optuna.trial.FrozenTrial"]:
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.name in states]

    def _opened(self, name: str, journal: pathlib.Path) -> "optuna.Study":
        import optuna
        from optuna.storages import journal as journals

        journal.parent.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.JournalStorage(journals.JournalFileBackend(str(journal)))
        return optuna.create_study(
            storage=storage,
            study_name=name,
            direction=self._search.direction,
            load_if_exists=True,
            sampler=self._sampler(0),
        )

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        import numpy as np
        from optuna import samplers

        seed = int(np.random.SeedSequence([self._search.seed, number]).generate_state(1)[0])
        if self._search.sampler == "random":
            return samplers.RandomSampler(seed)
        # The liar takes running trials for bad ones, so that those in training are not all alike.
        return samplers.TPESampler(seed=seed, n_startup_trials=self._search.startup, constant_liar=True)

    def _agrees_with(self, disk: Sequence[Trial]) -> bool:
        """Whether the journal holds every trial of the directories, and no score that they do not show."""
        if self._study.direction.name.lower() != self._search.direction:
            return False
        shown = {trial.number: trial for trial in disk}
        known = {trial.number: trial for trial in self._trials("COMPLETE", "PRUNED", "RUNNING", "FAIL")}
        for number, trial in shown.items():
            noted = known.get(number)
            if noted is None or noted.params != trial.parameters or (noted.state.name == "FAIL" and trial.score):
                return False
        # Trials of equal parameters are one run, whose directory carries the number of the first.
        scores = {_key(trial): trial.score for trial in disk}
        return all(scores.get(_key(trial)) == trial.score for trial in self.told())

    def _fill(self, disk: Sequence[Trial]) -> None:
        """Adds the trials of the directories under their own numbers; one that never got a directory leaves a failed one without parameters."""
        from optuna.trial import TrialState, create_trial

        known = {trial.number: trial for trial in disk}
        for number in range(max(known, default=-1) + 1):
            if number not in known:
                self._study.add_trial(create_trial(state=TrialState.FAIL))
                continue
            parameters, score = known[number].parameters, known[number].score
            outcome: dict[str, Any] = {"state": TrialState.RUNNING}
            if score is not None:
                pruned = {"state": TrialState.PRUNED, "intermediate_values": {0: score.value}}
                outcome = pruned if score.diverged else {"state": TrialState.COMPLETE}
                outcome["value"] = score.value
            self._study.add_trial(create_trial(params=parameters, distributions=self._distributions, **outcome))


def require_optuna() -> None:
    """Looks for the package, and quietens it.

    Raises:
      ConfigError: it is not installed.
    """
    optuna = extras.require("optuna", "launch.search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _key(trial: Trial) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(trial.parameters.items()))


def _is_whole(journal: pathlib.Path) -> bool:
    """Whether every line is complete JSON: a torn one would spoil the next that is written."""
    if not journal.exists():
        return False
    text = journal.read_bytes()
    try:
        for line in text.splitlines():
            json.loads(line)
    except ValueError:
        return False
    return text.endswith(b"\n")


def _set_aside(journal: pathlib.Path) -> None:
    if journal.exists():
        journal.replace(journal.with_name(f"{journal.name}.set_aside"))
