"""A run's JSON record: its keys, where it lies, and what it says of machine and checkout."""

import json
import os
import platform
import shlex
import subprocess
from importlib import metadata
from pathlib import Path

from reproductions.engine import atomic_files
from reproductions.engine.atomic_files import RecordError
from reproductions.engine.run_options import RunOptions
from reproductions.engine.task import Record, Task

KEYS = (
    *("task", "model", "preset", "data", "seed", "config", "command", "parameters", "metrics"),
    *("seconds", "device", "versions", "commit", "dirty", "status", "error"),
)


BACKENDS = ("jax", "torch")  # whose runs have the backend in their file's name


def backend_of(record: Record) -> str | None:
    """The backend that a record's run had, where it was not TensorFlow."""
    return next((name for name in BACKENDS if name in (record.get("versions") or {})), None)


def file_name(task: Task, run: Record, backend: str | None = None) -> str:
    """The name of a run's file. TensorFlow is not in it, so that older records keep their names."""
    words = [run["model"], *(f"{k}{v}" for k, v in task.label_values(run["config"]).items())]
    words += [run["data"], *([backend] if backend in BACKENDS else []), f"seed{run['seed']}"]
    return f"{'-'.join(words)}.json"


def write(path: Path, record: Record) -> None:
    """Write a record; what it leaves out of `KEYS` is null.

    Raises:
        RecordError: If the file cannot be written.
    """
    ordered = {key: record.get(key) for key in KEYS}
    atomic_files.write(path, (json.dumps(ordered, indent=1, allow_nan=False) + "\n").encode())


def read(path: Path) -> Record:
    """Read a record.

    Raises:
        RecordError: If the file is no record.
    """
    try:
        record = json.loads(path.read_text())
        if not isinstance(record, dict) or set(record) != set(KEYS):
            raise ValueError(f"expected an object with the keys {', '.join(KEYS)}")
        return record
    except ValueError as error:
        raise RecordError(
            f"{path} is not a valid record ({error}); restore it, or delete it to run it anew"
        ) from error


def command(run: Record, options: RunOptions) -> str:
    """The command that gives this record again, without the names of this machine's folders."""
    import keras

    backend = keras.backend.backend()
    words = [f"KERAS_BACKEND={backend}"] if backend in BACKENDS else []
    words += ["python", "-m", "reproductions", "run", run["task"], "--models", run["model"]]
    words += ["--preset", run["preset"], "--data", run["data"], "--seeds", str(run["seed"] + 1)]
    words += ["--epochs", str(options.epochs)] if options.epochs else []
    words += ["--data-dir", "DIR"] if options.data_dir else []
    words += ["--deterministic"] if options.deterministic else []
    words += ["--distribute"] if options.scope else []
    return shlex.join(words)


def environment() -> Record:
    """Device, versions and the state of the checkout; null where git cannot tell."""
    import keras

    import hyperkeras

    backend = keras.backend.backend()
    versions = {name: metadata.version(name) for name in ("keras", backend, "numpy")}
    versions |= {"python": platform.python_version(), "hyperkeras": hyperkeras.__version__}
    # Records written by this very run don't make the code that ran another.
    status = _git("status", "--porcelain", "--", ":/", ":(top,exclude)reproductions/results")
    return {
        "device": _device(),
        "versions": versions,
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
    }


def _git(*words: str) -> str | None:
    folder = Path(__file__).parents[1]
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
    except OSError:
        return None
    return None if done.returncode else done.stdout.strip()


def _device() -> str:
    """The accelerators if there are any, else the processor and its number of cores."""
    accelerators = _accelerators()
    if accelerators:
        return ", ".join(accelerators)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.machine()])[0]}, {os.cpu_count()} cores"


def _accelerators() -> list[str]:
    import keras

    if keras.backend.backend() != "torch":
        return [d for d in keras.distribution.list_devices() if not d.startswith("cpu")]
    import torch  # for which Keras lists no devices

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
