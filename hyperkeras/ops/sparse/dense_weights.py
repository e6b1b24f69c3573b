"""The weights of a small tensor, held whole while a layer trains (Bloem 2018, section 3)."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.sparse.contraction import sum_of_segments
from hyperkeras.ops.sparse.duplicates import index_dtype, linear_keys
from hyperkeras.ops.sparse.proportions import EPSILON

CELLS_A_TUPLE = 32  # up to which matrix products over all cells take less time than all pairs


def is_small(size: Sequence[int], num_tuples: int, num_means: int) -> bool:
    """Whether a tensor of dims `size` is better held whole, for so many tuples and means."""
    return math.prod(size) <= CELLS_A_TUPLE * num_tuples and num_means > 1


def dense_weights(
    tuples: Tensor,
    means: Tensor,
    sigmas: Tensor,
    values: Tensor,
    size: Sequence[int],
    num_outputs: int,
) -> Tensor:
    r"""The weight tensor as a matrix of outputs and inputs: `distribute`, each weight at its place.

    .. math:: W = D \odot A^\top \mathrm{diag}(v / z)\, B, \qquad z_k = A_k D B_k^\top, \qquad
        A_{ko} B_{kj} = e_{(o, j) k}

    with D = 1 in the cells of the tuples, else 0. A Gaussian with a diagonal covariance is a
    product: A has a row of its factor over the outputs' cells for each mean, B one over the inputs'
    cells. So there is an exponential for each of their cells and not for each tuple, the rest is
    five matrix products with its gradient, and D knows no copies.

    Args:
        tuples: Integer tensor of shape `[b, i, c]`, which has the neighbors of each mean.
        means: Float tensor of shape `[b, k, c]`, in index space.
        sigmas: Float tensor of shape `[b, k, c]`: variances, not standard deviations.
        values: Float tensor of shape `[b, k]`.
        size: Sequence of c positive integers, the dims of the columns.
        num_outputs: Integer, how many of the columns are the outputs'.

    Returns:
        Tensor of shape `[b, outputs, inputs]`.
    """
    cut, c = num_outputs, len(size)
    a = _factor(means, sigmas, size, range(cut))  # [b, k, outputs]
    b = _factor(means, sigmas, size, range(cut, c))  # [b, k, inputs]
    rows, cols = a.shape[-1], b.shape[-1]
    key = linear_keys([tuples[..., j] for j in range(c)], size)[0]
    key = ops.cast(key, index_dtype())  # [b, i]
    batch = ops.shape(tuples)[0]
    first = ops.reshape(ops.arange(batch, dtype=key.dtype), (-1, 1)) * (rows * cols)
    key = ops.reshape(key + first, (-1,))
    counts = sum_of_segments(ops.ones_like(key, dtype=means.dtype), key, batch * rows * cols)
    d = ops.stop_gradient(ops.reshape(ops.minimum(counts, 1), (-1, rows, cols)))
    z = ops.sum(a * ops.matmul(b, ops.swapaxes(d, 1, 2)), axis=-1)  # [b, k]
    scaled = a * (values / z)[..., None]
    return d * ops.matmul(ops.swapaxes(scaled, 1, 2), b)


def apply_weights(
    weights: Tensor, x: Tensor, target_shape: Sequence[int], carried_axes: int = 0
) -> Tensor:
    """`contract` of a matrix `[b | 1, outputs, inputs]` of weights, held whole.

    Returns `[b, *target_shape, *carried dims]` for `x` of shape `[b, *input dims, *carried dims]`.
    """
    dims = tuple(int(s) for s in x.shape[1:])  # tensors, where PyTorch is traced
    carried = dims[len(dims) - carried_axes :]
    high = keras.backend.result_type(weights.dtype, x.dtype, "float32")
    cells = ops.reshape(ops.cast(x, high), (-1, int(weights.shape[-1]), math.prod(carried)))
    weights = ops.cast(weights, high)
    if weights.shape[0] == 1:  # one product for all samples
        cells = ops.swapaxes(cells, 1, 2)  # [b, p, inputs]
        y = ops.swapaxes(ops.matmul(cells, ops.transpose(weights[0])), 1, 2)
    else:
        y = ops.matmul(weights, cells)
    return ops.cast(ops.reshape(y, (-1, *target_shape, *carried)), x.dtype)


def _factor(means, sigmas, size, columns):
    """The factor of each Gaussian in some columns, for all their cells: `[b, k, cells]`.

    Divided by that of the nearest cell, which is one of the mean's neighbors: no sum is zero.
    """
    places = np.indices([size[r] for r in columns]).reshape(len(columns), -1)  # [columns, cells]
    exponent = 0.0
    for r, place in zip(columns, places, strict=True):
        delta = ops.cast(place, means.dtype) - means[..., r, None]
        exponent = exponent + ops.square(delta) / (-2 * (EPSILON + sigmas[..., r, None]))
    # From −∞, since there may be no sample.
    nearest = ops.stop_gradient(ops.max(exponent, axis=-1, keepdims=True, initial=-np.inf))
    return ops.exp(exponent - nearest)
