"""The product of a sparse tensor with a dense one, and the choice of how it is computed."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.argument_validation import check_size
from hyperkeras.ops.sparse.duplicates import index_dtype


def contract(tuples: Tensor, values: Tensor, x: Tensor, target_shape: Sequence[int]) -> Tensor:
    r"""Contraction of a sparse weight tensor with the input (Bloem 2018, section 3).

    .. math:: y[o] = \sum_{t = (o, j)} w_t\, x[j], \qquad
        \frac{\partial L}{\partial w_t} = \frac{\partial L}{\partial y}[o]\, x[j], \qquad
        \frac{\partial L}{\partial x} = W^\top \frac{\partial L}{\partial y}

    The columns of a tuple are the output's dims, then the input's. Tuples that occur more than
    once add up. Axes of `x` beyond those that the columns name are carried along, as the channels
    of a crop. On TensorFlow, `tf.sparse` computes the product, with the gradient above. On other
    backends, and under XLA, it is computed by a gather and `segment_sum`.

    Args:
        tuples: Integer tensor of shape `[b, i, r]`, or `[1, i, r]` or `[i, r]` for the same
            wiring in the whole batch.
        values: Float tensor w of shape `[b, i]`, or `[1, i]` or `[i]` likewise.
        x: Float tensor of shape `[b, *input dims, *carried dims]`.
        target_shape: Sequence of the output's dims.

    Returns:
        Tensor of shape `[b, *target_shape, *carried dims]`, of the dtype of `x`.

    Example:

    ```python
    tuples = [[0, 1], [1, 0], [1, 2]]  # the cells (row, column) of a 2 × 3 matrix
    x = keras.ops.ones((5, 3))
    hyperkeras.ops.contract(tuples, [0.5, 1.0, 2.0], x, (2,)).shape  # (5, 2)
    ```
    """
    tuples, values = ops.convert_to_tensor(tuples), ops.convert_to_tensor(values)
    x, target_shape = ops.convert_to_tensor(x), check_size(target_shape, "target_shape")
    if len(tuples.shape) == 2:
        tuples = tuples[None]
    if len(values.shape) == 1:
        values = values[None]
    inputs, carried = _split_dims(tuples, values, x, target_shape)
    outputs_size, inputs_size = math.prod(target_shape), math.prod(inputs)
    batch, dtype = ops.shape(x)[0], x.dtype
    # Half precision would lose what tuples of one output add up.
    high = keras.backend.result_type(values.dtype, dtype, "float32")
    values, x = ops.cast(values, high), ops.cast(x, high)
    indices = _matrix_indices(tuples, target_shape, inputs)  # [b | 1, i, 2]
    x = ops.reshape(x, (batch, inputs_size, math.prod(carried)))
    if tuples.shape[0] == 1 and values.shape[0] == 1:  # one matrix for all
        indices, values = indices[0], values[0]
        blocks, q = 1, (batch, math.prod(carried))
        x = ops.transpose(x, (0, 2, 1))
    else:  # one block-diagonal matrix for the batch
        blocks, q = batch, (1, math.prod(carried))
        block = ops.reshape(ops.arange(batch, dtype=indices.dtype), (-1, 1, 1))
        indices = indices + block * ops.cast([outputs_size, inputs_size], indices.dtype)
        values = ops.reshape(ops.broadcast_to(values, ops.shape(indices)[:2]), (-1,))
        indices = ops.reshape(indices, (-1, 2))
        x = ops.transpose(x, (2, 0, 1))
    x = ops.reshape(x, (q[0] * q[1], blocks * inputs_size))
    y = _sparse_matmul(indices, values, x, blocks * outputs_size)
    y = ops.moveaxis(ops.reshape(y, (*q, blocks, outputs_size)), 1, 3)  # carried axes last
    return ops.cast(ops.reshape(y, (batch, *target_shape, *carried)), dtype)


def exportable_contract(
    tuples: Tensor, values: Tensor, x: Tensor, target_shape: Sequence[int]
) -> Tensor:
    """`contract` by operations that ONNX and LiteRT have, for any batch.

    Exporters know no sparse matrix, and some fix what is computed from the number of samples to
    the batch that they trace. So all is one long row, and the samples are numbered by a sum.
    """
    tuples, values = ops.convert_to_tensor(tuples), ops.convert_to_tensor(values)
    x, target_shape = ops.convert_to_tensor(x), check_size(target_shape, "target_shape")
    inputs, carried = _split_dims(tuples, values, x, target_shape)
    cells, width, p = math.prod(target_shape), math.prod(inputs), math.prod(carried)
    indices = ops.cast(_matrix_indices(tuples, target_shape, inputs), "int32")
    sample = row_numbers(ops.reshape(x, (-1, width * p)))  # [b, 1]
    rows, cols = (indices[..., a] + n * sample for a, n in ((0, cells), (1, width)))  # [b, i]
    high = keras.backend.result_type(values.dtype, x.dtype, "float32")
    read = ops.take(ops.reshape(ops.cast(x, high), (-1, p)), cols, axis=0)  # [b, i, p]
    read = read * ops.cast(values, high)[..., None]
    places = rows[..., None] * p + ops.arange(p, dtype="int32")
    y = ops.segment_sum(
        ops.reshape(read, (-1,)), ops.reshape(places, (-1,)), ops.shape(x)[0] * cells * p
    )
    return ops.cast(ops.reshape(y, (-1, *target_shape, *carried)), x.dtype)


def row_numbers(x: Tensor) -> Tensor:
    """The numbers of the rows of `x` `[b, n]`: int32 `[b, 1]`."""
    b = ops.shape(x)[0]
    if isinstance(b, int):
        return ops.arange(b, dtype="int32")[:, None]
    return ops.cumsum(ops.ones_like(x[:, :1], dtype="int32"), axis=0) - 1


def _sparse_matmul(indices, values, x, num_rows):
    """`x` [q, m] times the transpose of the matrix of `values` [n] at `indices` [n, 2].

    Returns `[q, num_rows]`. Here, and nowhere else, the path is chosen.
    """
    if keras.backend.backend() == "tensorflow":
        from hyperkeras.ops.sparse import contraction_tensorflow

        if not contraction_tensorflow.compiles_with_xla():
            return contraction_tensorflow.sparse_matmul(indices, values, x, num_rows)
    return generic_sparse_matmul(indices, values, x, num_rows)


def generic_sparse_matmul(indices: Tensor, values: Tensor, x: Tensor, num_rows: int) -> Tensor:
    """Gather, multiply, sum by segments: `keras.ops` alone, differentiated by the backend."""
    rows, cols = indices[:, 0], indices[:, 1]
    messages = ops.take(ops.transpose(x), cols, axis=0) * ops.expand_dims(values, -1)  # [n, q]
    return ops.transpose(sum_of_segments(messages, rows, num_rows))


def sum_of_segments(x: Tensor, segments: Tensor, count: Any) -> Tensor:
    """`keras.ops.segment_sum`, which on PyTorch can't have no segments."""
    if isinstance(count, int) and count == 0:
        return x
    return ops.segment_sum(x, segments, num_segments=count)


