"""The runs of a task: seed → fit → choose on validation → test once → one JSON record.

What a task has to have says `reproductions.engine.task.Task`. A run that has a finished record is
skipped, an interrupted one goes on after its last epoch. A run holds a lock beside its checkpoint,
so that a second process in the same folder takes other runs, and waits for the rest.
"""

import contextlib
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reproductions.data.data_dir import DataError
from reproductions.data.without_test import WithoutTest
from reproductions.engine import atomic_files, checkpoints, malloc, records, training
from reproductions.engine.run_options import RunOptions
from reproductions.engine.task import Measure, Record, Task

CHECKOUT = Path(__file__).parents[2]


Job = dict[str, Any]  # what tells a run from others: task, model, preset, data, seed and config
Advance = Callable[[float], None]


class Run(NamedTuple):
    """A run that is asked for, and the path of its record."""

    task: Task
    options: RunOptions
    job: Job
    path: Path


def jobs(task: Task, models: Sequence[str], options: RunOptions) -> list[tuple[Job, Path]]:
    """The runs that are asked for, each with its record's path."""
    import keras

    preset, data, backend = options.preset, options.data, keras.backend.backend()
    asked = [
        dict(task=task.name, model=model, preset=preset, data=data, seed=seed, config=config)
        for model in models
        for config in task.settings(model, preset, data, options.epochs)
        for seed in range(options.seeds or task.seeds_of(model, preset))
    ]
    return [(job, options.folder / records.file_name(task, job, backend)) for job in asked]


def pending(task: Task, models: Sequence[str], options: RunOptions) -> list[Run]:
    """The runs that are asked for and have no finished record; says which have one."""
    return [
        Run(task, options, job, path)
        for job, path in jobs(task, models, options)
        if not _done(job, path, options)
    ]


def run(task: Task, models: Sequence[str], options: RunOptions) -> int:
    """Run what has no finished record of its configuration; the number of failures."""
    return run_all([(task, models, options)])


def run_all(asked: Sequence[tuple[Task, Sequence[str], RunOptions]]) -> int:
    """Run models of several tasks under one progress bar; the number of failures."""
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    if any(task.data is not None for task, _, _ in asked):  # else memory may be measured as for all
        malloc.keep_freed()
    left = [one for task, models, options in asked for one in pending(task, models, options)]
    failed, over = 0, 0
    columns = "{task.description}", BarColumn(), "{task.percentage:.0f} %", TimeRemainingColumn()
    with Progress(*columns) as progress, contextlib.ExitStack() as stack:
        bar = progress.add_task(asked[0][0].name, total=sum(_epochs(run.job) for run in left))
        held = contextlib.closing(_locked(left, progress.console.print))
        for task, options, job, path in stack.enter_context(held):
            if not _done(job, path, options):  # by another process, since
                title = _title(path) if len(asked) == 1 else f"{task.name}: {_title(path)}"
                progress.update(bar, description=title, completed=over)

                def advance(count, past=over):
                    progress.update(bar, completed=past + count)

                command = records.command(job, options)
                record = execute(task, job, path, options, advance, command)
                failed += record["status"] == "failed"
                text = f"{title}: {summary(record)}"
                progress.console.print(text, markup=False, highlight=False)
            over += _epochs(job)
            progress.update(bar, completed=over)
    return failed


def _epochs(job: Job) -> int:
    return job["config"].get("epochs", 1)


def _title(path: Path) -> str:
    return path.stem.replace("-", " ")


def _locked(pending: Sequence[Run], say: Callable) -> Generator[Run]:
    """Yields each run under its lock; last those that another process holds now."""
    held: list[Run] = []
    for wait, runs in ((False, pending), (True, held)):
        for run in runs:
            checkpoint = checkpoints.path_of(run.path)
            if wait:
                say(f"{_title(run.path)}: waiting for the process that runs it", markup=False)
            with atomic_files.lock(checkpoint.with_suffix(".lock"), wait) as mine:
                if not mine:
                    held.append(run)
                    continue
                atomic_files.sweep(run.path)
                atomic_files.sweep(checkpoint)
                yield run


def _done(job: Job, path: Path, options: RunOptions) -> bool:
    """Whether there is a finished record of this very run; says so."""
    if not path.exists():
        return False
    record = records.read(path)
    done = record["status"] == "finished" and all(record[key] == job[key] for key in job)
    backend = records.backend_of(record)  # once it was not in the name
    done = done and (backend is None or f"-{backend}-" in path.name)
    if options.deterministic:
        done = done and "--deterministic" in (record["command"] or "").split()
    if done:
        print(f"{_title(path)}: finished before, skipped")
    return done


def summary(record: Record) -> str:
    """A finished run's test metrics, or a failed one's error, in a line."""
    if record["status"] == "failed":
        return f"failed: {record['error'].splitlines()[0]}"
    metrics = record["metrics"]["test"].items()
    numbers = [(k, v) for k, v in metrics if v is not None and not isinstance(v, str)]
    figures = ", ".join(f"{key} {value:.4g}" for key, value in numbers)
    return f"{figures}, {record['seconds']:.0f} s"


def execute(
    task: Task, job: Job, path: Path, options: RunOptions, advance: Advance, command: str
) -> Record:
    """Run a job, from its checkpoint where there is one, and write its record.

    Args:
        task: The task.
        job: The job.
        path: Path of the record.
        options: How it is run.
        advance: Called with the number of epochs done so far.
        command: The command line that gives this record again.
    """
    record = job | _run(task, job, path, options, advance) | {"command": command}
    records.write(path, record)
    if record["status"] == "finished":
        atomic_files.remove(checkpoints.path_of(path))
    return record


def _run(task: Task, job: Job, path: Path, options: RunOptions, advance: Advance) -> Record:
    """The rest of the job's record."""
    data = None
    if task.data is not None:  # fails at once where it is missing
        data = task.data(job["data"], job["config"], options.data_dir)
        data = data if options.test else WithoutTest(data)
    record = records.environment()
    try:
        if task.measure is not None:
            record |= _measured(task.measure, job, data, options)
        else:
            scope = options.scope or contextlib.nullcontext
            how = options.deterministic, advance, scope, options.test
            record |= training.run(task, job, data, path, *how)
        return record | {"status": "finished"}
    except (records.RecordError, DataError):
        raise
    except Exception as error:
        return record | {"status": "failed", "error": _described(error)}


def _measured(measure: Measure, job: Job, data: Any, options: RunOptions) -> Record:
    if options.deterministic:  # which wants a seed for all that is drawn
        training.set_seed(job["seed"])
    start = time.perf_counter()
    measured = measure(job["model"], job["config"], job["seed"], data)
    return measured | {"seconds": round(time.perf_counter() - start, 1)}


def _described(error: Exception) -> str:
    """The error on the first line, then its traceback without this machine's folders."""
    lines = [f"{type(error).__name__}: {error}"]
    for frame in traceback.extract_tb(error.__traceback__):
        name = frame.filename.removeprefix(f"{CHECKOUT}/").rpartition("site-packages/")[2]
        name = Path(name).name if Path(name).is_absolute() else name
        lines.append(f"  {name}:{frame.lineno} in {frame.name}: {frame.line}")
    return "\n".join(lines)
