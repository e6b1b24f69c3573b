"""Which layers and weights of a network are frozen, as a configuration.

Keras writes `trainable` into the configuration of a layer, but not of one inside another layer, as
in `MultiHeadAttention` or a backbone of KerasHub. So the configuration of a hypernetwork says which
layers and weights of its networks are frozen.
"""

from collections.abc import Mapping

from keras import layers

from hyperkeras.keras_internals import sublayers


def entries(network: layers.Layer) -> dict[str, list[int]]:
    """Positions of frozen layers among all layers, and of weights that aren't trained."""
    return {
        "layers": [i for i, part in enumerate(sublayers(network)) if not part.trainable],
        "weights": [i for i, weight in enumerate(network.weights) if not weight.trainable],
    }


def restore(network: layers.Layer, configuration: Mapping[str, list[int]]) -> None:
    """Freezes what `entries` says, and nothing else."""
    if entries(network) == configuration:
        return
    frozen = set(configuration["layers"])
    for i, part in enumerate(sublayers(network)):  # a layer comes before those inside it
        part.trainable = i not in frozen
    fixed = set(configuration["weights"])
    for i, weight in enumerate(network.weights):
        weight.trainable = i not in fixed
