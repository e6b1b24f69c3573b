"""One matrix that makes all chunks of the generated weights."""

from typing import Any

import keras
import numpy as np
from keras import ops

from hyperkeras import initializers
from hyperkeras.layers.heads.base_head import Head
from hyperkeras.layers.heads.head_initialization import weight_deviations
from hyperkeras.layers.heads.unit_order import from_unit_order


def check_no_zero(head: Head) -> None:
    """Chunks share one matrix, so no weight can start at zero alone."""
    if head.zero:
        raise ValueError(
            "Expected `zero` to be empty: chunks share one matrix, so that no weight of its "
            f"own can start at zero. Received: zero={head.zero}"
        )


def add_chunk_matrix(head: Head, num_features: int, chunk_size: int) -> np.ndarray | None:
    """Adds `kernel` `[F', m]`, `bias` `[m]` and the start of biases to a head.

    Returns:
        The factor of each of the N generated numbers, or None for 1.
    """
    initializer, deviations = head.start_initializer, None
    if isinstance(initializer, initializers.Hyperfan):
        deviations = weight_deviations(initializer, head.bound_pieces)
        energy = num_features * initializer.feature_variance
        initializer = keras.initializers.RandomNormal(stddev=energy**-0.5, seed=initializer.seed)
    head.kernel = head.add_weight(
        name="kernel", shape=(num_features, chunk_size), initializer=initializer
    )
    head.bias = head.add_weight(name="bias", shape=(chunk_size,), initializer="zeros")
    head.add_offset()
    return deviations


def chunk_rows(head: Head, features: Any, deviations: Any, by_units: bool = True) -> Any:
    """Features of each chunk `[c, n, F']` as rows `[c, N]`."""
    chunks = ops.matmul(features, head.kernel) + head.bias  # [c, n, m]
    rows = ops.reshape(chunks, (-1, chunks.shape[1] * chunks.shape[2]))
    rows = rows[:, : head.num_generated]
    if by_units:
        rows = from_unit_order(rows, head.bound_pieces)
    return rows if deviations is None else rows * ops.convert_to_tensor(deviations, rows.dtype)
