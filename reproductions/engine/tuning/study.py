"""Studies: Optuna draws settings, the harness trains with them, and validation data choose.

A study belongs to a model with one configuration. All studies of a preset are in one journal beside
the records of their trials, which several processes may write. A trial's process holds a lock; a
trial without one was interrupted, and the next process goes on with it. The first trial has the
preset's own settings. Test data are hidden.
"""

import contextlib
import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproductions.engine import atomic_files, checkpoints, harness, malloc, records
from reproductions.engine.harness import Job
from reproductions.engine.run_options import RunOptions
from reproductions.engine.task import Config, Record, Task
from reproductions.engine.training import SIGN
from reproductions.engine.tuning import space


class Untunable(ValueError):
    """A task or model that cannot be tuned; the message says why."""


FOLDER, JOURNAL = "tried", "studies.journal"


def folder(task: Task, preset: str, root: Path) -> Path:
    """The folder of a preset's trials."""
    return root / task.name / FOLDER / preset


@dataclass(frozen=True, kw_only=True)
class Study:
    """The trials of a model.

    Args:
        task: The task.
        model: Name of the model.
        config: The preset's configuration, of which trials change what is in the search space.
        options: How the trials are run; `folder` is that of the records and of the journal.
    """

    task: Task
    model: str
    config: Config
    options: RunOptions

    @property
    def name(self) -> str:
        labels = self.task.label_values(self.config)
        words = [self.model, *(f"{key}{value}" for key, value in labels.items())]
        return "-".join([*words, self.options.data])

    @property
    def space(self) -> dict[str, Any]:
        return space.space_of(self.task.search, self.model)

    def job(self, drawn: Config) -> Job:
        """The run of a trial; all have seed 0."""
        told = dict(task=self.task.name, model=self.model, preset=self.options.preset)
        return told | dict(data=self.options.data, seed=0, config=self.config | drawn)

    def path(self, number: int) -> Path:
        """Path of a trial's record."""
        return self.options.folder / f"{self.name}-trial{number}.json"

    def command(self, number: int) -> str:
        """The command that gives the study up to a trial."""
        words = ["python", "-m", "reproductions", "tune", self.task.name, "--models", self.model]
        words += ["--preset", self.options.preset, "--data", self.options.data]
        words += ["--trials", str(number + 1)]
        words += ["--epochs", str(self.options.epochs)] if self.options.epochs else []
        words += ["--data-dir", "DIR"] if self.options.data_dir else []
        return shlex.join(words)

    def opened(self) -> Any:
        """Optuna's study.

        Raises:
            RecordError: If the journal has trials of another configuration or search space.
        """
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.options.folder.mkdir(parents=True, exist_ok=True)
        backend = JournalFileBackend(str(self.options.folder / JOURNAL))
        metric, direction = next(iter(self.task.metrics.items()))
        with self._alone():
            study = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend),
                study_name=self.name,
                direction=f"{direction}imize",
                load_if_exists=True,
            )
            about = {"config": self.config, "space": repr(self.space), "metric": metric}
            if not study.user_attrs:
                first = {key: self.config[key] for key in self.space}
                study.enqueue_trial(first, skip_if_exists=True)
                study.set_user_attr("about", about)
            elif study.user_attrs["about"] != about:
                raise records.RecordError(
                    f"the study {self.name} in {self.options.folder / JOURNAL} is of another "
                    "configuration or search space, so its trials do not compare; give another "
                    "--out, or delete that folder to start anew"
                )
        return study

    def _alone(self) -> contextlib.AbstractContextManager:
        """The lock under which trials are counted and drawn."""
        return atomic_files.lock(self.options.folder / f"{self.name}.lock", wait=True)

    def trials(self, count: int) -> Generator[tuple[Any, Any]]:
        """Yields trials that are to be run, each under its lock, until the study has `count`."""
        study = self.opened()
        while (number := self._next(study, count)) is not None:
            checkpoint = checkpoints.path_of(self.path(number))
            with atomic_files.lock(checkpoint.with_suffix(".lock"), wait=False) as mine:
                trial = study.trials[number]
                if mine and not trial.state.is_finished():
                    atomic_files.sweep(self.path(number))
                    atomic_files.sweep(checkpoint)
                    yield study, trial

    def _next(self, study: Any, count: int) -> int | None:
        """The number of an interrupted trial, else of a new one; None where there are enough."""
        import optuna

        with self._alone():
            trials = study.trials
            for trial in trials:
                if trial.state == optuna.trial.TrialState.RUNNING and not self._is_held(trial):
                    return trial.number
            begun = [t for t in trials if t.state != optuna.trial.TrialState.WAITING]
            if len(begun) >= count:
                return None
            # Of its own for each trial: processes with one seed would draw the same.
            study.sampler = optuna.samplers.TPESampler(seed=len(begun))
            drawn = {key: _distribution(values) for key, values in self.space.items()}
            return study.ask(fixed_distributions=drawn).number

    def _is_held(self, trial: Any) -> bool:
        """Whether a process runs the trial now."""
        path = checkpoints.path_of(self.path(trial.number)).with_suffix(".lock")
        with atomic_files.lock(path, wait=False) as free:
            return not free


