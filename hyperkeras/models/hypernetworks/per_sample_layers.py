"""How each kind of layer runs with weights that differ from sample to sample.

While a target runs per sample, the layers that own generated weights have their `call` replaced:
by the function for their class below, else by `keras.ops.vectorized_map` over the samples. A
generated weight then reads as a tensor `[b, *shape]`, the layer's others as they are.
"""

import contextlib
import functools
import string

import keras
from keras import layers, ops

from hyperkeras.keras_internals import sublayers
from hyperkeras.models.hypernetworks.lora import factors as lora_pair
from hyperkeras.models.hypernetworks.variable_substitution import Substitution, run
from hyperkeras.ops.generated.per_sample import (
    per_sample_conv,
    per_sample_dense,
    per_sample_depthwise_conv,
    per_sample_embedding,
)


@contextlib.contextmanager
def per_sample_layers(target, pieces):
    """Within it, the layers of the `pieces` run per sample."""
    owned = {}
    for piece in pieces:
        owned.setdefault(id(piece.layer), (piece.layer, []))[1].append(piece.variable)
    replaced = []

    def replace(layer, name, value):
        replaced.append((layer, name, layer.__dict__.get(name)))
        layer.__dict__[name] = value

    try:
        for layer, variables in owned.values():
            replace(
                layer, "call", functools.partial(_function(layer), layer, layer.call, variables)
            )
        for layer in sublayers(target):
            if getattr(layer, "use_cudnn", False):  # cuDNN's kernel has no sample axis
                replace(layer, "use_cudnn", False)
        yield
    finally:
        for layer, name, before in reversed(replaced):
            if before is None:
                del layer.__dict__[name]
            else:
                layer.__dict__[name] = before


def compiles(pieces):
    """Whether XLA can compile all of the layers."""
    if keras.backend.backend() != "tensorflow":
        return True
    return all(_function(piece.layer) is not _mapped for piece in pieces)


def _function(layer):
    """What runs `layer`; a subclass with a `call` of its own is no longer the class it names."""
    for kind in type(layer).__mro__:
        if kind in FUNCTIONS and type(layer).call is kind.call:
            return FUNCTIONS[kind]
    return _mapped


# Each function takes the layer, its own `call`, its generated variables, and what `call` takes.


def _mapped(layer, call, variables, *args, **kwargs):
    flat = keras.tree.flatten((args, kwargs))
    tensors = [ops.convert_to_tensor(a) for a in flat if ops.is_tensor(a)]
    values = [variable.value for variable in variables]

    def one(elements):
        x, weights = elements
        rows = iter(x)
        sample = [ops.expand_dims(next(rows), 0) if ops.is_tensor(a) else a for a in flat]
        args_, kwargs_ = keras.tree.pack_sequence_as((args, kwargs), sample)
        with Substitution(zip(variables, weights, strict=True)) as scope:
            y = call(*args_, **kwargs_)
        if scope.updated or scope.losses:
            raise ValueError(
                f"Expected layer '{layer.name}' to update no state and add no loss in `call`: it "
                f"is a {type(layer).__name__}, which runs sample by sample. Leave its weights out "
                "of `select`. Received: updates of "
                f"{[variable.path for variable, _ in scope.updated.values()]}"
            )
        return keras.tree.map_structure(lambda a: a[0], y)

    return ops.vectorized_map(one, (tensors, values))


def _dense(layer, call, variables, inputs, training=None):
    y = per_sample_dense(inputs, _kernel(layer))
    return _finished(layer, y, layer.bias)


def _einsum_dense(layer, call, variables, inputs, training=None):
    kernel = _kernel(layer)
    x, letters, y = layer.equation.replace("->", ",").split(",")
    if "..." in x:  # as many letters of their own as the input has axes there
        free = [a for a in string.ascii_letters if a not in layer.equation]
        carried = "".join(free[: len(inputs.shape) - len(x) + 3])
        x, y = x.replace("...", carried), y.replace("...", carried)
    if len(kernel.shape) > len(letters):
        letters = x[0] + letters
    return _finished(layer, ops.einsum(f"{x},{letters}->{y}", inputs, kernel), layer.bias)


def _embedding(layer, call, variables, inputs):
    if inputs.dtype not in ("int32", "int64"):
        inputs = ops.cast(inputs, "int32")
    y = per_sample_embedding(inputs, _kernel(layer, "embeddings"))
    return ops.cast(y, layer.compute_dtype)


def _conv(layer, call, variables, inputs):
    kernel, x = _kernel(layer), _channels_last(layer, inputs)
    if len(kernel.shape) == layer.rank + 2:  # only the bias is generated
        y = ops.conv(x, kernel, layer.strides, layer.padding, "channels_last", layer.dilation_rate)
    else:
        places = (layer.strides, layer.padding, layer.dilation_rate)
        y = per_sample_conv(x, kernel, *places, layer.groups)
    return _channels_back(layer, _finished(layer, y, layer.bias))


def _depthwise_conv(layer, call, variables, inputs):
    kernel, x = _kernel(layer), _channels_last(layer, inputs)
    if len(kernel.shape) == layer.rank + 2:
        kernel = kernel[None]
    y = per_sample_depthwise_conv(x, kernel, layer.strides, layer.padding, layer.dilation_rate)
    return _channels_back(layer, _finished(layer, y, layer.bias))


