"""Kernels generated once, for inference."""

import keras

from hyperkeras.layers.generated.base_generated_layer import GeneratedLayer


def freeze(model):
    """A copy of a model for inference, whose kernels are generated once and not in each call.

    `HyperConv2D` becomes `keras.layers.Conv2D`, `HyperDense` becomes `keras.layers.Dense`, each
    with the kernel that its generator makes now; other layers are copied with their weights. The
    copy is plain Keras: it runs as fast as a dense network, and loads without hyperkeras.

    It is a snapshot with weights of its own. Training, loading or changing `model` later leaves
    the copy as it is, and the copy's layers know no generator: nothing in `model` can be stale.
    Freeze again after training.

    Args:
        model: Built Functional or Sequential model; such models inside it are copied likewise. A
            hyper-layer inside another layer, such as `TimeDistributed`, stays one.

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
    pairs = []

    def copy(layer):
        if isinstance(layer, GeneratedLayer):
            found = layer.plain()
        else:
            found = type(layer).from_config(layer.get_config())
        if isinstance(layer, keras.layers.Layer):  # not an operation, such as a mask's `!=`
            pairs.append((layer, found))
        return found

    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            "Received an invalid value for `model`, expected a built Functional or Sequential "
            f"model. Received: model={model!r}"
        )
    frozen = keras.models.clone_model(model, clone_function=copy, recursive=True)
    for layer, found in pairs:
        plain = isinstance(layer, GeneratedLayer)
        found.set_weights(layer.plain_weights() if plain else layer.get_weights())
    return frozen
