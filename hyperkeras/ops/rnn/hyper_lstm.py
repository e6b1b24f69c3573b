"""A step of the HyperLSTM."""

from hyperkeras.ops.rnn.layer_norm_lstm import layer_norm_lstm_step
from hyperkeras.ops.rnn.row_scaling import generate_rows


def hyper_lstm_step(
    x,
    h,
    c,
    hyper_h,
    kernel,
    recurrent_kernel,
    bias,
    scale_embedding_kernel,
    scale_embedding_bias,
    shift_embedding_kernel,
    scale_kernel,
    shift_kernel,
    **lstm,
):
    r"""One step of the HyperLSTM's large network (Ha et al. 2016, appendix).

    .. math::
        d_y &= (\hat h\, W^z_y + b^z_y)\, W^d_y, \qquad \beta_y = \hat h\, W^{zb}_y\, W^\beta_y \\
        y &= \mathrm{LN}(d^x_y \odot x W^x_y + d^h_y \odot h W^h_y + b_y + \beta_y)

    and on as in `layer_norm_lstm_step`. The small network, a layer-norm LSTM of its own, has
    made ĥ from [x, h] and its last state before.

    Args:
        x: Input of shape `[b, x]`.
        h: Output of the last step, `[b, n]`.
        c: Memory of the last step, `[b, n]`.
        hyper_h: ĥ of the same step, `[b, m]`.
        kernel: W^x of shape `[x, 4n]`, the gates in the order i, f, g, o.
        recurrent_kernel: W^h of shape `[n, 4n]`.
        bias: b of shape `[4n]`, or None.
        scale_embedding_kernel: W^z of shape `[m, 8e]`: for x the four gates, then for h.
        scale_embedding_bias: b^z of shape `[8e]`.
        shift_embedding_kernel: W^zb of shape `[m, 4e]`.
        scale_kernel: W^d of shape `[8, e, n]`.
        shift_kernel: W^β of shape `[4, e, n]`.
        **lstm: `norm`, `noise`, `forget_bias`, `activation` and `recurrent_activation` of
            `layer_norm_lstm_step`.

    Returns:
        `(h', c')`.
    """
    d = generate_rows(hyper_h, scale_embedding_kernel, scale_kernel, scale_embedding_bias)
    beta = generate_rows(hyper_h, shift_embedding_kernel, shift_kernel)
    return layer_norm_lstm_step(
        x, h, c, kernel, recurrent_kernel, bias, scales=d, shifts=beta, **lstm
    )
