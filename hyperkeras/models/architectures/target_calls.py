"""Calls of networks with given values for all their variables, compiled once for each network."""

import importlib
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras

from hyperkeras.annotations import Tensor
from hyperkeras.models.hypernetworks.variable_substitution import Substitution


def compiled(function: Callable) -> Callable:
    """`function`, compiled where the backend does that; its last argument is fixed."""
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        return function
    module = importlib.import_module(f"hyperkeras.models.architectures.compiled_call_{backend}")
    return module.compiled(function)


class TargetCalls:
    """Calls networks, each compiled at its first call and forgotten with it."""

    def __init__(self) -> None:
        self._functions: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    def __call__(
        self, target: keras.Model, values: Sequence[Tensor], x: Any, training: bool
    ) -> tuple[Any, list[Tensor]]:
        """What the target computes from x, and losses that it adds.

        Args:
            target: A built model.
            values: Sequence of tensors, one for each of `target.variables`.
            x: The target's input.
            training: Boolean, whether the layers run in training mode.

        Returns:
            The target's outputs, and a list of scalars. Updates of moving statistics are lost.
        """
        if target not in self._functions:
            # A strong reference would keep the target alive for as long as its own entry.
            reference = weakref.ref(target)

            def function(values, x, training):
                network: Any = reference()
                with Substitution(zip(network.variables, values, strict=True)) as scope:
                    outputs = network(x, training=training)
                return outputs, list(scope.losses)

            self._functions[target] = compiled(function)
        return self._functions[target](list(values), x, training)
