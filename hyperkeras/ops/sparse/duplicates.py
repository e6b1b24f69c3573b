"""Which integer tuples are copies of an earlier one."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.argument_validation import check_columns, check_size

FEW = 32  # tuples up to which comparing all pairs is faster than sorting


def duplicate_mask(tuples: Tensor, size: Sequence[int]) -> Tensor:
    """Marks every copy of a tuple but the first (Bloem 2018, section 3).

    The tuples are compared, or if many sorted, by their linear index in the tensor, which is
    exact: columns are packed into one integer key while the number of cells stays within 2**63
    (2**31 on JAX), and into further keys beyond that. No hash, so no false duplicates.

    Args:
        tuples: Integer tensor of shape `[..., i, c]`, inside the tensor.
        size: Sequence of c positive integers, the dims of the columns.

    Returns:
        Boolean tensor of shape `[..., i]`: True where an equal tuple comes earlier among the i.

    Example:

    ```python
    tuples = keras.ops.array([[0, 1], [2, 3], [0, 1]])
    hyperkeras.ops.duplicate_mask(tuples, (4, 4)).shape  # (3,)
    # False, False, True: the last one is a copy of the first
    ```
    """
    tuples, size = ops.convert_to_tensor(tuples), check_size(size)
    check_columns("tuples", tuples.shape, size)
    keys = linear_keys([tuples[..., j] for j in range(len(size))], size)
    if (tuples.shape[-2] or FEW + 1) <= FEW:
        return ops.moveaxis(copies_among([ops.moveaxis(key, -1, 0) for key in keys]), 0, -1)
    order = ops.argsort(keys[-1])  # stable on every backend, so first copies come first
    for key in reversed(keys[:-1]):
        order = ops.take_along_axis(order, ops.argsort(_take(key, order)), axis=-1)
    same = None
    for key in keys:
        key = _take(key, order)
        equal = ops.equal(key[..., 1:], key[..., :-1])
        same = equal if same is None else ops.logical_and(same, equal)
    copies = ops.concatenate([ops.zeros_like(order[..., :1], dtype="bool"), same], axis=-1)
    return _take(copies, ops.argsort(order))


def copies_among(keys: Sequence[Tensor]) -> Tensor:
    """`duplicate_mask` of few tuples with keys `[i, ...]`, which come first: nothing is sorted."""
    first = ops.zeros_like(keys[0][:1], dtype="bool")
    copies = first
    for s in range(keys[0].shape[0] - 1, 0, -1):  # each tuple and the one s before it
        same = ops.equal(keys[0][s:], keys[0][:-s])
        for key in keys[1:]:
            same = ops.logical_and(same, ops.equal(key[s:], key[:-s]))
        copies = ops.concatenate([first, ops.logical_or(copies, same)], axis=0)
    return copies


def linear_keys(columns: Sequence[Tensor], size: Sequence[int]) -> list[Tensor]:
    """Row-major linear indices, as few keys, and as narrow, as hold them without overflow."""
    dtype = "int32" if math.prod(size) <= 2**31 else index_dtype()
    limit = {"int32": 2**31, "int64": 2**63}[dtype]
    keys: list[Tensor] = []
    cells = 1
    for column, s in zip(columns, size, strict=True):
        column = ops.cast(column, dtype)
        if keys and cells * s <= limit:
            keys[-1] = keys[-1] * s + column
            cells = cells * s
        else:
            keys.append(column)
            cells = s
    return keys


def index_dtype() -> str:
    """The widest integers of the backend: JAX has 64 bits only where the user asks for them."""
    return "int32" if keras.backend.backend() == "jax" else "int64"


def _take(x, order):
    return ops.take_along_axis(x, order, axis=-1)
