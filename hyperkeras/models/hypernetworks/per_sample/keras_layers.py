"""Keras's layers as one batched product each, with weights that differ from sample to sample.

`@per_sample(kind)` registers a function for a class of layers. Where it runs, a generated weight
reads as a tensor `[b, *shape]`, and the layer's other weights as they are. See `scope`.
"""

import string
from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from hyperkeras.models.hypernetworks.lora import factors as lora_pair
from hyperkeras.models.hypernetworks.per_sample.adapted_layers import (
    generated_pair,
    keeps_kernel,
    own_product,
    with_change,
)
from hyperkeras.models.hypernetworks.per_sample.factored_products import factors_of
from hyperkeras.models.hypernetworks.variable_substitution import Substitution, run
from hyperkeras.ops.generated.per_sample import (
    per_sample_conv,
    per_sample_dense,
    per_sample_depthwise_conv,
    per_sample_embedding,
)

_FUNCTIONS: dict[type, Callable] = {}


def per_sample(*kinds: type) -> Callable:
    """Registers a function as the batched form of `call` for classes of layers.

    The function takes the layer, its own `call`, and the arguments of `call`.

    Args:
        kinds: Classes of layers. A subclass with a `call` of its own is not meant.
    """

    def register(function):
        _FUNCTIONS.update(dict.fromkeys(kinds, function))
        return function

    return register


def batched_call(layer: layers.Layer) -> Callable | None:
    """The registered function for `layer`, or None.

    A subclass with a `call` of its own is no longer the class it names.
    """
    own = layer.__dict__.get("call")
    if own is not None and not hasattr(own, "intercepts"):
        return None
    for kind in type(layer).__mro__:
        if kind in _FUNCTIONS and type(layer).call is getattr(kind, "call", None):
            return _FUNCTIONS[kind]
    return None


@per_sample(layers.Dense)
def _dense(layer, call, inputs, training=None):
    factors = factors_of(layer)
    if factors is not None:
        return _finished(layer, factors.times(inputs), layer.bias)
    if keeps_kernel(layer):
        y, pair = own_product(layer, inputs), generated_pair(layer)
        if pair is not None:
            a, b = (ops.cast(factor, inputs.dtype) for factor in pair)
            y = with_change(layer, y, per_sample_dense(per_sample_dense(inputs, a), b))
        return _finished(layer, y, layer.bias)
    y = per_sample_dense(inputs, generated_kernel(layer))
    return _finished(layer, y, layer.bias)


@per_sample(layers.EinsumDense)
def _einsum_dense(layer, call, inputs, training=None):
    x, letters, y = layer.equation.replace("->", ",").split(",")
    if "..." in x:  # as many letters of their own as the input has axes there
        free = [a for a in string.ascii_letters if a not in layer.equation]
        carried = "".join(free[: len(inputs.shape) - len(x) + 3])
        x, y = x.replace("...", carried), y.replace("...", carried)
    if keeps_kernel(layer):
        product, pair = own_product(layer, inputs), generated_pair(layer)
        if pair is not None:
            change = _einsum_change(x, letters, y, inputs, *pair)
            product = with_change(layer, product, change)
        return _finished(layer, product, layer.bias)
    kernel = generated_kernel(layer)
    if len(kernel.shape) > len(letters):
        letters = x[0] + letters
    return _finished(layer, ops.einsum(f"{x},{letters}->{y}", inputs, kernel), layer.bias)


def _einsum_change(x, letters, y, inputs, a, b):
    """(x A_b) B_b, where A has the kernel's axes but the last."""
    batch, last = x[0], letters[-1]
    a, b = ops.cast(a, inputs.dtype), ops.cast(b, inputs.dtype)
    if y[-1] == last:  # the rank in place of the last axis, then B
        return per_sample_dense(ops.einsum(f"{x},{batch}{letters}->{y}", inputs, a), b)
    rank = next(letter for letter in string.ascii_letters if letter not in x + letters + y)
    factors = f"{batch}{letters[:-1]}{rank},{batch}{rank}{last}"
    return ops.einsum(f"{x},{factors}->{y}", inputs, a, b)


@per_sample(layers.Embedding)
def _embedding(layer, call, inputs):
    if keras.backend.standardize_dtype(inputs.dtype) not in ("int32", "int64"):
        inputs = ops.cast(inputs, "int32")
    if keeps_kernel(layer):
        y, pair = own_product(layer, inputs), generated_pair(layer)
        if pair is not None:
            rows = per_sample_embedding(inputs, pair[0])
            y = with_change(layer, y, per_sample_dense(rows, pair[1]))
        return ops.cast(y, layer.compute_dtype)
    y = per_sample_embedding(inputs, generated_kernel(layer, "embeddings"))
    return ops.cast(y, layer.compute_dtype)


@per_sample(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def _conv(layer, call, inputs):
    kernel, x = generated_kernel(layer), _channels_last(layer, inputs)
    if len(kernel.shape) == layer.rank + 2:  # only the bias is generated
        y = ops.conv(x, kernel, layer.strides, layer.padding, "channels_last", layer.dilation_rate)
    else:
        places = (layer.strides, layer.padding, layer.dilation_rate)
        y = per_sample_conv(x, kernel, *places, layer.groups)
    return _channels_back(layer, _finished(layer, y, layer.bias))


@per_sample(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def _depthwise_conv(layer, call, inputs):
    kernel, x = generated_kernel(layer), _channels_last(layer, inputs)
    if len(kernel.shape) == layer.rank + 2:
        kernel = kernel[None]
    y = per_sample_depthwise_conv(x, kernel, layer.strides, layer.padding, layer.dilation_rate)
    return _channels_back(layer, _finished(layer, y, layer.bias))


@per_sample(layers.SeparableConv1D, layers.SeparableConv2D)
def _separable_conv(layer, call, inputs):
    depthwise, pointwise = tensor(layer.depthwise_kernel), tensor(layer.pointwise_kernel)
    if len(depthwise.shape) == layer.rank + 2:
        depthwise = depthwise[None]
    places = (layer.strides, layer.padding, layer.dilation_rate)
    y = per_sample_depthwise_conv(_channels_last(layer, inputs), depthwise, *places)
    plain = len(pointwise.shape) == layer.rank + 2
    pointwise = ops.reshape(pointwise, (*(() if plain else (-1,)), *pointwise.shape[-2:]))
    return _channels_back(layer, _finished(layer, per_sample_dense(y, pointwise), layer.bias))


@per_sample(layers.BatchNormalization, layers.GroupNormalization, layers.LayerNormalization)
def _normalization(layer, call, inputs, **kwargs):
    """Statistics are the layer's own matter; its scale and shift come after it."""
    gain = getattr(layer, "gamma", getattr(layer, "scale", None))
    shift = getattr(layer, "beta", None)
    gain = gain if isinstance(gain, keras.Variable) else None
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    plain: list[tuple[keras.Variable, Any]] = []
    values: list[Any] = []
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


def tensor(value: Any) -> Any:
    """A variable's value here: on TensorFlow, `convert_to_tensor` leaves a variable one."""
    return value.value if isinstance(value, keras.Variable) else value


def generated_kernel(layer: layers.Layer, name: Any = "kernel") -> Any:
    """The layer's kernel, with its LoRA factors' product where they are generated."""
    pair = lora_pair(layer)
    if pair is None:
        return tensor(getattr(layer, name))
    a, b = (factor.value for factor in pair)
    if len(a.shape) == len(pair[0].shape):
        return tensor(getattr(layer, name))
    with Substitution([(factor, ops.zeros(factor.shape)) for factor in pair]):
        kernel = tensor(getattr(layer, name))
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
