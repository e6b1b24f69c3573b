"""Which integer tuples are copies of an earlier one."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.argument_validation import check_columns, check_size
from hyperkeras.ops.sparse.blocks import by_blocks
from hyperkeras.ops.sparse.compilation import fused

FEW = 32  # tuples up to which comparing all pairs is faster than a table
BLOCK = 2**15  # tuples whose table stays in a core's cache


def duplicate_mask(tuples: Tensor, size: Sequence[int]) -> Tensor:
    """Marks every copy of a tuple but the first (Bloem 2018, section 3).

    The tuples are compared, if many those that share a slot of a table, by their linear index in
    the tensor, which is exact: columns are packed into one integer key while the number of cells
    stays within 2**63 (2**31 on JAX), and into further keys beyond that. So there are no false
    duplicates.

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
    if tuples.shape[-2] is None:
        return _copies_by_sorting(*keys)
    if tuples.shape[-2] <= FEW:
        return ops.moveaxis(copies_among([ops.moveaxis(key, -1, 0) for key in keys]), 0, -1)
    rows = [ops.reshape(key, (-1, tuples.shape[-2])) for key in keys]
    numbers = math.prod(n or 1 for n in tuples.shape[:-1])
    if keras.backend.backend() == "jax":  # which sorts several times as slowly
        copies = copies_by_table(*rows)
    else:
        copies = fused(copies_by_table, numbers, *rows, otherwise=_copies_by_sorting)
    return ops.reshape(copies, ops.shape(keys[0]))


def _copies_by_sorting(*keys):
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


def copies_by_table(*keys: Tensor) -> Tensor:
    """`duplicate_mask` of many tuples with keys `[g, i]`, without sorting, a block at a time."""
    return by_blocks(_block_by_table, keys, max(1, BLOCK // keys[0].shape[1]))


def _block_by_table(*keys):
    r"""Each tuple enters its place into a slot of its row's table, where the first place stays.

    A tuple that finds an equal one in its slot is its copy, or that one itself. The others met a
    different tuple by chance, and try again in other slots. So each round decides at least one
    tuple a slot, and all are compared in full: a hash alone decides nothing.
    """
    g, i = ops.shape(keys[0])[0], keys[0].shape[1]
    slots = 1 << (2 * i).bit_length()
    place = ops.broadcast_to(np.arange(i, dtype="int32"), (g, i))
    row = ops.reshape(ops.arange(g, dtype="int32"), (-1, 1))
    flat = [ops.reshape(key, (-1,)) for key in keys]
    last = g * slots  # a slot for those that are decided

    def undecided(_round, open_, _copies):
        return ops.any(open_)

    def decide(round_, open_, copies):
        slot = ops.where(open_, row * slots + _hash(keys, round_, slots), last)
        # The first place is the largest number counted from the end; empty slots are not read.
        entered = ops.segment_max(
            ops.reshape(i - 1 - place, (-1,)), ops.reshape(slot, (-1,)), num_segments=last + 1
        )
        first = i - 1 - ops.reshape(ops.take(entered, ops.reshape(slot, (-1,)), axis=0), (g, i))
        first = ops.where(open_, first, place)
        found = ops.reshape(row * i + first, (-1,))
        same = open_
        for key, numbers in zip(keys, flat, strict=True):
            other = ops.reshape(ops.take(numbers, found, axis=0), (g, i))
            same = ops.logical_and(same, ops.equal(other, key))
        copies = ops.logical_or(copies, ops.logical_and(same, first < place))
        return round_ + 1, ops.logical_and(open_, ops.logical_not(same)), copies

    none = ops.zeros((g, i), dtype="bool")
    start = (ops.convert_to_tensor(0, dtype="int32"), ops.logical_not(none), none)
    return ops.while_loop(undecided, decide, start)[2]


def _hash(keys, round_, slots):
    """Slots of tuples, others in each round: numbers of 32 bits that wrap around."""
    factor = (2 * round_ + 1) * np.int32(-1640531535)  # odd, the golden ratio's
    mixed = 0
    for key in keys:
        if keras.backend.standardize_dtype(key.dtype) == "int64":
            high = ops.right_shift(key, 32)
            key = ops.bitwise_xor(ops.cast(key, "int32"), ops.cast(high, "int32"))
        mixed = ops.bitwise_xor(key, mixed) * factor
        mixed = ops.bitwise_xor(mixed, ops.right_shift(mixed, 15))
    return ops.bitwise_and(mixed, slots - 1)


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
