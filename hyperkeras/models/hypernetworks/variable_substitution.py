"""Tensors in place of variables, while a layer runs."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras

from hyperkeras.annotations import Tensor


class Substitution(keras.StatelessScope):
    """A scope in which `pairs` of variables and tensors hold, nested in any other.

    Variables beyond the pairs keep the value that the scope around gives them. What the layer
    updates, moving statistics and seeds, is kept back until the end: see `run`.
    """

    def __init__(self, pairs: Iterable[tuple[keras.Variable, Tensor]]) -> None:
        super().__init__(collect_losses=True, initialize_variables=False)
        self.original_scope = None
        # Not by the base's argument, which wants the variables' very shapes.
        self.state_mapping = {id(variable): value for variable, value in pairs}
        self.updated: dict[int, tuple[keras.Variable, Tensor]] = {}

    def get_current_value(self, variable: Any) -> Any:
        value = super().get_current_value(variable)
        if value is None and self.original_scope is not None:
            return self.original_scope.get_current_value(variable)
        return value

    def add_update(self, update: Any) -> None:
        super().add_update(update)
        self.updated[id(update[0])] = update


def run(
    function: Callable, pairs: Iterable[tuple[keras.Variable, Tensor]], *args: Any, **kwargs: Any
) -> tuple[Any, list[Tensor]]:
    """`function(*args, **kwargs)` with the pairs' tensors; its outputs, and losses it added.

    Updates of other variables reach them, as without the substitution.
    """
    with Substitution(pairs) as scope:
        outputs = function(*args, **kwargs)
    for variable, value in scope.updated.values():
        variable.assign(value)
    return outputs, scope.losses


def any_layout() -> AbstractContextManager:
    """A scope in which layers run under `torch.func.vmap` too; see `any_layout_torch`."""
    if keras.backend.backend() != "torch":
        return nullcontext()
    from hyperkeras.models.hypernetworks.per_sample import any_layout_torch

    return any_layout_torch.any_layout()
