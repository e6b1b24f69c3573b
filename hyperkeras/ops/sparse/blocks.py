"""Long computations in blocks that stay in a core's cache."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from hyperkeras.annotations import Tensor


def by_blocks(fn: Callable[..., Any], arrays: Sequence[Tensor], size: int) -> Any:
    """`fn` of arrays with the same first axis, at most `size` of their rows at a time.

    `fn` gives a tensor or a tuple of tensors with that first axis. Where devices of JAX
    share the work, each takes its part of the rows.
    """
    if keras.backend.backend() == "jax" and keras.distribution.distribution() is not None:
        from hyperkeras.ops.sparse.blocks_jax import each_its_rows

        return each_its_rows(lambda *part: _in_turn(fn, part, size), arrays)
    return _in_turn(fn, arrays, size)


def _in_turn(fn, arrays, size):
    rows = ops.shape(arrays[0])[0]
    blocks = (rows + size - 1) // size
    if not isinstance(rows, int):
        blocks = ops.maximum(blocks, 1)
    elif blocks <= 1:
        return fn(*arrays)
    size = (rows + blocks - 1) // blocks
    padding = blocks * size - rows

    def split(x):
        x = ops.pad(x, [[0, padding]] + [[0, 0]] * (len(x.shape) - 1))
        return ops.reshape(x, (blocks, size, *x.shape[1:]))

    def join(x):
        return ops.reshape(x, (blocks * size, *x.shape[2:]))[:rows]

    out = ops.map(lambda block: fn(*block), tuple(split(x) for x in arrays))
    return tuple(join(x) for x in out) if isinstance(out, (tuple, list)) else join(out)
