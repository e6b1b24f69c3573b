"""LoRA in a network: where it is enabled, and its factors.

Keras writes LoRA into the configuration of Dense, EinsumDense and Embedding, but not of such a
layer inside another one, as in `MultiHeadAttention` or a backbone of KerasHub. So the
configuration of a hypernetwork says which layers of its networks have LoRA.
"""

from collections.abc import Sequence

import keras
from keras import layers

from hyperkeras.keras_internals import sublayers

KERNELS = ("kernel", "embeddings")  # names of the weights to which LoRA adds a product


def factors(layer: layers.Layer) -> tuple[keras.Variable, keras.Variable] | None:
    """The two LoRA factors of a layer, or None."""
    if not getattr(layer, "lora_enabled", False):
        return None
    for name in ("lora_kernel", "lora_embeddings"):
        if hasattr(layer, f"{name}_a"):
            return getattr(layer, f"{name}_a"), getattr(layer, f"{name}_b")
    return None


def entries(network: layers.Layer | None) -> list[dict]:
    """The layers of `network` that have LoRA, with rank and alpha, as a configuration."""
    if network is None:
        return []
    return [
        {
            "path": layer.path,
            "position": position,
            "rank": layer.lora_rank,
            "alpha": layer.lora_alpha,
            "quantization": layer.quantization_mode,
        }
        for position, layer in enumerate(sublayers(network))
        if factors(layer)
    ]


def restore(network: layers.Layer | None, configuration: Sequence[dict]) -> None:
    """Enables LoRA where `entries` says so and the network does not have it yet."""
    made = list(sublayers(network)) if configuration else []
    for entry in configuration:
        same = [layer for layer in made if layer.path == entry["path"]]
        layer = same[0] if len(same) == 1 else made[entry["position"]]
        if not factors(layer):
            mode = entry.get("quantization")
            if mode and layer.quantization_mode is None:  # lost with the configuration, as LoRA is
                layer.quantize(mode)
            layer.enable_lora(entry["rank"], lora_alpha=entry["alpha"])
        layer.lora_alpha = entry["alpha"]  # Dense and Embedding forget it when they are made anew


def check_whole_pairs(target: layers.Layer, variables: Sequence[keras.Variable]) -> None:
    """Raises an error where half a pair is chosen: Keras merges pairs as it saves."""
    chosen = {id(variable) for variable in variables}
    for layer in sublayers(target):
        pair = factors(layer)
        if pair and len({id(factor) in chosen for factor in pair}) == 2:
            raise ValueError(
                "Expected `select` to choose both LoRA factors of a layer, or neither. "
                f"Received: one of {[factor.path for factor in pair]}"
            )


def only_factors(target: layers.Layer, variables: Sequence[keras.Variable]) -> bool:
    """Whether LoRA factors, and nothing else, are chosen."""
    pairs = [factors(layer) for layer in sublayers(target)]
    known = {id(factor) for pair in pairs if pair for factor in pair}
    return all(id(variable) in known for variable in variables)


def clear(target: layers.Layer, variables: Sequence[keras.Variable]) -> None:
    """Sets the products of generated pairs to zero, which saving would add to the kernels."""
    chosen = {id(variable) for variable in variables}
    for layer in sublayers(target):
        pair = factors(layer)
        if pair and id(pair[1]) in chosen:
            pair[1].assign(keras.ops.zeros(pair[1].shape))
