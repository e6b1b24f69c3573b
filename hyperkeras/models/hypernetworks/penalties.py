"""Constraints and regularizers of a target's variables, on the values that are generated."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, ops

from hyperkeras.annotations import Tensor
from hyperkeras.models.hypernetworks.variable_substitution import Substitution

Pairs = Sequence[tuple[keras.Variable, Tensor]]


def constrained(variable: keras.Variable, values: Tensor) -> Tensor:
    """`values` `[c, *shape]` under the variable's own constraint, if it has one."""
    if variable.constraint is None:
        return values
    return ops.vectorized_map(variable.constraint, values)


class Delegated(keras.regularizers.Regularizer):
    """A regularizer of a variable that a hypernetwork adds to its losses itself.

    The regularizer of a layer such as `HyperDense` reads weights of its generator. Where those are
    generated, Keras, which asks the regularizers of variables after the call, would read others.

    Args:
        regularizer: The variable's own regularizer.
        hypernetwork: Where this hypernetwork no longer exists, Keras gets the penalty as ever.
    """

    def __init__(self, regularizer: Callable, hypernetwork: keras.Model) -> None:
        self.regularizer = regularizer
        self.owner = weakref.ref(hypernetwork)

    def __call__(self, value: Tensor) -> Tensor:
        if self.owner() is None:
            return self.regularizer(value)
        return ops.zeros((), value.dtype)


class _Reads(Substitution):
    """A scope that knows which variables are read."""

    def __init__(self) -> None:
        super().__init__([])
        self.read: set[int] = set()

    def get_current_value(self, variable):
        self.read.add(id(variable))
        return super().get_current_value(variable)


class Penalties:
    """The losses of the regularizers of a target, of generated weights and what reads them.

    Args:
        target: Built layer or model.
        generated: The variables of the target that are generated.
        hypernetwork: The hypernetwork of the target.
    """

    def __init__(
        self,
        target: layers.Layer,
        generated: Sequence[keras.Variable],
        hypernetwork: keras.Model,
    ) -> None:
        ids = {id(variable) for variable in generated}
        # Variables that are not generated, whose regularizers read generated ones.
        self.readers = []
        for variable in target.trainable_variables:
            regularizer = original(variable)
            if regularizer is None or id(variable) in ids:
                continue
            with _Reads() as scope:
                regularizer(variable.value)
            if scope.read & ids:
                variable.regularizer = Delegated(regularizer, hypernetwork)
                self.readers.append(variable)

    def __call__(self, pairs: Pairs) -> list[Tensor]:
        """The losses, each the mean over c sets of weights.

        They are computed where all pairs hold, since a regularizer may read other weights.

        Args:
            pairs: The generated variables, each with values `[c, *shape]`.
        """
        variables = [variable for variable, _ in pairs]
        readers = [v for v in self.readers if v.trainable]
        if not readers and not any(v.regularizer is not None for v in variables):
            return []

        def of_one_set(values):
            regularized = list(zip(variables, values, strict=True))
            with Substitution(regularized):
                # Not a variable's `value`, which mixed precision rounds here.
                losses = [v.regularizer(x) for v, x in regularized if v.regularizer is not None]
                return losses + [original(v)(v.value) for v in readers]

        values = [value for _, value in pairs]
        if values[0].shape[0] == 1:
            return of_one_set([value[0] for value in values])
        return [ops.mean(losses) for losses in ops.vectorized_map(of_one_set, values)]


def original(variable: keras.Variable) -> Any:
    """The variable's own regularizer, or None."""
    regularizer = variable.regularizer
    return regularizer.regularizer if isinstance(regularizer, Delegated) else regularizer
