"""What is run of a task, and how."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What is run of a task, and how.

    Args:
        preset: Name of the preset.
        data: Name of the data set.
        folder: Folder of the records.
        data_dir: Folder of prepared or raw data (default `None`).
        seeds: Number of seeds instead of the preset's (default `None`).
        epochs: Number of epochs instead of the preset's (default `None`).
        deterministic: Whether the backend's operations are deterministic (default `False`):
            records and checkpoints of other runs are not used then.
        scope: Gives the scope that places a network on several devices (default `None`).
        test: Whether test data are evaluated and drawn (default `True`). Without, a hook that reads
            them fails.
    """

    preset: str
    data: str
    folder: Path
    data_dir: Path | None = None
    seeds: int | None = None
    epochs: int | None = None
    deterministic: bool = False
    scope: Callable[[], contextlib.AbstractContextManager] | None = None
    test: bool = True
