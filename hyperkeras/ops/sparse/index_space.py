"""Raw parameters into index space (Bloem 2018, section 3)."""

from collections.abc import Sequence

import numpy as np
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.argument_validation import check_choice, check_columns, check_number, check_size


def scale_means(raw: Tensor, size: Sequence[int], method: str = "sigmoid") -> Tensor:
    r"""Means of index tuples, brought into the tensor's range (Bloem 2018, section 3).

    .. math:: \mu = \mathrm{sigmoid}(\hat\mu) \odot (s - 1)
        \quad\text{or}\quad \mu = \mathrm{clip}(\hat\mu, 0, s - 1)

    Args:
        raw: Float tensor of shape `[..., c]`.
        size: Sequence of c positive integers s, the dims of the learned columns.
        method: `"sigmoid"` (default), or `"clamp"`, whose gradient is zero outside the range.

    Returns:
        Means of the shape and dtype of `raw`, each column within [0, s − 1]. float32 tells
        neighboring indices apart up to dims of 2**23.

    Example:

    ```python
    means = hyperkeras.ops.scale_means(keras.ops.zeros((5, 2)), (11, 21))
    means.shape  # (5, 2)
    # each mean is (5, 10), the middle of the tensor
    ```
    """
    raw, size = ops.convert_to_tensor(raw), check_size(size)
    check_columns("raw", raw.shape, size)
    last = ops.cast(np.array(size) - 1, raw.dtype)  # [c]
    if check_choice("method", method, ("sigmoid", "clamp")) == "sigmoid":
        return ops.sigmoid(raw) * last
    return ops.minimum(ops.maximum(raw, 0), last)


def scale_sigmas(raw: Tensor, size: Sequence[int], min_sigma: float = 0.0) -> Tensor:
    r"""Variances of index tuples, in proportion to the tensor (Bloem 2018, section 3).

    .. math:: \sigma = (\mathrm{softplus}(\hat\sigma + 2) + \sigma_{\min})\, s

    Args:
        raw: Float tensor of shape `[..., k]`: one number a tuple.
        size: Sequence of c positive integers s, the dims of the learned columns.
        min_sigma: Float ≥ 0, added to each variance as a fraction of the dims (default 0).

    Returns:
        Variances (not standard deviations) of shape `[..., k, c]`: the diagonal of each
        Gaussian's covariance.

    Example:

    ```python
    variances = hyperkeras.ops.scale_sigmas(keras.ops.zeros((5,)), (11, 21))
    variances.shape  # (5, 2)
    ```
    """
    raw, size = ops.convert_to_tensor(raw), check_size(size)
    check_number("min_sigma", min_sigma, 0)
    sigma = ops.softplus(raw + 2) + min_sigma  # [..., k]
    return ops.expand_dims(sigma, -1) * ops.cast(size, raw.dtype)
