"""What a continuous tuple reads that is alone in its chunk (Bloem 2018, section 3)."""

import functools
import math
from collections.abc import Sequence

from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.sparse.compilation import take
from hyperkeras.ops.sparse.contraction import row_numbers
from hyperkeras.ops.sparse.duplicates import copies_among, index_dtype, linear_keys
from hyperkeras.ops.sparse.proportions import EPSILON, lowest
from hyperkeras.ops.sparse.sampling import place_columns


def read(
    columns: Sequence[Tensor], means: Tensor, sigmas: Tensor, values: Tensor, x: Tensor
) -> Tensor:
    r"""A sparse product in which each mean has an output of its own (Bloem 2018, section 3).

    .. math:: y_k = v_k\, \bar x_k, \qquad \bar x_k = \sum_{t} q(t \mid k)\, x[t]

    over the integer tuples t of mean k alone, with q as in `proportions`. Equal to `distribute`
    in chunks of one followed by `contract`, at a fraction of the time: samples come first, so
    that each step runs over long rows, proportions are normalized after they are summed, and
    no sum is scattered. The gradient, with a_k = ⟨∂L/∂y_k, x̄_k⟩, is

    .. math::
        \frac{\partial L}{\partial v_k} &= a_k, \qquad
        G_{tk} = q(t \mid k)\, v_k
            \left(\Big\langle\frac{\partial L}{\partial y_k}, x[t]\Big\rangle - a_k\right), \\
        \frac{\partial L}{\partial \mu_{kr}} &= \sum_t G_{tk} \frac{t_r - \mu_{kr}}
            {\varepsilon + \sigma_{kr}}, \qquad
        \frac{\partial L}{\partial \sigma_{kr}} = \frac12 \sum_t G_{tk} \frac{(t_r - \mu_{kr})^2}
            {(\varepsilon + \sigma_{kr})^2}.

    Args:
        columns: Sequence of c integer tensors of shape `[i, b, k]`, see `sample_columns`: i
            tuples for each mean, inside the input.
        means: Float tensor of shape `[b, k, c]`, in index space.
        sigmas: Float tensor of shape `[b, k, c]`: variances, not standard deviations.
        values: Float tensor of shape `[b, k]`.
        x: Tensor of shape `[b, *c input dims, *carried dims]`, all known but b.

    Returns:
        Tensor of shape `[b, k, *carried dims]`, of the dtype of `x`.
    """
    dims = tuple(int(s) for s in x.shape[1:])  # tensors, where PyTorch is traced
    size, carried = dims[: len(columns)], dims[len(columns) :]
    keys = linear_keys(columns, size)
    pixels = ops.cast(_gather(x, keys, math.prod(size), math.prod(carried)), means.dtype)
    y = _weighted(columns, copies_among(keys))(means, sigmas, values, pixels)  # [b, k, p]
    return ops.cast(ops.reshape(y, (*ops.shape(values), *carried)), x.dtype)


def read_drawn(
    numbers: Sequence[Tensor],
    means: Tensor,
    sigmas: Tensor,
    values: Tensor,
    x: Tensor,
    global_samples: int,
    local_samples: int,
    window: Sequence[int],
) -> Tensor:
    """`read` of the tuples that `place_columns` makes of numbers `[i, b, k]` drawn."""
    size = tuple(int(s) for s in x.shape[1 : 1 + means.shape[-1]])
    columns = place_columns(means, numbers, size, global_samples, local_samples, window)
    return read(columns, means, sigmas, values, x)


def read_cells(columns: Sequence[Tensor], values: Tensor, x: Tensor) -> Tensor:
    r"""`read` where each mean has one integer tuple: nothing is divided or normalized.

    .. math:: y_k = v_k\, x[t_k]

    Args:
        columns: Sequence of c integer tensors of shape `[1, b, k]`.
        values: Float tensor of shape `[b, k]`.
        x: Tensor of shape `[b, *c input dims, *carried dims]`, all known but b.

    Returns:
        Tensor of shape `[b, k, *carried dims]`, of the dtype of `x`.
    """
    dims = tuple(int(s) for s in x.shape[1:])  # tensors, where PyTorch is traced
    size, carried = dims[: len(columns)], dims[len(columns) :]
    keys = linear_keys(columns, size)
    cells = _gather(x, keys, math.prod(size), math.prod(carried))[0]  # [b, k, p]
    y = ops.cast(cells, values.dtype) * values[..., None]
    return ops.cast(ops.reshape(y, (*ops.shape(values), *carried)), x.dtype)


def _gather(x, keys, cells, p):
    """The cells `[i, b, k, p]` of `x` with linear indices `keys` [i, b, k]."""
    first = first_cells(x, cells, p)
    return take(ops.reshape(x, (-1, p)), ops.cast(keys[0], first.dtype) + first)


def first_cells(x: Tensor, cells: int, p: int) -> Tensor:
    """Where the `cells` of each sample of `x`, of p numbers each, begin among all: `[b, 1]`."""
    b = ops.shape(x)[0]
    # 2**12 samples, or as many as are known, of this size in 32 bits
    fits = cells * (b if isinstance(b, int) else 2**12) <= 2**31
    dtype = "int32" if fits else index_dtype()
    return ops.cast(row_numbers(ops.reshape(x, (-1, cells * p))), dtype) * cells


def _weighted(columns, copies):
    @ops.custom_gradient
    def weighted(means, sigmas, values, pixels):
        exponent, terms = 0.0, []
        for r, column in enumerate(columns):
            delta = ops.cast(column, means.dtype) - means[..., r]  # [i, b, k]
            precision = 1 / (EPSILON + sigmas[..., r])  # [b, k]
            exponent = exponent + ops.square(delta) * (precision / -2)
            terms.append((delta, precision))
        exponent = ops.where(copies, lowest(exponent.dtype), exponent)
        # No tuple is nearer than the nearest of a mean's neighbors, which come first.
        nearest = [exponent[i] for i in range(2 ** len(columns))]
        e = ops.exp(exponent - functools.reduce(ops.maximum, nearest))
        total = ops.sum(e, axis=0)
        mean = ops.sum(e[..., None] * pixels, axis=0) / total[..., None]  # [b, k, p]

        def grad(*args, upstream=None):
            dy = args[0] if upstream is None else upstream
            dvalues = ops.sum(dy * mean, axis=-1)
            scale = values / total
            g = e * (ops.sum(pixels * dy, axis=-1) - dvalues)  # [i, b, k]
            dmeans, dsigmas = [], []
            for delta, precision in terms:
                scaled, factor = g * delta, scale * precision
                dmeans.append(ops.sum(scaled, axis=0) * factor)
                dsigmas.append(ops.sum(scaled * delta, axis=0) * factor * precision / 2)
            dpixels = (e * scale)[..., None] * dy
            return ops.stack(dmeans, axis=-1), ops.stack(dsigmas, axis=-1), dvalues, dpixels

        return values[..., None] * mean, grad

    return weighted
