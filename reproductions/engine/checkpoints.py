"""A training's state between two epochs, in one file: what a resumed run needs to go on."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reproductions.engine import atomic_files


def path_of(record: Path) -> Path:
    """Where the checkpoint of the run lies whose record is, or will be, at the path `record`."""
    return record.parent / "checkpoints" / f"{record.stem}.npz"


def _state(network: Any) -> list[Any]:
    """Weights, states of seed generators, and the optimizer's variables."""
    return [*network.variables, *network.optimizer.variables]


def save(path: Path, job: dict, network: Any, progress: dict, best: Sequence[np.ndarray]) -> None:
    """Write the state of a training.

    Args:
        path: Path of the file.
        job: What tells the run from others, as JSON can hold it.
        network: Compiled Keras model whose optimizer is built.
        progress: What is known of the training so far, as JSON can hold it.
        best: Values of the model's variables that are best so far, or none yet.
    """
    arrays = {f"state{i}": variable.numpy() for i, variable in enumerate(_state(network))}
    arrays |= {f"best{i}": value for i, value in enumerate(best)}
    content = io.BytesIO()
    np.savez(content, meta=np.array(json.dumps([job, progress])), **arrays)
    atomic_files.write(path, content.getvalue())


def restore(path: Path, job: dict, network: Any) -> tuple[dict, list[np.ndarray]] | None:
    """Bring the network to the end of its last epoch.

    Returns:
        The progress and the best weights; None if the file is of another job.

    Raises:
        RecordError: If the file is damaged.
    """
    states, weights = _state(network), network.variables
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            before, progress = json.loads(str(file["meta"]))
            if before != job:
                return None
            state = [file[f"state{i}"] for i in range(len(states))]
            best = [file[f"best{i}"] for i in range(len(weights))]
            if len(file.files) != 1 + len(state) + len(best):
                raise ValueError(f"expected {len(state)} states, got more")
        for variable, value in zip(states, state, strict=True):
            variable.assign(value)
        return progress, best
    except Exception as error:  # zipfile and NumPy name damage in a dozen ways
        raise atomic_files.RecordError(
            f"the checkpoint {path} cannot be used ({error}); delete it to start its run anew"
        ) from error
