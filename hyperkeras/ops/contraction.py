"""The product of a sparse tensor with a dense one, and the choice of how it is computed."""

import math

import keras
from keras import ops

from hyperkeras.ops.checks import check_size
from hyperkeras.ops.duplicates import index_dtype


def contract(tuples, values, x, target_shape):
    r"""Contraction of a sparse weight tensor with the input (Bloem 2018, section 3).

    .. math:: y[o] = \sum_{t = (o, j)} w_t\, x[j], \qquad
        \frac{\partial L}{\partial w_t} = \frac{\partial L}{\partial y}[o]\, x[j], \qquad
        \frac{\partial L}{\partial x} = W^\top \frac{\partial L}{\partial y}

    The columns of a tuple are the output's dims, then the input's; tuples that occur more than
    once add up. Axes of `x` beyond those that the columns name are carried along, as channels
    are by a crop. On TensorFlow the product is taken by `tf.sparse` with the gradient above; on
    other backends, and under XLA, by gathering and `segment_sum`.

    Args:
        tuples: Integer tensor of shape `[b, i, r]`, or `[1, i, r]` or `[i, r]` for the same
            wiring in the whole batch.
        values: Float tensor w of shape `[b, i]`, or `[1, i]` or `[i]` likewise.
        x: Float tensor of shape `[b, *input dims, *carried dims]`.
        target_shape: Sequence of the output's dims.

    Returns:
        Tensor of shape `[b, *target_shape, *carried dims]`, of the dtype of `x`.
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
    rows = _linear(tuples[..., : len(target_shape)], target_shape)  # [b | 1, i]
    cols = _linear(tuples[..., len(target_shape) :], inputs)
    x = ops.reshape(x, (batch, inputs_size, math.prod(carried)))
    if tuples.shape[0] == 1 and values.shape[0] == 1:  # one matrix, the batch as its columns
        x = ops.reshape(ops.transpose(x, (1, 0, 2)), (inputs_size, batch * math.prod(carried)))
        y = _sparse_matmul(rows[0], cols[0], values[0], x, outputs_size)
        y = ops.transpose(ops.reshape(y, (outputs_size, batch, math.prod(carried))), (1, 0, 2))
    else:  # one block-diagonal matrix for the batch
        block = ops.expand_dims(ops.arange(batch, dtype=rows.dtype), 1)
        rows, cols = rows + block * outputs_size, cols + block * inputs_size
        values = ops.broadcast_to(values, ops.shape(rows))
        x = ops.reshape(x, (batch * inputs_size, math.prod(carried)))
        rows, cols, values = (ops.reshape(a, (-1,)) for a in (rows, cols, values))
        y = _sparse_matmul(rows, cols, values, x, batch * outputs_size)
    return ops.cast(ops.reshape(y, (batch, *target_shape, *carried)), dtype)


def _sparse_matmul(rows, cols, values, x, num_rows):
    """`[num_rows, q]` = the matrix of `values` [n] at (`rows`, `cols`) [n], times `x` [m, q].

    Here, and nowhere else, the path is chosen.
    """
    if keras.backend.backend() == "tensorflow":
        from hyperkeras.ops import contract_tensorflow

        if not contract_tensorflow.compiles_with_xla():
            return contract_tensorflow.sparse_matmul(rows, cols, values, x, num_rows)
    return generic_sparse_matmul(rows, cols, values, x, num_rows)


def generic_sparse_matmul(rows, cols, values, x, num_rows):
    """Gather, multiply, sum by segments: `keras.ops` alone, differentiated by the backend."""
    messages = ops.take(x, cols, axis=0) * ops.expand_dims(values, -1)  # [n, q]
    return ops.segment_sum(messages, rows, num_segments=num_rows)


def _linear(tuples, dims):
    """Row-major linear indices `[b, i]` of the columns of `tuples` [b, i, len(dims)]."""
    index = 0
    for j, s in enumerate(dims):
        index = index * s + ops.cast(tuples[..., j], index_dtype())
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
    return dims[:num_inputs], dims[num_inputs:]
