"""A step of the HyperLSTM."""

from typing import Any

from hyperkeras.annotations import Tensor
from hyperkeras.ops.rnn.layer_norm_lstm import layer_norm_lstm_step
from hyperkeras.ops.rnn.row_scaling import generate_rows


def hyper_lstm_step(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    hyper_h: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    scale_embedding_kernel: Tensor,
    scale_embedding_bias: Tensor,
    shift_embedding_kernel: Tensor,
    scale_kernel: Tensor,
    shift_kernel: Tensor,
    **lstm: Any,
) -> tuple[Tensor, Tensor]:
    r"""One step of the HyperLSTM's large network (Ha et al. 2016, appendix).

    .. math::
        d_y &= (\hat h\, W^z_y + b^z_y)\, W^d_y, \qquad \beta_y = \hat h\, W^{zb}_y\, W^\beta_y \\
        y &= \mathrm{LN}(d^x_y \odot x W^x_y + d^h_y \odot h W^h_y + b_y + \beta_y)

    The rest is as in `layer_norm_lstm_step`. The small network is a layer-norm LSTM of its own. It
    makes ĥ from [x, h] and its last state, before this step.

    Args:
        x: Input of shape `[b, x]`.
        h: Output of the last step, `[b, n]`.
        c: Memory of the last step, `[b, n]`.
        hyper_h: ĥ of the same step, `[b, m]`.
        kernel: W^x of shape `[x, 4n]`, the gates in the order i, f, g, o.
        recurrent_kernel: W^h of shape `[n, 4n]`.
        bias: b of shape `[4n]`, or None for no bias.
        scale_embedding_kernel: W^z of shape `[m, 8e]`: for x the four gates, then for h.
        scale_embedding_bias: b^z of shape `[8e]`.
        shift_embedding_kernel: W^zb of shape `[m, 4e]`.
        scale_kernel: W^d of shape `[8, e, n]`.
        shift_kernel: W^β of shape `[4, e, n]`.
        **lstm: `norm`, `noise`, `forget_bias`, `activation` and `recurrent_activation` of
            `layer_norm_lstm_step`.

    Returns:
        The new output and memory `(h', c')`, each of shape `[b, n]`.

    Example:

    ```python
    x, h, c, hyper_h = (keras.random.normal((32, size)) for size in (3, 5, 5, 4))
    kernel, recurrent_kernel = (keras.random.normal((size, 4 * 5)) for size in (3, 5))
    h, c = hyperkeras.ops.hyper_lstm_step(
        x,
        h,
        c,
        hyper_h,
        kernel,
        recurrent_kernel,
        bias=None,
        scale_embedding_kernel=keras.random.normal((4, 8 * 2)),
        scale_embedding_bias=keras.ops.ones(8 * 2),
        shift_embedding_kernel=keras.random.normal((4, 4 * 2)),
        scale_kernel=keras.random.normal((8, 2, 5)),
        shift_kernel=keras.random.normal((4, 2, 5)),
    )
    h.shape  # (32, 5)
    ```
    """
    d = generate_rows(hyper_h, scale_embedding_kernel, scale_kernel, scale_embedding_bias)
    beta = generate_rows(hyper_h, shift_embedding_kernel, shift_kernel)
    return layer_norm_lstm_step(
        x, h, c, kernel, recurrent_kernel, bias, scales=d, shifts=beta, **lstm
    )
