"""A step of the HyperRNN, with generated weights and with scaled rows."""

from collections.abc import Callable
from typing import Any

from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.rnn.row_scaling import generate_rows


def full_hyper_rnn_step(
    x: Tensor,
    h: Tensor,
    hyper_h: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    scale_embedding_kernel: Tensor,
    scale_embedding_bias: Tensor,
    shift_embedding_kernel: Tensor,
    shift_kernel: Tensor,
    activation: Callable[..., Any] = ops.tanh,
) -> Tensor:
    r"""One step of the HyperRNN that generates its weights (Ha et al. 2016, section 3.2).

    .. math::
        h' = \phi(x W^x(z^x) + h W^h(z^h) + b(z^b)), \qquad
        W(z) = \langle W^z, z \rangle, \quad b(z^b) = z^b W^b + b_0

    with z^x and z^h each of the form ĥ W + b, and z^b = ĥ W^{zb}. Each sample has its own matrices,
    b n (x + n) numbers a step. The weights are e times those of a plain RNN.

    Args:
        x: Input of shape `[b, x]`.
        h: Output of the last step, `[b, n]`.
        hyper_h: ĥ of the same step, `[b, m]`.
        kernel: W^xz of shape `[x, n, e]`.
        recurrent_kernel: W^hz of shape `[n, n, e]`.
        bias: b₀ of shape `[n]`, or None for no bias.
        scale_embedding_kernel: Weights of shape `[m, 2e]`, for z^x, then for z^h.
        scale_embedding_bias: Bias of shape `[2e]`.
        shift_embedding_kernel: W^zb of shape `[m, e]`, for z^b.
        shift_kernel: W^b of shape `[1, e, n]`.
        activation: Activation function φ (default tanh).

    Returns:
        h' of shape `[b, n]`.

    Example:

    ```python
    x, h, hyper_h = (keras.random.normal((32, size)) for size in (3, 5, 4))
    h = hyperkeras.ops.full_hyper_rnn_step(
        x,
        h,
        hyper_h,
        kernel=keras.random.normal((3, 5, 2)),
        recurrent_kernel=keras.random.normal((5, 5, 2)),
        bias=None,
        scale_embedding_kernel=keras.random.normal((4, 2 * 2)),
        scale_embedding_bias=keras.ops.ones(2 * 2),
        shift_embedding_kernel=keras.random.normal((4, 2)),
        shift_kernel=keras.random.normal((1, 2, 5)),
    )
    h.shape  # (32, 5)
    ```
    """
    z = ops.matmul(hyper_h, scale_embedding_kernel) + scale_embedding_bias
    zx, zh = ops.split(z, 2, axis=-1)
    wx = _combined(zx, kernel)  # [b, x, n]
    wh = _combined(zh, recurrent_kernel)  # [b, n, n]
    shift = generate_rows(hyper_h, shift_embedding_kernel, shift_kernel)[:, 0]
    total = ops.matmul(x[:, None], wx)[:, 0] + ops.matmul(h[:, None], wh)[:, 0] + shift
    return activation(total if bias is None else total + bias)


def _combined(z, kernels):
    """Kernels `[x, n, e]` weighted by `z` [b, e]: by a product of matrices, which XLA compiles.

    In a loop TensorFlow's `tensordot` has a gradient that XLA can't compile.
    """
    x, n, e = kernels.shape
    flat = ops.reshape(kernels, (x * n, e))
    return ops.reshape(ops.matmul(z, ops.transpose(flat)), (-1, x, n))


def hyper_rnn_step(
    x: Tensor,
    h: Tensor,
    hyper_h: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    scale_embedding_kernel: Tensor,
    scale_embedding_bias: Tensor,
    shift_embedding_kernel: Tensor,
    scale_kernel: Tensor,
    shift_kernel: Tensor,
    activation: Callable[..., Any] = ops.tanh,
) -> Tensor:
    r"""One step of the HyperRNN that scales rows (Ha et al. 2016, section 3.2).

    .. math:: h' = \phi(d^x \odot x W^x + d^h \odot h W^h + b(z^b)), \qquad
        d = (\hat h\, W^z + b^z)\, W^d

    The generated weights of a step are vectors of 3 b n numbers together.

    Args:
        x: Input of shape `[b, x]`.
        h: Output of the last step, `[b, n]`.
        hyper_h: ĥ of the same step, `[b, m]`.
        kernel: W^x of shape `[x, n]`.
        recurrent_kernel: W^h of shape `[n, n]`.
        bias: b₀ of shape `[n]`, or None for no bias.
        scale_embedding_kernel: W^z of shape `[m, 2e]`, for x, then for h.
        scale_embedding_bias: b^z of shape `[2e]`.
        shift_embedding_kernel: W^zb of shape `[m, e]`, for z^b.
        scale_kernel: W^d of shape `[2, e, n]`.
        shift_kernel: W^b of shape `[1, e, n]`.
        activation: Activation function φ (default tanh).

    Returns:
        h' of shape `[b, n]`.

    Example:

    ```python
    x, h, hyper_h = (keras.random.normal((32, size)) for size in (3, 5, 4))
    h = hyperkeras.ops.hyper_rnn_step(
        x,
        h,
        hyper_h,
        kernel=keras.random.normal((3, 5)),
        recurrent_kernel=keras.random.normal((5, 5)),
        bias=None,
        scale_embedding_kernel=keras.random.normal((4, 2 * 2)),
        scale_embedding_bias=keras.ops.ones(2 * 2),
        shift_embedding_kernel=keras.random.normal((4, 2)),
        scale_kernel=keras.random.normal((2, 2, 5)),
        shift_kernel=keras.random.normal((1, 2, 5)),
    )
    h.shape  # (32, 5)
    ```
    """
    d = generate_rows(hyper_h, scale_embedding_kernel, scale_kernel, scale_embedding_bias)
    shift = generate_rows(hyper_h, shift_embedding_kernel, shift_kernel)[:, 0]
    total = d[:, 0] * ops.matmul(x, kernel) + d[:, 1] * ops.matmul(h, recurrent_kernel) + shift
    return activation(total if bias is None else total + bias)