def _matrix_indices(tuples, outputs, inputs):
    """Tuples `[b, i, r]` as rows and columns of a matrix, `[b, i, 2]`."""
    tuples = ops.cast(tuples, index_dtype())
    if len(outputs) == len(inputs) == 1:
        return tuples
    rows, cols = tuples[..., : len(outputs)], tuples[..., len(outputs) :]
    return ops.stack([_linear(rows, outputs), _linear(cols, inputs)], axis=-1)


def _linear(tuples, dims):
    """Row-major linear indices `[b, i]` of the columns of `tuples` [b, i, len(dims)]."""
    index = tuples[..., 0]
    for j, s in enumerate(dims[1:], start=1):
        index = index * s + tuples[..., j]
    return index


def _split_dims(tuples, values, x, target_shape):
    """The dims of `x` that the tuples' columns name, and those that are carried along."""
    num_inputs = (tuples.shape[-1] or 0) - len(target_shape)
    if len(tuples.shape) != 3 or len(values.shape) != 2 or not 1 <= num_inputs < len(x.shape):
        raise ValueError(
            "Expected `tuples` of shape [b, i, r], `values` of shape [b, i] and `x` of shape "
            "[b, *input dims], with r = output dims + input dims. Received: tuples of shape "
            f"{tuple(tuples.shape)}, values of shape {tuple(values.shape)}, x of shape "
            f"{tuple(x.shape)}, target_shape={target_shape}"
        )
    if tuples.shape[1] is not None and tuples.shape[1] != values.shape[1]:
        raise ValueError(
            "Expected one number in `values` for each tuple. Received: tuples of shape "
            f"{tuple(tuples.shape)}, values of shape {tuple(values.shape)}"
        )
    dims = tuple(x.shape[1:])
    if None in dims:
        raise ValueError(
            f"Expected `x` to have known dims besides the batch. Received: x of shape {x.shape}"
        )
    dims = tuple(int(s) for s in dims)  # tensors, where PyTorch is traced
    return dims[:num_inputs], dims[num_inputs:]
