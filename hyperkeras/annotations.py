"""Names of types that the library's signatures use. Keras has no types of its own to check."""

from collections.abc import Callable
from typing import Any, TypedDict

# A backend's tensor, a variable, an array, or what Keras converts to one. Backends differ, and
# Keras's own tensors are untyped, so that nothing about it can be checked.
Tensor = Any

Shape = tuple[Any, ...]  # of integers, and None for a dim that is not known
Config = dict[str, Any]

# What `keras.activations.get`, `keras.initializers.get` and their like accept.
Activation = str | Config | Callable[..., Any] | None
Initializer = str | Config | Callable[..., Any] | None
Regularizer = str | Config | Callable[..., Any] | None
Constraint = str | Config | Callable[..., Any] | None

# A `keras.random.SeedGenerator`, an integer, or None for a random seed.
Seed = Any


class LayerArguments(TypedDict, total=False):
    """The keyword arguments that every Keras layer takes: `**kwargs: Unpack[LayerArguments]`."""

    name: str | None
    dtype: Any
    trainable: bool
    autocast: bool
    activity_regularizer: Regularizer
    input_shape: Shape
    input_dim: int
