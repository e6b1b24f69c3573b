"""How the layers of a network run on boxes: the rule of each, and which layers have one.

A box of b samples runs as one batch of 2 b rows, the lower bounds and then the upper ones. Layers
without weights here never fall where an input rises, so that they run on these rows as they are.
Layers with weights mix the two halves. Before the first of them in a chain of layers the input is
a point, and has b rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import activations, layers, ops

from hyperkeras.keras_internals import sublayers
from hyperkeras.models.hypernetworks.per_sample.interception import intercept, redirected
from hyperkeras.ops.intervals.monotone import interval_monotone
from hyperkeras.ops.intervals.products import Box, interval_conv, interval_dense

# Activations that never fall.
ACTIVATIONS = (
    *("linear", "relu", "relu6", "leaky_relu", "elu", "sigmoid", "hard_sigmoid", "tanh"),
    *("softplus", "softsign"),
)
MONOTONE = (
    *(layers.InputLayer, layers.Activation, layers.ReLU, layers.Flatten, layers.Reshape),
    *(layers.Add, layers.MaxPooling2D, layers.AveragePooling2D),
    *(layers.GlobalMaxPooling2D, layers.GlobalAveragePooling2D),
)
EXPECTED = (
    "Dense, Conv2D (channels last), Activation and ReLU, MaxPooling2D, AveragePooling2D, their "
    "global forms, Flatten, Reshape and Add in a Sequential or Functional model, with activations "
    f"of {', '.join(ACTIVATIONS)}, in float32 or float64"
)


def check_intervals(name: str, network: layers.Layer) -> None:
    """Raises an error where a network can't run on boxes, which names the layer.

    Args:
        name: String, the argument that is checked.
        network: Built layer or model.
    """
    for layer in sublayers(network):
        why = _obstacle(layer)
        if why is not None:
            raise ValueError(
                f"Expected `{name}` to be made of layers that have bounds: {EXPECTED}. Received: "
                f"layer '{layer.name}' of class {type(layer).__name__}{why}"
            )


def _obstacle(layer):
    """Why a layer has no bounds, or None."""
    kind = type(layer)
    if kind in (keras.Sequential, keras.Model) or kind.__name__ == "Functional":
        others = [op.name for op in _operations(layer) if not isinstance(op, layers.Layer)]
        if others:
            return f", with operations that are no layers: {others}"
        return None if _operations(layer) else ", with a `call` of its own"
    if kind not in (*RULES, *MONOTONE):
        return ""
    if layer.compute_dtype not in ("float32", "float64"):
        return f", which computes in {layer.compute_dtype}"
    function = getattr(layer, "activation", None)
    if function is not None and function not in [activations.get(n) for n in ACTIVATIONS]:
        return f" with activation {getattr(function, '__name__', function)!r}"
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return f" with data_format={layer.data_format!r}"
    if getattr(layer, "negative_slope", 0) < 0:
        return f" with negative_slope={layer.negative_slope}"
    if any(v.constraint is not None for v in layer.weights):
        return " with a constraint"
    if _is_changed(layer):
        return ", with LoRA or quantized"
    return None


def _is_changed(layer):
    """Whether a layer's kernel is not what it multiplies by."""
    return getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None)


def _operations(model):
    return list(getattr(model, "operations", None) or getattr(model, "layers", []))


def interval_call(
    network: layers.Layer, x: Any, weights: Mapping[int, Box] | None = None
) -> tuple[Any, Any]:
    """Bounds of a network's output.

    Args:
        network: Built layer or model that has passed `check_intervals`.
        x: Tensor `[b, ...]`, a point, or a pair of them, lower and upper.
        weights: {id of a variable: its lower and upper bound}; others are points.

    Returns:
        Pair of tensors, lower and upper.
    """
    chain = all(type(m) is keras.Sequential for m in sublayers(network) if _operations(m))
    rows = _Rows(weights or {}, is_point=chain and not isinstance(x, tuple))
    if isinstance(x, tuple):
        x = ops.concatenate(x, axis=0)
    elif not rows.is_point:
        x = keras.tree.map_structure(lambda a: ops.concatenate([a, a], axis=0), x)
    intercept(network)
    with redirected(rows):
        y = network(x)
    lower, upper = ops.split(y, 2, axis=0)
    return lower, upper


class _Rows:
    """The redirection that runs a layer on the rows of a box."""

    def __init__(self, weights, is_point):
        self.weights = weights
        self.is_point = is_point

    def __call__(self, layer, call, args, kwargs):
        rule = RULES.get(type(layer))
        if rule is None:
            return call(*args, **kwargs)
        if _is_changed(layer):
            raise ValueError(
                f"Expected layer '{layer.name}' to have bounds, as it had when the hypernetwork "
                "was made. Received: a layer with LoRA or quantized"
            )
        x = args[0] if self.is_point else tuple(ops.split(args[0], 2, axis=0))
        self.is_point = False
        box = rule(layer, x, self.read(layer.kernel), self.read(layer.bias))
        return ops.concatenate(interval_monotone(layer.activation, box), axis=0)

    def read(self, variable):
        """The bounds of a weight, its value where it is a point, None where there is none."""
        if variable is None:
            return None
        return self.weights.get(id(variable), variable.value)


def _dense(layer, x, kernel, bias):
    return interval_dense(x, kernel, bias)


def _conv(layer, x, kernel, bias):
    return interval_conv(x, kernel, bias, layer.strides, layer.padding, layer.dilation_rate)


RULES: dict[type, Callable] = {layers.Dense: _dense, layers.Conv2D: _conv}
