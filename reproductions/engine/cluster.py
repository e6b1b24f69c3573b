"""The runs of a task on the machines of a Ray cluster: a processor a run, a record each as ever."""

import contextlib
import dataclasses
import importlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reproductions.engine import atomic_files, checkpoints, harness, records
from reproductions.engine.run_options import RunOptions
from reproductions.engine.task import Task

RETRIES = 3  # of a run whose machine died
PASSED_ON = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "TF_ONEDNN_USE_SYSTEM_ALLOCATOR")


def run(task: Task, models: Sequence[str], options: RunOptions, address: str | None = None) -> int:
    """Hand the runs that have no record to a cluster; the number of failures.

    Records and pictures come back to this machine and are written here, so that the machines share
    no folder. Each of them has this project and the task's data, in the same places. A run whose
    machine dies begins again on another one.

    Args:
        task: One of the project's tasks.
        models: Names of its models.
        options: How they are run. `scope` and `deterministic` are for runs in this process.
        address: Address of a cluster, "auto" for the one of this machine; None (default) starts
            one here for the time being.
    """
    import ray

    failed = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(_connected(address))
        gpus = min(1, ray.cluster_resources().get("GPU", 0))
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_on_a_machine)
        waiting = {}
        for one in harness.pending(task, models, options):
            lock = checkpoints.path_of(one.path).with_suffix(".lock")
            if not stack.enter_context(atomic_files.lock(lock, wait=False)):
                print(f"{one.path.stem}: left to the process that runs it")
                continue
            atomic_files.sweep(one.path)
            command = records.command(one.job, options)
            asked = task.name, one.job, one.path.name, options, command
            waiting[remote.remote(*asked)] = one.path
        while waiting:
            (done, *_), _ = ray.wait(list(waiting))
            path = waiting.pop(done)
            for name, content in ray.get(done).items():
                atomic_files.write(path.parent / name, content)
            record = records.read(path)
            failed += record["status"] == "failed"
            print(f"{path.stem}: {harness.summary(record)}; {len(waiting)} to go", flush=True)
    return failed


@contextlib.contextmanager
def _connected(address: str | None) -> Any:
    import ray

    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    ray.init(
        address=address or "local",
        runtime_env={"env_vars": variables},
        include_dashboard=False,
        log_to_driver=False,
    )
    try:
        yield
    finally:
        ray.shutdown()


def _on_a_machine(
    name: str, job: harness.Job, file: str, options: RunOptions, command: str
) -> dict[str, bytes]:
    """Run a job; the files that it leaves, the record among them."""
    task = importlib.import_module(f"reproductions.tasks.{name}").TASK
    with tempfile.TemporaryDirectory() as folder:
        options = dataclasses.replace(options, folder=Path(folder))
        harness.execute(task, job, options.folder / file, options, _ignore, command)
        return {path.name: path.read_bytes() for path in options.folder.iterdir() if path.is_file()}


def _ignore(epochs: float) -> None:
    """No progress bar shows an epoch of another machine."""
