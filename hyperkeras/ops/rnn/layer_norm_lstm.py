"""A step of the layer-norm LSTM, and of the LSTM whose rows a hypernetwork scales."""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from hyperkeras.annotations import Tensor

EPSILON = 1e-3


def layer_normalization(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    r"""Layer normalization over the last axis (Ba et al. 2016), with the biased variance.

    .. math:: \mathrm{LN}(x) = \gamma \odot \frac{x - \mathrm{mean}(x)}
        {\sqrt{\mathrm{mean}\left((x - \mathrm{mean}(x))^2\right) + 10^{-3}}} + \beta

    Args:
        x: Float tensor of shape `[..., n]`. Half precision is computed in float32.
        gamma: Gains, of a shape that broadcasts to that of `x`.
        beta: Offsets, of a shape that broadcasts to that of `x`.

    Returns:
        Tensor of the shape and dtype of `x`.

    Example:

    ```python
    x = keras.random.normal((32, 5))
    hyperkeras.ops.layer_normalization(x, keras.ops.ones(5), keras.ops.zeros(5)).shape  # (32, 5)
    ```
    """
    dtype = x.dtype
    if ops.dtype(x) in ("float16", "bfloat16"):
        x, gamma, beta = (ops.cast(a, "float32") for a in (x, gamma, beta))
    x = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(x), axis=-1, keepdims=True)
    return ops.cast(gamma * (x * ops.rsqrt(variance + EPSILON)) + beta, dtype)


def layer_norm_lstm_step(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    norm: Sequence[Tensor] | None = None,
    scales: Tensor = None,
    shifts: Tensor = None,
    noise: Tensor = None,
    forget_bias: float = 1.0,
    activation: Callable[..., Any] = ops.tanh,
    recurrent_activation: Callable[..., Any] = ops.sigmoid,
) -> tuple[Tensor, Tensor]:
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
        bias: b of shape `[4n]`, or None for no bias.
        norm: Weights of layer norm: `gamma [4n]`, `beta [4n]`, `cell_gamma [n]` and
            `cell_beta [n]`. None for no layer norm (default).
        scales: d of shape `[b, 8, n]`: for x the four gates, then for h. None for 1 (default).
        shifts: β of shape `[b, 4, n]`. None for 0 (default).
        noise: Factors of tanh(g) of shape `[b, n]`: recurrent dropout without memory loss
            (Semeniuta et al. 2016), which keeps c where nothing is added. None for 1 (default).
        forget_bias: Float, added to the forget gate (default 1, as above).
        activation: Activation function of g and of the memory (default tanh).
        recurrent_activation: Activation function of the gates i, f and o (default sigmoid).

    Returns:
        The new output and memory `(h', c')`, each of shape `[b, n]`.

    Example:

    ```python
    x, h, c = (keras.random.normal((32, n)) for n in (3, 5, 5))
    kernel, recurrent_kernel = (keras.random.normal((n, 4 * 5)) for n in (3, 5))
    h, c = hyperkeras.ops.layer_norm_lstm_step(x, h, c, kernel, recurrent_kernel, bias=None)
    h.shape  # (32, 5)
    ```
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