def _normalization(layer, call, variables, inputs, **kwargs):
    """Statistics are the layer's own matter; its scale and shift come after it."""
    gain = getattr(layer, "gamma", getattr(layer, "scale", None))
    shift = getattr(layer, "beta", None)
    gain = gain if isinstance(gain, keras.Variable) else None
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    plain, values = [], []
    for variable, neutral in ((gain, ops.ones), (shift, ops.zeros)):
        values.append(None)
        if variable is not None:
            values[-1] = _along(variable.value, variable, axes, inputs)
            plain.append((variable, neutral(variable.shape, variable.dtype)))
    y, _ = run(call, plain, inputs, **kwargs)
    if values[0] is not None:
        y = y * ops.cast(values[0], y.dtype)
    if values[1] is not None:
        y = y + ops.cast(values[1], y.dtype)
    return y


def _along(value, variable, axes, inputs):
    """`value` [b, *dims] or [*dims], with its dims at `axes` of the input's."""
    rank = len(inputs.shape)
    shape = [1] * rank
    for axis, dim in zip(axes, variable.shape, strict=True):
        shape[axis] = dim
    if len(value.shape) > len(variable.shape):
        shape[0] = -1
    return ops.reshape(value, shape)


def _simple_rnn_cell(cell, call, variables, inputs, states, training=False):
    h = states[0] if isinstance(states, list | tuple) else states
    x_mask, h_mask = _masks(cell, inputs, h, training)
    y = _gates(inputs, x_mask, cell.kernel, 1) + _gates(h, h_mask, cell.recurrent_kernel, 1)
    if cell.bias is not None:
        y = y + cell.bias.value
    y = y if cell.activation is None else cell.activation(y)
    return y, [y] if isinstance(states, list | tuple) else y


def _lstm_cell(cell, call, variables, inputs, states, training=False):
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


def _gru_cell(cell, call, variables, inputs, states, training=False):
    h = states[0] if keras.tree.is_nested(states) else states
    x_mask, h_mask = _masks(cell, inputs, h, training)
    if h_mask is not None and not isinstance(h_mask, list):
        h, h_mask = h * h_mask, None
    u, sigma, kernel = cell.units, cell.recurrent_activation, _kernel(cell, "recurrent_kernel")
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
    """Product of x and the kernels of `count` gates: `[b, count * units]`.

    A list of masks has one for each gate.
    """
    kernel = _tensor(kernel)
    if isinstance(mask, list | tuple):
        kernels = ops.split(kernel, count, axis=-1)
        parts = [per_sample_dense(x * m, k) for m, k in zip(mask, kernels, strict=True)]
        return ops.concatenate(parts, axis=-1)
    return per_sample_dense(x if mask is None else x * mask, kernel)


def _tensor(value):
    """A variable's value here: on TensorFlow, `convert_to_tensor` leaves a variable one."""
    return value.value if isinstance(value, keras.Variable) else value


def _kernel(layer, name="kernel"):
    """The layer's kernel, with its LoRA factors' product where they are generated."""
    pair = lora_pair(layer)
    if pair is None:
        return _tensor(getattr(layer, name))
    a, b = (factor.value for factor in pair)
    if len(a.shape) == len(pair[0].shape):
        return _tensor(getattr(layer, name))
    with Substitution([(factor, ops.zeros(factor.shape)) for factor in pair]):
        kernel = _tensor(getattr(layer, name))
    b = ops.reshape(b, (-1, *(1,) * (len(a.shape) - 3), *b.shape[1:]))
    change = layer.lora_alpha / layer.lora_rank * ops.matmul(a, b)
    return kernel + ops.cast(change, kernel.dtype)


def _finished(layer, y, bias):
    """With the bias, [*dims] or [b, *dims], and the activation."""
    if bias is not None:
        value = bias.value
        if len(value.shape) > len(bias.shape):
            ones = (1,) * (len(y.shape) - len(value.shape))
            value = ops.reshape(value, (-1, *ones, *value.shape[1:]))
        y = y + ops.cast(value, y.dtype)
    return y if layer.activation is None else layer.activation(y)


def _channels_last(layer, x):
    if layer.data_format == "channels_last":
        return x
    return ops.transpose(x, (0, *range(2, len(x.shape)), 1))


def _channels_back(layer, y):
    if layer.data_format == "channels_last":
        return y
    return ops.transpose(y, (0, len(y.shape) - 1, *range(1, len(y.shape) - 1)))


FUNCTIONS = {
    layers.Dense: _dense,
    layers.EinsumDense: _einsum_dense,
    layers.Embedding: _embedding,
    layers.Conv1D: _conv,
    layers.Conv2D: _conv,
    layers.Conv3D: _conv,
    layers.DepthwiseConv1D: _depthwise_conv,
    layers.DepthwiseConv2D: _depthwise_conv,
    layers.BatchNormalization: _normalization,
    layers.GroupNormalization: _normalization,
    layers.LayerNormalization: _normalization,
    layers.SimpleRNNCell: _simple_rnn_cell,
    layers.LSTMCell: _lstm_cell,
    layers.GRUCell: _gru_cell,
}
