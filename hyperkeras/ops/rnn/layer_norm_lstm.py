"""A step of the layer-norm LSTM, and of the LSTM whose rows a hypernetwork scales."""

from keras import ops

EPSILON = 1e-3


def layer_normalization(x, gamma, beta):
    r"""Layer norm over the last axis (Ba et al. 2016), with the biased variance.

    .. math:: \mathrm{LN}(x) = \gamma \odot \frac{x - \mathrm{mean}(x)}
        {\sqrt{\mathrm{mean}\left((x - \mathrm{mean}(x))^2\right) + 10^{-3}}} + \beta

    Args:
        x: Float tensor of shape `[..., n]`; half precision is computed in float32.
        gamma: Gains, of a shape that broadcasts to that of `x`.
        beta: Offsets likewise.

    Returns:
        Tensor of the shape and dtype of `x`.
    """
    dtype = x.dtype
    if ops.dtype(x) in ("float16", "bfloat16"):
        x, gamma, beta = (ops.cast(a, "float32") for a in (x, gamma, beta))
    x = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(x), axis=-1, keepdims=True)
    return ops.cast(gamma * (x * ops.rsqrt(variance + EPSILON)) + beta, dtype)


def layer_norm_lstm_step(
    x,
    h,
    c,
    kernel,
    recurrent_kernel,
    bias,
    norm=None,
    scales=None,
    shifts=None,
    noise=None,
    forget_bias=1.0,
    activation=ops.tanh,
    recurrent_activation=ops.sigmoid,
):
    r"""One step of an LSTM with layer norm (Ha et al. 2016, appendix).

    .. math::
        y &= \mathrm{LN}(d^x_y \odot x W^x_y + d^h_y \odot h W^h_y + b_y + \beta_y),
            \quad y \in \{i, f, g, o\} \\
        c' &= \sigma(f + 1) \odot c + \sigma(i) \odot \tanh(g) \\
        h' &= \sigma(o) \odot \tanh(\mathrm{LN}(c'))

    with d = 1 and β = 0 in a plain LSTM; a hypernetwork generates them. Each gate has a layer
    norm of its own; the forget bias is added after it, and the carried c is not normalized.

    Args:
        x: Input of shape `[b, x]`.
        h: Output of the last step, `[b, n]`.
        c: Memory of the last step, `[b, n]`.
        kernel: W^x of shape `[x, 4n]`, the gates in the order i, f, g, o.
        recurrent_kernel: W^h of shape `[n, 4n]`.
        bias: b of shape `[4n]`, or None.
        norm: None for no layer norm, or its `gamma [4n]`, `beta [4n]`, `cell_gamma [n]` and
            `cell_beta [n]`.
        scales: None, or d of shape `[b, 8, n]`: for x the four gates, then for h.
        shifts: None, or β of shape `[b, 4, n]`.
        noise: None, or factors of tanh(g) of shape `[b, n]`: recurrent dropout without memory
            loss (Semeniuta et al. 2016), which leaves c as it is where nothing is added.
        forget_bias: Float, the 1 above.
        activation: Function of g and of the memory.
        recurrent_activation: Function of the gates i, f and o.

    Returns:
        `(h', c')`.
    """
    n = h.shape[-1]
    from_x = ops.reshape(ops.matmul(x, kernel), (-1, 4, n))
    from_h = ops.reshape(ops.matmul(h, recurrent_kernel), (-1, 4, n))
    if scales is not None:
        from_x, from_h = scales[:, :4] * from_x, scales[:, 4:] * from_h
    gates = from_x + from_h  # [b, 4, n]
    if bias is not None:
        gates = gates + ops.reshape(bias, (4, n))
    if shifts is not None:
        gates = gates + shifts
    if norm is not None:
        gamma, beta, cell_gamma, cell_beta = norm
        gates = layer_normalization(gates, ops.reshape(gamma, (4, n)), ops.reshape(beta, (4, n)))
    i, f, g, o = (gates[:, y] for y in range(4))
    g = activation(g) if noise is None else noise * activation(g)
    c = recurrent_activation(f + forget_bias) * c + recurrent_activation(i) * g
    seen = c if norm is None else layer_normalization(c, cell_gamma, cell_beta)
    return recurrent_activation(o) * activation(seen), c
