"""A training's state between two epochs, in one file: what a resumed run needs to go on."""

import io
import json

import numpy as np

from reproductions.engine import atomic_files


def path_of(record):
    """Where the checkpoint of the run lies whose record is, or will be, at the path `record`."""
    return record.parent / "checkpoints" / f"{record.stem}.npz"


def _state(network):
    """Weights, states of seed generators, and the optimizer's variables."""
    return [*network.variables, *network.optimizer.variables]


def save(path, one, network, progress, best):
    arrays = {f"state{i}": variable.numpy() for i, variable in enumerate(_state(network))}
    arrays |= {f"best{i}": value for i, value in enumerate(best)}
    content = io.BytesIO()
    np.savez(content, meta=np.array(json.dumps([one, progress])), **arrays)
    atomic_files.write(path, content.getvalue())


def restore(path, one, network):
    """Bring the network to its last epoch's end; progress and best weights, None if not `one`'s."""
    states, weights = _state(network), network.variables
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            before, progress = json.loads(str(file["meta"]))
            if before != one:
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
