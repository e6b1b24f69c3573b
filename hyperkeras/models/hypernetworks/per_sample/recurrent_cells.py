"""How Keras's recurrent cells run with weights that differ from sample to sample."""

import keras
from keras import layers, ops

from hyperkeras.models.hypernetworks.per_sample.keras_layers import (
    generated_kernel,
    per_sample,
    tensor,
)
from hyperkeras.ops.generated.per_sample import per_sample_dense


@per_sample(layers.SimpleRNNCell)
def _simple_rnn_cell(cell, call, inputs, states, training=False):
    h = states[0] if isinstance(states, list | tuple) else states
    x_mask, h_mask = _masks(cell, inputs, h, training)
    y = _gates(inputs, x_mask, cell.kernel, 1) + _gates(h, h_mask, cell.recurrent_kernel, 1)
    if cell.bias is not None:
        y = y + cell.bias.value
    y = y if cell.activation is None else cell.activation(y)
    return y, [y] if isinstance(states, list | tuple) else y


@per_sample(layers.LSTMCell)
def _lstm_cell(cell, call, inputs, states, training=False):
    h, c = states
    x_mask, h_mask = _masks(cell, inputs, h, training)
    z = _gates(inputs, x_mask, cell.kernel, 4) + _gates(h, h_mask, cell.recurrent_kernel, 4)
    if cell.use_bias:
        z = z + cell.bias.value
    i, f, g, o = ops.split(z, 4, axis=-1)
    sigma = cell.recurrent_activation
    c = sigma(f) * c + sigma(i) * cell.activation(g)
    h = sigma(o) * cell.activation(c)
    return h, [h, c]


@per_sample(layers.GRUCell)
def _gru_cell(cell, call, inputs, states, training=False):
    h = states[0] if keras.tree.is_nested(states) else states
    x_mask, h_mask = _masks(cell, inputs, h, training)
    if h_mask is not None and not isinstance(h_mask, list):
        h, h_mask = h * h_mask, None
    u, sigma, kernel = (
        cell.units,
        cell.recurrent_activation,
        generated_kernel(cell, "recurrent_kernel"),
    )
    x = _gates(inputs, x_mask, cell.kernel, 3)
    recurrent_bias = 0
    if cell.use_bias:
        bias = cell.bias.value  # [..., 2, 3 u] with reset_after, else [..., 3 u]
        if cell.reset_after:
            bias, recurrent_bias = bias[..., 0, :], bias[..., 1, :]
        x = x + bias
    if cell.reset_after:
        y = _gates(h, h_mask, kernel, 3) + recurrent_bias
        z, r = (sigma(x[..., k * u : (k + 1) * u] + y[..., k * u : (k + 1) * u]) for k in (0, 1))
        candidate = r * y[..., 2 * u :]
    else:
        first = h_mask[:2] if isinstance(h_mask, list) else None
        y = _gates(h, first, kernel[..., : 2 * u], 2)
        z, r = (sigma(x[..., k * u : (k + 1) * u] + y[..., k * u : (k + 1) * u]) for k in (0, 1))
        last = h * h_mask[2] if isinstance(h_mask, list) else h
        candidate = per_sample_dense(r * last, kernel[..., 2 * u :])
    candidate = cell.activation(x[..., 2 * u :] + candidate)
    h = z * h + (1 - z) * candidate
    return h, [h] if keras.tree.is_nested(states) else h


def _masks(cell, inputs, h, training):
    """Dropout masks of input and state, None where nothing is dropped."""
    if not training:
        return None, None
    x_mask = cell.get_dropout_mask(inputs) if cell.dropout else None
    return x_mask, cell.get_recurrent_dropout_mask(h) if cell.recurrent_dropout else None


def _gates(x, mask, kernel, count):
    """X times the kernels of `count` gates, `[b, count * units]`; a list of masks is one a gate."""
    kernel = tensor(kernel)
    if isinstance(mask, list | tuple):
        kernels = ops.split(kernel, count, axis=-1)
        parts = [per_sample_dense(x * m, k) for m, k in zip(mask, kernels, strict=True)]
        return ops.concatenate(parts, axis=-1)
    return per_sample_dense(x if mask is None else x * mask, kernel)
