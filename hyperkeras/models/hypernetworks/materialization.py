"""A plain Keras model with given values in place of some of its weights."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.keras_internals import sublayers
from hyperkeras.models.hypernetworks import conditions, lora
from hyperkeras.models.hypernetworks.penalties import constrained


def plain_copy(network: layers.Layer, values: Mapping[int, Any]) -> layers.Layer:
    """A copy of a network with weights of its own, LoRA merged into its kernels.

    Args:
        network: Built Keras layer or model.
        values: {id of a variable of the network: its value in the copy}. The other weights
            are copied.

    Returns:
        A layer or model of the same class, which needs nothing of hyperkeras.
    """
    config = _without_lora(keras.saving.serialize_keras_object(network))
    copy = keras.saving.deserialize_keras_object(config)
    arrays = _merged(network, values)
    weights = copy.weights
    shapes = [tuple(weight.shape) for weight in weights]
    if not copy.built or shapes != [array.shape for array in arrays]:
        raise ValueError(
            f"Expected '{network.name}' to be made anew by its configuration, built and with as "
            "many weights: implement `get_config`, and `build(input_shape)` for a subclassed "
            f"model. Received: shapes {shapes} instead of {[a.shape for a in arrays]}"
        )
    for weight, array in zip(weights, arrays, strict=True):
        weight.assign(array)
    return copy


def generated_values(hypernetwork: Any, condition: Any) -> dict[int, Any]:
    """The weights that a hypernetwork generates for one condition.

    Args:
        hypernetwork: The `Hypernetwork`.
        condition: Tensor of shape `[1, ...]`, or a nest of them.

    Returns:
        {id of a variable of the target: its value under its constraint}.
    """
    condition = keras.tree.map_structure(ops.convert_to_tensor, condition)
    if conditions.count_rows(condition) != 1:
        raise ValueError(
            "Expected `condition` to have one row: a plain model has one set of weights. "
            f"Received: condition of shape {conditions.shapes_of(condition)}"
        )
    hypernetwork.selection.check()
    generated = zip(hypernetwork.generated_weights, hypernetwork.generate(condition), strict=True)
    return {id(variable): constrained(variable, value)[0] for variable, value in generated}


def _without_lora(config):
    """The configuration, a nest of dictionaries and lists, without LoRA."""
    if isinstance(config, dict):
        names = ("lora_rank", "lora_alpha")
        return {key: _without_lora(value) for key, value in config.items() if key not in names}
    if isinstance(config, list | tuple):
        return type(config)(_without_lora(value) for value in config)
    return config


def _merged(network, values):
    """The weights in order, LoRA factors left out and added to their kernels."""

    def value(variable: keras.Variable) -> np.ndarray:
        return ops.convert_to_numpy(values.get(id(variable), variable.value))

    factors, products = set(), {}
    for layer in sublayers(network):
        pair = lora.factors(layer)
        if not pair:
            continue
        a, b = (value(factor) for factor in pair)
        factors |= {id(factor) for factor in pair}
        (kernel,) = (w for w in layer.weights if w.name in lora.KERNELS)
        if not keras.backend.is_float_dtype(kernel.dtype):
            raise ValueError(
                "Expected layers with LoRA not to be quantized, where it can't be merged into the "
                f"kernel. Received: layer '{layer.name}' of dtype {kernel.dtype}"
            )
        products[id(kernel)] = layer.lora_alpha / layer.lora_rank * np.matmul(a, b)
    return [
        value(weight) + np.asarray(products.get(id(weight), 0), value(weight).dtype)
        for weight in network.weights
        if id(weight) not in factors
    ]
