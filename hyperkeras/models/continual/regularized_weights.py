"""Which generated weights a continual hypernetwork holds in place, task by task."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.argument_validation import invalid_value

EXPECTED = (
    "None, a function (variable, task) → boolean or boolean array that broadcasts to the "
    "variable's shape, or a list of such values for each variable, for each task"
)


class RegularizedWeights:
    """Which weights are held, of each task.

    Args:
        regularized: As for `ContinualHypernetwork`, not None.
        variables: The generated variables.
        num_tasks: Integer, the number of tasks.
    """

    def __init__(
        self,
        regularized: Callable | Sequence[Any],
        variables: Sequence[keras.Variable],
        num_tasks: int,
    ) -> None:
        self.shapes = [tuple(variable.shape) for variable in variables]
        if callable(regularized):
            chosen = [[regularized(v, task) for v in variables] for task in range(num_tasks)]
        else:
            try:
                chosen = [list(masks) for masks in regularized]
            except TypeError:
                raise invalid_value("regularized", EXPECTED, regularized) from None
        if [len(masks) for masks in chosen] != [len(variables)] * num_tasks:
            raise invalid_value("regularized", EXPECTED, regularized)
        self.masks = [
            [self._mask(mask, v, task) for mask, v in zip(masks, variables, strict=True)]
            for task, masks in enumerate(chosen)
        ]

    def _mask(self, mask, variable, task):
        """`mask` as a boolean array that broadcasts to the shape of a variable."""
        array = np.asarray(mask)
        try:
            fits = np.broadcast_shapes(array.shape, variable.shape) == tuple(variable.shape)
        except ValueError:
            fits = False
        if array.dtype != bool or not fits:
            raise ValueError(
                f"Expected `regularized` to give a boolean, or a boolean array that broadcasts to "
                f"{tuple(variable.shape)}, for '{variable.path}' of task {task}. "
                f"Received: {array.dtype} of shape {array.shape}"
            )
        return array

    def rows(self) -> Tensor:
        """Boolean tensor `[tasks, N]`: whether a generated number is held.

        Variable by variable, so that a mask that broadcasts stays small in a compiled step.
        """
        parts = []
        for masks, shape in zip(zip(*self.masks, strict=True), self.shapes, strict=True):
            own = np.broadcast_shapes(*(mask.shape for mask in masks))
            own = (1,) * (len(shape) - len(own)) + own
            stacked = np.stack([np.broadcast_to(mask, own) for mask in masks])
            whole = ops.broadcast_to(ops.convert_to_tensor(stacked), (len(masks), *shape))
            parts.append(ops.reshape(whole, (len(masks), math.prod(shape))))
        return ops.concatenate(parts, axis=1)

    def entries(self) -> list[list[Any]]:
        """The masks as lists, for a configuration."""
        return [[mask.tolist() for mask in masks] for masks in self.masks]
