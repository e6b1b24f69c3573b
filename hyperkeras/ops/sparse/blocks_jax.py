"""Rows divided among the devices of JAX."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras

from hyperkeras.annotations import Tensor


def each_its_rows(fn: Callable[..., Any], arrays: Sequence[Tensor]) -> Any:
    """`fn` of arrays with the same first axis, on each device of its rows alone.

    Left to itself, XLA would gather all rows on every device before a loop over blocks of them.
    Rows that the devices can't share evenly are left to it.
    """
    mesh = keras.distribution.distribution().device_mesh.backend_mesh
    if arrays[0].shape[0] % mesh.size:
        return fn(*arrays)
    rows = jax.sharding.PartitionSpec(mesh.axis_names)
    return jax.shard_map(fn, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)(*arrays)
