"""How a hypernetwork's head starts."""

import keras
import numpy as np
from keras import ops

from hyperkeras import initializers

INITIALIZERS = {
    "hyperfan_in": initializers.HyperfanIn,
    "hyperfan_out": initializers.HyperfanOut,
    "bias_hyper": initializers.BiasHyperInit,
}
GAIN_SPREAD = 0.1  # standard deviation of generated scales around their start, in chunks


def initializer(value):
    """One of ours by its name, or what Keras knows."""
    if isinstance(value, str) and value in INITIALIZERS:
        return INITIALIZERS[value]()
    return keras.initializers.get(value)


def values(array):
    """An initializer that returns the values of an array."""
    return lambda shape, dtype=None: ops.convert_to_tensor(array, dtype)


def by_pieces(initializer, pieces):
    """The kernel `[F, N]` of a head over all pieces; scales start alike for all conditions."""

    def start(shape, dtype=None):
        parts = []
        for p in pieces:
            wanted = (shape[0], *p.shape)
            part = ops.zeros(wanted, dtype)
            if not p.is_gain:
                part = initializer(wanted, dtype, fans=p.fans, bias=p.is_bias, biases=p.biased)
            parts.append(ops.reshape(part, (shape[0], p.size)))
        return ops.concatenate(parts, axis=1)

    return start


def spread(initializer, pieces, num_features):
    """For each generated weight the standard deviation that Hyperfan gives its row of the head."""
    spreads = []
    for p in pieces:
        variances = initializer.variances(num_features, p.fans, p.biased)
        spread = float(variances[p.is_bias]) ** 0.5
        if p.is_gain:
            spread = GAIN_SPREAD * (num_features * initializer.feature_variance) ** -0.5
        spreads.append(np.full(p.size, spread))
    return np.concatenate(spreads)
