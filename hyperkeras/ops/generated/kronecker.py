"""Weights as sums of Kronecker products (Zhang et al. 2021, Grassucci et al. 2022)."""

from keras import ops


def kronecker_sum(rules, blocks):
    r"""A parametrized hypercomplex kernel (Zhang et al. 2021, eq. 3; Grassucci et al. 2022, eq. 5).

    .. math:: H = \sum_{i=1}^{n} A_i \otimes S_i, \qquad
        H[\dots, p R + r,\; q T + t] = \sum_i A_i[p, q]\, S_i[\dots, r, t]

    The A are the learned algebra's rules of multiplication, n³ numbers; S holds 1/n of a dense
    kernel's. Axes of S before its last two, a convolution's window, are carried along.

    Args:
        rules: Tensor A of shape `[n, P, Q]`.
        blocks: Tensor S of shape `[n, ..., R, T]`.

    Returns:
        Kernel H of shape `[..., P R, Q T]`.
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
