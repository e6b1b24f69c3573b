"""The task of each sample, inferred from how sure its tasks' models are."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hyperkeras.models.hypernetworks.continual_hypernetwork import ContinualHypernetwork
from hyperkeras.ops.argument_validation import check_layer, invalid_value
from hyperkeras.ops.prediction_entropy import prediction_entropy


def infer_task(
    model: ContinualHypernetwork,
    x: Any,
    heads: Sequence[Any] | None = None,
    num_tasks: int | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """The task of each sample: the one whose own prediction has the lowest entropy.

    Every task's weights predict every sample, which takes as many passes as there are tasks. No
    data of earlier tasks is needed (HNET+ENT of von Oswald et al. 2020).

    Args:
        model: `ContinualHypernetwork` whose target gives logits `[n, K]`.
        x: Samples `[n, ...]`, as `predict` of the target takes them.
        heads: None where all K outputs belong to every task (default), or for each task the
            outputs that are its own: a sequence of integers, or a slice.
        num_tasks: Integer, how many tasks to choose from, in the order of the model's
            `conditions`; None (default) for those that are finished, or for all before the first
            one is.
        batch_size: Integer, samples in a batch (default 32).

    Returns:
        Array of integers `[n]`.

    Example:

    ```python
    target = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    body = keras.layers.Embedding(2, 3)
    model = hyperkeras.models.ContinualHypernetwork(target, body, range(2))
    x = keras.random.normal((5, 8))
    model([keras.ops.zeros((5,), "int32"), x]).shape  # (5, 4)
    tasks = hyperkeras.models.infer_task(model, x, heads=[slice(0, 2), slice(2, 4)])
    tasks.shape  # (5,)
    ```

    References:
        - [von Oswald et al., 2020](https://arxiv.org/abs/1906.00695)
    """
    check_layer("model", model, ContinualHypernetwork, "a ContinualHypernetwork")
    count = num_tasks if num_tasks is not None else _learned(model)
    if not isinstance(count, int) or not 1 <= count <= model.num_tasks:
        raise invalid_value("num_tasks", f"an integer from 1 to {model.num_tasks}", num_tasks)
    if heads is not None and len(heads) < count:
        raise ValueError(
            f"Expected `heads` to have the outputs of each of {count} tasks. "
            f"Received: heads of {len(heads)} tasks"
        )
    rows = len(keras.tree.flatten(x)[0])
    entropies = []
    for task in range(count):
        condition = keras.tree.map_structure(
            lambda a, task=task: np.repeat(a[task : task + 1], rows, axis=0), model.task_conditions
        )
        logits = ops.convert_to_numpy(
            ops.cast(model.predict([condition, x], batch_size=batch_size, verbose=0), "float32")
        )
        own = logits if heads is None else logits[..., heads[task]]
        entropies.append(ops.convert_to_numpy(prediction_entropy(own)))
    return np.argmin(entropies, axis=0)


def _learned(model):
    """The number of finished tasks, or of all before the first one is."""
    return int(ops.convert_to_numpy(model.finished.value)) or model.num_tasks
