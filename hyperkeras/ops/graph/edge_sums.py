"""What edges read at their ends, and sums over the edges of a node."""

from typing import Any

import keras
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.keras_internals import is_exporting


def take(x: Tensor, nodes: Tensor) -> Tensor:
    """Rows of `x` `[n, f]` at nodes `[e]`, or numbers of `[n]` at nodes of any shape."""
    fast = processor_path(x)
    return fast.take(x, nodes) if fast else ops.take(x, nodes, axis=0)


def sum_at(nodes: Tensor, messages: Tensor, n: Any) -> Tensor:
    """Sums of messages `[e, f]` at each of n nodes `[n, f]`."""
    fast = processor_path(messages)
    if fast:
        return fast.sum_at(nodes, messages, n)
    return ops.segment_sum(messages, nodes, num_segments=n)


def max_at(nodes: Tensor, messages: Tensor, n: Any) -> Tensor:
    """The largest of messages `[e, k]` at each of n nodes `[n, k]`. No gradient passes through."""
    messages, fast = ops.stop_gradient(messages), processor_path(messages)
    if fast:
        return fast.max_at(nodes, messages, n)
    return ops.segment_max(messages, nodes, num_segments=n)


def processor_path(x: Tensor) -> Any:
    """The module of TensorFlow's own kernels where they run and are faster, else None."""
    if keras.backend.backend() != "tensorflow" or is_exporting():
        return None
    from hyperkeras.ops.graph import edge_sums_tensorflow

    return edge_sums_tensorflow if edge_sums_tensorflow.suits(x) else None
