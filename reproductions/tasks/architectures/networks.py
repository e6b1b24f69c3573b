"""The hypernetworks: encoders and decoders around `GraphHypernetwork`."""

import keras
import numpy as np
from keras import layers, ops

from hyperkeras import models
from hyperkeras.layers import FlatEncoder, GatedGraphEncoder, MatrixDecoder
from hyperkeras.ops import fit_to_shape

WINDOW = 3
MOST_NODES = 56


def hypernetwork(model, config):
    """A compiled hypernetwork."""
    units, size = config["units"], (config["tile"], config["tile"])
    made = dict(
        ghn2=lambda: (GatedGraphEncoder(units), "fan_in"),
        ghn1=lambda: (GatedGraphEncoder(units, virtual_edges=None, normalize=False), None),
        mlp=lambda: (None, "fan_in"),
        smash=lambda: (FlatEncoder(units, MOST_NODES), "frobenius"),
        zeros=lambda: (NoCode(units, MOST_NODES), "frobenius"),
        shared=lambda: (Places(MOST_NODES), "fan_in"),
    )
    encoder, normalize = made[model]()
    if model == "shared":
        decoder = FreeTiles(size)
    else:
        # Where nothing scales the weights, they start as large as scaled ones are.
        start = "lecun_normal" if normalize else keras.initializers.VarianceScaling(0.02)
        decoder = MatrixDecoder(size, WINDOW, config["hidden"], kernel_initializer=start)
    network = models.GraphHypernetwork(encoder, decoder, normalize=normalize, units=units)
    network.encoding.trainable = model != "shared"  # which reads places alone
    rate = keras.optimizers.schedules.CosineDecay(
        config["shared_rate" if model == "shared" else "hyper_rate"], config["hyper_steps"]
    )
    network.compile(
        keras.optimizers.Adam(rate, global_clipnorm=5.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return network


class NoCode(FlatEncoder):
    """A `FlatEncoder` that reads the same code each time, and so knows nothing but places."""

    def call(self, nodes, distances):
        # SMASH's code where nothing is marked; numbers of 0 would start all weights at 0.
        code = -ops.ones((ops.shape(nodes)[0], self.max_nodes, self.units), nodes.dtype)
        return FlatEncoder.call(self, code, distances)[:, : nodes.shape[1]]


class Places(layers.Layer):
    """Nodes `[g, n, d]` → numbers of their places among `max_nodes`, `[g, n, d]`."""

    def __init__(self, max_nodes):
        super().__init__()
        self.max_nodes = max_nodes

    def build(self, nodes_shape, distances_shape=None):
        super().build(nodes_shape)

    def call(self, nodes, distances):
        places = ops.arange(nodes.shape[1], dtype=nodes.dtype)
        return ops.zeros_like(nodes) + places[:, None]


class FreeTiles(layers.Layer):
    """A kernel and two vectors for each place: no hypernetwork, but weights that are shared."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def build(self, input_shape):
        p, q = self.size
        self.kernels = self.add_weight(
            name="kernels", shape=(MOST_NODES, WINDOW, WINDOW, p, q), initializer=start()
        )
        self.vectors = self.add_weight(
            name="vectors", shape=(MOST_NODES, 2, q), initializer="zeros"
        )
        super().build(input_shape)

    def call(self, features):
        place = ops.cast(features[:, 0], "int32")
        return ops.take(self.kernels, place, axis=0), ops.take(self.vectors, place, axis=0)

    def tiles(self, features, pieces):
        kernels, vectors = self(features)
        count = len(pieces)
        pairs = zip(pieces, ops.unstack(kernels, count), ops.unstack(vectors, count), strict=True)
        return [kernel if len(piece.shape) > 1 else vector for piece, kernel, vector in pairs]

    @staticmethod
    def fit(tile, piece):
        if len(piece.shape) < 2:
            return fit_to_shape(tile[int(piece.is_bias)], piece.shape)
        window = (1, 1, *piece.shape[:-2])[-2:]
        if window == (1, 1):  # the middle of the window
            tile = tile[1:2, 1:2]
        return ops.reshape(fit_to_shape(tile, (*window, *piece.shape[-2:])), piece.shape)


def start():
    return keras.initializers.RandomNormal(stddev=1.0)


def predicted(network, zoo, targets):
    """The accuracy of each target with weights that a hypernetwork made."""
    found = []
    for target in targets:
        network.assign(target)
        found.append(zoo.accuracy(target))
    return np.array(found)
