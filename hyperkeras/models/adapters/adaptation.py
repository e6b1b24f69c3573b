"""LoRA in chosen layers of a network, and all else frozen."""

from collections.abc import Sequence

from keras import layers

from hyperkeras.keras_internals import sublayers
from hyperkeras.models.hypernetworks import lora
from hyperkeras.ops.argument_validation import invalid_value

# Query and value as KerasHub's attention and `keras.layers.MultiHeadAttention` name them.
DEFAULT_NAMES = ("query_dense", "value_dense", "query", "value")


def check_names(names: Sequence[str] | None) -> list[str] | None:
    """`target_layer_names` as a list of strings, or None."""
    if names is None:
        return None
    known = isinstance(names, list | tuple) and names
    if not known or not all(isinstance(name, str) for name in names):
        expected = "a sequence of names of layers, or None"
        raise invalid_value("target_layer_names", expected, names)
    return list(names)


def chosen_layers(target: layers.Layer, names: Sequence[str] | None) -> list[layers.Layer]:
    """The layers of the target of these names or paths that can have LoRA.

    None stands for the names that a KerasHub backbone says itself, else for `DEFAULT_NAMES`.
    """
    defaults: Sequence[str] = DEFAULT_NAMES
    backbone = getattr(target, "backbone", target)
    if hasattr(backbone, "default_lora_layer_names"):
        defaults = backbone.default_lora_layer_names()
    wanted = defaults if names is None else names
    able = [part for part in sublayers(target) if hasattr(part, "enable_lora")]
    able = list({id(part): part for part in able}.values())
    chosen = [part for part in able if part.name in wanted or part.path in wanted]
    present = {name for part in chosen for name in (part.name, part.path)}
    unknown = [name for name in wanted if name not in present]
    if not chosen or (names is not None and unknown):
        raise ValueError(
            "Received an invalid value for `target_layer_names`, expected names or paths of layers "
            f"of the target that can have LoRA. Received: {unknown}, target "
            f"'{target.name}' with {sorted({part.name for part in able})}"
        )
    return chosen


def enable(chosen: Sequence[layers.Layer], rank: int, alpha: float) -> None:
    """Enables LoRA in the layers; those that have it already need this rank and alpha."""
    for layer in chosen:
        if not lora.factors(layer):
            layer.enable_lora(rank, lora_alpha=alpha)
        elif (layer.lora_rank, layer.lora_alpha) != (rank, alpha):
            raise ValueError(
                f"Expected layer '{layer.name}' to have no LoRA yet, or with rank={rank} and "
                f"alpha={alpha}. Received: lora_rank={layer.lora_rank}, "
                f"lora_alpha={layer.lora_alpha}"
            )


def freeze_all_but(target: layers.Layer, chosen: Sequence[layers.Layer]) -> None:
    """Freezes the target, biases and moving statistics too, but for the chosen layers' LoRA."""
    ids = {id(layer) for layer in chosen}
    factors = {id(factor) for layer in chosen for factor in lora.factors(layer) or ()}
    for layer in sublayers(target):  # a layer comes before those inside it
        layer.trainable = any(id(part) in ids for part in sublayers(layer))
    for weight in target.weights:
        weight.trainable = id(weight) in factors
