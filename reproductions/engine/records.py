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

KEYS = (
    *("task", "model", "preset", "data", "seed", "config", "command", "parameters", "metrics"),
    *("seconds", "device", "versions", "commit", "dirty", "status", "error"),
)


def file_name(task, run):
    labeled = "".join(f"-{key}{value}" for key, value in task.label_values(run["config"]).items())
    return f"{run['model']}{labeled}-{run['data']}-seed{run['seed']}.json"


def write(path, record):
    ordered = {key: record.get(key) for key in KEYS}
    atomic_files.write(path, (json.dumps(ordered, indent=1, allow_nan=False) + "\n").encode())


def read(path):
    try:
        record = json.loads(path.read_text())
        if not isinstance(record, dict) or set(record) != set(KEYS):
            raise ValueError(f"expected an object with the keys {', '.join(KEYS)}")
        return record
    except ValueError as error:
        raise RecordError(
            f"{path} is not a valid record ({error}); restore it, or delete it to run it anew"
        ) from error


def command(run, options):
    """The command that gives this record again, without the names of this machine's folders."""
    words = ["python", "-m", "reproductions", "run", run["task"], "--models", run["model"]]
    words += ["--preset", run["preset"], "--data", run["data"], "--seeds", str(run["seed"] + 1)]
    words += ["--epochs", str(options.epochs)] if options.epochs else []
    words += ["--data-dir", "DIR"] if options.data_dir else []
    words += ["--deterministic"] if options.deterministic else []
    words += ["--distribute"] if options.scope else []
    return shlex.join(words)


def environment():
    """Device, versions and the state of the checkout, null where git cannot tell."""
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


def _git(*words):
    folder = Path(__file__).parents[1]
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
    except OSError:
        return None
    return None if done.returncode else done.stdout.strip()


def _device():
    """The accelerators if there are any, else processor and number of cores."""
    import keras

    accelerators = [d for d in keras.distribution.list_devices() if not d.startswith("cpu")]
    if accelerators:
        return ", ".join(accelerators)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.machine()])[0]}, {os.cpu_count()} cores"
