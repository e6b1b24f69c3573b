"""What a continuous tuple reads from its neighbors alone (Bloem 2018, section 3)."""

import math

from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.sparse.compilation import columns, fused, take
from hyperkeras.ops.sparse.proportions import EPSILON
from hyperkeras.ops.sparse.sampling import inside
from hyperkeras.ops.sparse.weighted_gather import first_cells


def read_neighbors(
    means: Tensor, sigmas: Tensor, values: Tensor, x: Tensor, carried_axes: int = 0
) -> Tensor:
    r"""A sparse product in which each mean has an output of its own, and no sample but neighbors.

    .. math:: y_k = v_k \sum_{t} x[t] \prod_r q_r(t_r \mid k), \qquad
        q_r(\lceil\mu_{kr}\rceil \mid k) = \mathrm{sigmoid}\left(
            \frac{\mu_{kr} - \lfloor\mu_{kr}\rfloor - \frac12}{\varepsilon + \sigma_{kr}}\right),
        \qquad q_r(\lfloor\mu_{kr}\rfloor \mid k) = 1 - q_r(\lceil\mu_{kr}\rceil \mid k)

    over the :math:`2^c` tuples t of floors and ceilings. Equal to `read` of the columns that
    `sample_columns` gives without samples: the proportions of a grid are products of those of its
    columns, in each of which only two indices share, and a Gaussian's share of two is a sigmoid.
    Where a mean is an integer, both are the same index, which has the whole share. Nothing is drawn
    or compared, and there is one exponential a column.

    Args:
        means: Float tensor of shape `[b, k, c]`, in index space.
        sigmas: Float tensor of shape `[b, k, c]`: variances, not standard deviations.
        values: Float tensor of shape `[b, k]`.
        x: Tensor of shape `[b, *c input dims, *carried dims]`, all known but b.
        carried_axes: Integer, the number of carried dims (default 0).

    Returns:
        Tensor of shape `[b, k, *carried dims]`, of the dtype of `x`.
    """
    dims = tuple(int(s) for s in x.shape[1:])  # tensors, where PyTorch is traced
    cut = len(dims) - carried_axes
    size, carried = dims[:cut], dims[cut:]
    numbers = 2 ** len(size) * means.shape[1]
    y = fused(_read, numbers, means, sigmas, values, x, apart=True, size=size, p=math.prod(carried))
    return ops.cast(ops.reshape(y, (*ops.shape(values), *carried)), x.dtype)


def _read(means, sigmas, values, x, size, p):
    keys, shares = [first_cells(x, math.prod(size), p)], []  # [b, 1]
    for r, (mu, sigma) in enumerate(zip(columns(means), columns(sigmas), strict=True)):  # [b, k]
        last, stride = size[r] - 1, math.prod(size[r + 1 :])
        low = inside(ops.floor(ops.stop_gradient(mu)), last)
        past = mu - ops.cast(low, mu.dtype)
        between = ops.logical_and(past > 0, low < last)  # else floor and ceiling are one
        shares.append(ops.where(between, ops.sigmoid((past - 0.5) / (EPSILON + sigma)), 0.0))
        # Neighbors in the order of their keys: floors first, and the last column's side by side.
        ends = low * stride, (low + ops.cast(between, "int32")) * stride
        keys = [key + ops.cast(end, key.dtype) for key in keys for end in ends]
    cells = ops.reshape(x, (-1, p)) if p > 1 else ops.reshape(x, (-1,))
    parts = [ops.cast(take(cells, key), means.dtype) for key in keys]  # [b, k] or [b, k, p] each
    for share in reversed(shares):
        share = share[..., None] if p > 1 else share
        parts = [a + share * (b - a) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return (values[..., None] if p > 1 else values) * parts[0]
