"""Weights generated once, for inference."""

from typing import Any

import keras

from hyperkeras.keras_internals import sublayers
from hyperkeras.layers.generated.base_generated_layer import GeneratedLayer
from hyperkeras.layers.sparse.base_dilated_conv import DilatedConv
from hyperkeras.models.hypernetworks.hypernetwork import Hypernetwork
from hyperkeras.ops.argument_validation import invalid_value

REPLACED = (GeneratedLayer, DilatedConv)  # by what their `plain` gives


def freeze(model: keras.Model, condition: Any = None) -> keras.Model:
    """A copy of a model for inference, whose kernels are generated once and not in each call.

    `HyperConv2D` becomes `keras.layers.Conv2D`, `HyperDense` becomes `keras.layers.Dense`, each
    with the kernel that its generator makes now. `DilatedConv1D` and `DilatedConv2D` become
    convolutions of the dilation that they have now. Other layers are copied with their weights. A
    `Hypernetwork` becomes its target, with the weights of one condition. The copy is plain Keras:
    it runs as fast as a dense network, and loads without hyperkeras.

    The copy is a snapshot with weights of its own. It stays as it is when `model` is trained,
    loaded or changed later. Freeze again after training.

    Args:
        model: Built Functional or Sequential model, or a `Hypernetwork`. Functional and Sequential
            models inside it are copied likewise. A hyper-layer inside another layer, such as
            `TimeDistributed`, stays one, and so does a `Hypernetwork` inside another model.
        condition: For a `Hypernetwork`, the condition, a tensor of shape `[1, ...]`.

    Returns:
        An uncompiled model that gives the same outputs.

    Example:

    ```python
    generator = hyperkeras.layers.KernelGenerator((3, 3, 3, 8), embedding_dim=4)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), hyperkeras.layers.HyperConv2D(16, 3, generator)]
    )
    deployed = hyperkeras.models.freeze(model)
    deployed.predict(keras.random.uniform((2, 8, 8, 3)), verbose=0).shape  # (2, 8, 8, 16)
    ```
    """
    if isinstance(model, Hypernetwork):
        if condition is None:
            raise invalid_value("condition", "one of shape [1, ...] for a Hypernetwork", condition)
        model = model.materialize(condition)
        if not any(isinstance(layer, REPLACED) for layer in sublayers(model)):
            return model
    elif condition is not None:
        raise invalid_value("condition", "None for a model that takes none", condition)
    if not isinstance(model, keras.Model) or not model.built:
        raise invalid_value("model", "a built Functional or Sequential model", model)
    pairs = []

    def copy(layer: Any) -> Any:
        if isinstance(layer, REPLACED):
            twin = layer.plain()
        else:
            twin = type(layer).from_config(layer.get_config())
        if isinstance(layer, keras.layers.Layer):  # and no operation, which has no weights
            pairs.append((layer, twin))
        return twin

    frozen = keras.models.clone_model(model, clone_function=copy, recursive=True)
    for layer, twin in pairs:
        plain = isinstance(layer, REPLACED)
        twin.set_weights(layer.plain_weights() if plain else layer.get_weights())
    _copy_trainable(model, frozen)
    return frozen


def _copy_trainable(model, frozen):
    """Gives `frozen` and its layers the `trainable` of what they were made of."""
    if frozen.trainable != model.trainable:
        frozen.trainable = model.trainable  # of all layers inside, too
    for layer, twin in zip(model.layers, frozen.layers, strict=True):
        if isinstance(layer, keras.Model) and hasattr(twin, "layers"):
            _copy_trainable(layer, twin)
        elif twin.trainable != layer.trainable:
            twin.trainable = layer.trainable