def _distribution(values: space.Range | space.Choices) -> Any:
    from optuna import distributions

    if isinstance(values, tuple):
        return distributions.CategoricalDistribution(values)
    kinds = distributions.IntDistribution, distributions.FloatDistribution
    integer = isinstance(values.low, int) and isinstance(values.high, int)
    return kinds[not integer](values.low, values.high, log=values.log)


def studies(task: Task, models: Sequence[str], options: RunOptions) -> list[Study]:
    """A study for each model and configuration.

    Raises:
        Untunable: If the task or one of the models cannot be tuned.
    """
    if task.measure is not None:
        raise Untunable(f"{task.name} cannot be tuned: its runs are measured, not trained")
    asked = [
        Study(task=task, model=model, config=config, options=options)
        for model in models
        for config in task.settings(model, options.preset, options.data, options.epochs)
    ]
    for study in asked:
        try:
            space.check(study.space, study.config)
        except ValueError as error:
            raise Untunable(f"{task.name} {study.model} cannot be tuned: {error}") from error
    return asked


def tune(task: Task, models: Sequence[str], options: RunOptions, count: int) -> int:
    """Run trials until each model has `count` of them; how many failed just now."""
    malloc.keep_freed()
    failed = 0
    for study in studies(task, models, options):
        with contextlib.closing(study.trials(count)) as trials:
            for opened, trial in trials:
                record = _tried(study, trial)
                failed += record["status"] == "failed"
                opened.tell(trial.number, **_told(task, record))
                print(f"{study.name} {trial.number + 1}/{count}: {_summary(task, record)}")
    return failed


def _tried(study: Study, trial: Any) -> Record:
    """The record of a trial, which is there already where a process ended just after writing it."""
    job, path = study.job(trial.params), study.path(trial.number)
    if path.exists():
        record = records.read(path)
        if all(record[key] == job[key] for key in job):
            return record
    command = study.command(trial.number)
    return harness.execute(study.task, job, path, study.options, lambda _epochs: None, command)


def _told(task: Task, record: Record) -> dict[str, Any]:
    import optuna

    if record["status"] == "failed":
        return {"state": optuna.trial.TrialState.FAIL}
    return {"values": value(task, record)}


def value(task: Task, record: Record) -> float | None:
    """What a trial is judged by: its best validation metric; None where it failed."""
    if record["status"] == "failed":
        return None
    return record["metrics"]["valid"][next(iter(task.metrics))]


def best(task: Task, tried: Sequence[Record]) -> Record | None:
    """The best of some trials."""
    sign = SIGN[next(iter(task.metrics.values()))]
    values = ((value(task, record), record) for record in tried)
    done = [(sign * number, record) for number, record in values if number is not None]
    return max(done, key=lambda pair: pair[0], default=(0, None))[1]


def _summary(task: Task, record: Record) -> str:
    if record["status"] == "failed":
        return f"failed: {record['error'].splitlines()[0]}"
    metric = next(iter(task.metrics))
    return f"validation {metric} {value(task, record):.4g}, {record['seconds']:.0f} s"
