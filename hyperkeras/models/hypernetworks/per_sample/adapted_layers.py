"""A layer's own product beside an adapter, or a bias, that differs from sample to sample.

A layer whose kernel is the same for all samples runs its own call, quantized or not. What is
generated comes after it, so that no kernel is made for a sample:

    y = layer(x) + alpha / rank (x A_b) B_b
"""

import inspect
import types
from typing import Any

from keras import ops

from hyperkeras.models.hypernetworks.lora import KERNELS
from hyperkeras.models.hypernetworks.lora import factors as lora_pair


def keeps_kernel(layer: Any) -> bool:
    """Whether all samples share the layer's kernel, and its own call is the way to use it.

    That is so for generated LoRA factors and for quantized kernels.
    """
    if any(is_generated(weight) for weight in layer.weights if weight.name in KERNELS):
        return False
    return generated_pair(layer) is not None or layer.quantization_mode is not None


def is_generated(variable: Any) -> bool:
    """Whether the variable has a value of its own for each sample here."""
    return len(variable.value.shape) > len(variable.shape)


def generated_pair(layer: Any) -> Any:
    """The LoRA factors of each sample, `[b, ..., r]` and `[b, r, o]`, or None."""
    pair = lora_pair(layer)
    if pair is None or not is_generated(pair[0]):
        return None
    return pair[0].value, pair[1].value


def own_product(layer: Any, x: Any) -> Any:
    """The layer's output without bias, activation and generated LoRA."""
    name = "call" if layer.quantization_mode is None else "quantized_call"
    return getattr(_Bare(layer), name)(x)


def with_change(layer: Any, y: Any, change: Any) -> Any:
    """`y` and the scaled change of the adapter."""
    return y + ops.cast(layer.lora_alpha / layer.lora_rank * change, y.dtype)


class _Bare:
    """A layer without bias, activation and generated LoRA.

    It reads what it lacks from the layer, whose methods and properties run on it. The layer itself
    is not changed, so that other threads may run it.
    """

    bias = None
    activation = None

    def __init__(self, layer) -> None:
        self._layer = layer
        self.lora_enabled = layer.lora_enabled and generated_pair(layer) is None

    def __getattr__(self, name):
        static = inspect.getattr_static(type(self._layer), name, None)
        if isinstance(static, property) and static.fget is not None:
            return static.fget(self)
        if isinstance(static, types.FunctionType):
            return types.MethodType(static, self)
        return getattr(self._layer, name)
