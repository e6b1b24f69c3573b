"""Weights as sums of Kronecker products (Zhang et al. 2021, Grassucci et al. 2022)."""

from keras import ops

from hyperkeras.annotations import Tensor


def kronecker_sum(rules: Tensor, blocks: Tensor) -> Tensor:
    r"""A parametrized hypercomplex kernel (Zhang et al. 2021, eq. 3; Grassucci et al. 2022, eq. 5).

    .. math:: H = \sum_{i=1}^{n} A_i \otimes S_i, \qquad
        H[\dots, p R + r,\; q T + t] = \sum_i A_i[p, q]\, S_i[\dots, r, t]

    The A are the rules of multiplication of the learned algebra: n³ numbers. S has 1/n as many
    numbers as a dense kernel. The axes of S between the first and the last two, such as a
    convolution's window, are kept.

    Args:
        rules: Tensor A of shape `[n, P, Q]`.
        blocks: Tensor S of shape `[n, ..., R, T]`.

    Returns:
        Kernel H of shape `[..., P R, Q T]`.

    Raises:
        ValueError: If the shapes don't fit each other.

    Example:

    ```python
    rules, blocks = np.ones((4, 4, 4)), np.ones((4, 8, 16))
    hyperkeras.ops.kronecker_sum(rules, blocks).shape  # (32, 64)
    ```
    """
    rules, blocks = ops.convert_to_tensor(rules), ops.convert_to_tensor(blocks)
    if len(rules.shape) != 3 or len(blocks.shape) < 3 or rules.shape[0] != blocks.shape[0]:
        raise ValueError(
            "Expected `rules` of shape [n, P, Q] and `blocks` of shape [n, ..., R, T]. Received: "
            f"rules of shape {tuple(rules.shape)}, blocks of shape {tuple(blocks.shape)}"
        )
    _, p, q = rules.shape
    *window, r, t = blocks.shape[1:]
    kernel = ops.einsum("npq,nwrt->wprqt", rules, ops.reshape(blocks, (blocks.shape[0], -1, r, t)))
    return ops.reshape(kernel, (*window, p * r, q * t))
