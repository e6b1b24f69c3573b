"""Raw parameters into index space (Bloem 2018, section 3)."""

import numpy as np
from keras import ops

from hyperkeras.ops.argument_validation import check_columns, check_number, check_size


def scale_means(raw, size, method="sigmoid"):
    r"""Means of index tuples, brought into the tensor's range (Bloem 2018, section 3).

    .. math:: \mu = \mathrm{sigmoid}(\hat\mu) \odot (s - 1)
        \quad\text{or}\quad \mu = \mathrm{clip}(\hat\mu, 0, s - 1)

    Args:
        raw: Float tensor of shape `[..., c]`.
        size: Sequence of c positive integers s, the dims of the learned columns.
        method: `"sigmoid"`, or `"clamp"`, whose gradient is zero outside the range.

    Returns:
        Means of the shape and dtype of `raw`, each column within [0, s − 1]. float32 tells
        neighboring indices apart up to dims of 2**23.
    """
    raw, size = ops.convert_to_tensor(raw), check_size(size)
    check_columns("raw", raw.shape, size)
    last = ops.cast(np.array(size) - 1, raw.dtype)  # [c]
    if method == "sigmoid":
        return ops.sigmoid(raw) * last
    if method == "clamp":
        return ops.minimum(ops.maximum(raw, 0), last)
    raise ValueError(
        "Received an invalid value for `method`, expected 'sigmoid' or 'clamp'. "
        f"Received: method={method!r}"
    )


def scale_sigmas(raw, size, min_sigma=0.0):
    r"""Variances of index tuples, in proportion to the tensor (Bloem 2018, section 3).

    .. math:: \sigma = (\mathrm{softplus}(\hat\sigma + 2) + \sigma_{\min})\, s

    Args:
        raw: Float tensor of shape `[..., k]`: one number a tuple.
        size: Sequence of c positive integers s, the dims of the learned columns.
        min_sigma: Float, at least 0.

    Returns:
        Variances (not standard deviations) of shape `[..., k, c]`: the diagonal of each
        Gaussian's covariance.
    """
    raw, size = ops.convert_to_tensor(raw), check_size(size)
    check_number("min_sigma", min_sigma, 0)
    sigma = ops.softplus(raw + 2) + min_sigma  # [..., k]
    return ops.expand_dims(sigma, -1) * ops.cast(size, raw.dtype)
