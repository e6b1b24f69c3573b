"""Layers inside a layer that stay as they are when a model is quantized."""

from typing import Any

from keras import layers


def full_precision(layer: layers.Layer) -> layers.Layer:
    """The layer, which now refuses to be quantized: `quantize` of a model warns, and goes on.

    Keras keeps how a layer is quantized in that layer's own configuration. That of a layer which
    is made inside another one is not kept, so that the model's file could not be loaded.
    """

    def quantize(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            f"Layer '{layer.path or layer.name}' is not quantized: it is part of a layer of "
            "hyperkeras, which computes in full precision and keeps no record of its parts' "
            "quantization."
        )

    # In `__dict__`, since Keras and PyTorch track what is assigned.
    layer.__dict__["quantize"] = quantize
    return layer
