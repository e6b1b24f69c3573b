"""Functions of many cheap operations, compiled where the backend would not do so by itself."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.keras_internals import is_exporting

WORTH = 2**10  # numbers a sample: below, compiling takes longer than it saves in thousands of steps


def fused(
    function: Callable[..., Any],
    numbers: int | None,
    *tensors: Any,
    apart: bool = False,
    otherwise: Callable[..., Any] | None = None,
    **options: Any,
) -> Any:
    """`function(*tensors, **options)`, on TensorFlow compiled by XLA where that pays.

    JAX compiles everything anyway, and PyTorch has its own compiler, which is its user's choice.

    Args:
        function: Pure function of a module, which gives one tensor.
        numbers: Integer, how many numbers a sample each operation computes. None if unknown.
        tensors: Its tensors.
        apart: Boolean, whether the last tensor's gradient is often not asked for (default
            `False`).
        otherwise: Function that gives the same and is faster where nothing is compiled. None
            (default) for `function`.
        options: Its hashable arguments.
    """
    if keras.backend.backend() != "tensorflow" or (numbers or 0) < WORTH or is_exporting():
        return (otherwise or function)(*tensors, **options)
    from hyperkeras.ops.sparse.compilation_tensorflow import compiled

    return compiled(function)(*tensors, apart=apart, **options)


def columns(x: Tensor) -> Sequence[Tensor]:
    """The slices of the last axis."""
    if compiles_with_xla():
        from hyperkeras.ops.sparse import compilation_tensorflow

        return compilation_tensorflow.columns(x)
    return [x[..., r] for r in range(x.shape[-1])]


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows of `x`."""
    if compiles_with_xla():
        from hyperkeras.ops.sparse import compilation_tensorflow

        return compilation_tensorflow.take(x, index)
    if x.shape[0] == 0:  # where JAX takes nothing, not even of a shape
        return ops.reshape(x, (*index.shape, *x.shape[1:]))
    return ops.take(x, index, axis=0)


def compiles_with_xla() -> bool:
    """Whether TensorFlow traces for XLA."""
    if keras.backend.backend() != "tensorflow":
        return False
    from hyperkeras.ops.sparse import contraction_tensorflow

    return contraction_tensorflow.compiles_with_xla()
