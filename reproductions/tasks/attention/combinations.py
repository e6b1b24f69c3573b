"""Families together: a dynamic network that places sparse glimpses, a classifier a crop."""

import keras
from keras import layers, ops

from hyperkeras.layers import Glimpse, HyperLSTMCell
from hyperkeras.models import Hypernetwork
from reproductions.tasks.attention import networks

SCALE = 0.02  # of what moves a grid


def looking_net(shape, side, reader, pool, looks, **sampling):
    """Image [b, h, w, 1] → scores [b, 10], by a few glimpses placed by a HyperLSTM's state."""
    images = keras.Input(shape)
    cell = HyperLSTMCell(reader["units"], hyper_units=16, embedding_dim=4)
    x = Looker(cell, side, looks, reader, pool, sampling, name="looker")(images)
    return keras.Model(images, layers.Dense(10)(x), name="dynamic_glimpse")


def generated_classifier_net(shape, side, reader, pool, **sampling):
    """Image [b, h, w, 1] → scores [b, 10], by a linear classifier that is made for its crop.

    The crop is a sparse glimpse. A conv net reads it; from the means of its maps a hypernetwork
    makes the weights of the layer that classifies them.
    """
    images = keras.Input(shape)
    localization = networks.localization_net(
        shape, 1, side, pool, networks.box_numbers, reader["precision"]
    )
    glimpse = Glimpse(side, localization, name="glimpse", **sampling)
    patch = glimpse(images)[:, 0]
    networks.pass_on(glimpse.source.head)
    maps = networks.convolutions(patch, reader["filters"], (2, 1, 2, 1), reader["precision"])
    features = layers.Flatten()(layers.MaxPooling2D(2)(maps))
    target = keras.Sequential([keras.Input(features.shape[1:]), layers.Dense(10)])
    body = keras.Sequential([keras.Input(maps.shape[-1:]), layers.Dense(reader["units"], "tanh")])
    classifier = Hypernetwork(target, body, per_sample=True, name="classifier")
    scores = classifier([layers.GlobalAveragePooling2D()(maps), features])
    return keras.Model(images, scores, name="generated_classifier")


class Looker(layers.Layer):
    """Images [b, h, w, 1] → the output of a recurrent cell after a few sparse glimpses at them.

    Each look begins at the brightest place, as `localization_net` finds it. What the cell's state
    adds to the map of scores and to the grid's offset and extent, at first nothing, moves it.

    Args:
        cell: A recurrent cell.
        side: Integer, points of a glimpse along each axis.
        looks: Integer, the number of glimpses.
        reader: Dictionary with the `filters` and the `precision` of the conv net that reads one.
        pool: Integer, pixels that a score of the map covers, along each axis.
        sampling: Dictionary of the arguments of `Glimpse`.
    """

    def __init__(self, cell, side, looks, reader, pool, sampling, **kwargs):
        super().__init__(**kwargs)
        self.cell, self.looks = cell, looks
        self.side, self.pool, self.reader = side, pool, reader
        self.glimpse = Glimpse(side, name="glimpse", **sampling)
        self.softmax = networks.SpatialSoftmax(pool)
        self.query = layers.Dense(16, kernel_initializer="zeros", use_bias=False)
        self.moves = layers.Dense(
            4, kernel_initializer="zeros", bias_initializer=networks.Starts(1, side)
        )

    def build(self, input_shape):
        shape, precision = tuple(input_shape[1:]), self.reader["precision"]
        images, patch = keras.Input(shape), keras.Input((self.side, self.side, 1))
        scores, features = networks.score_map(images, self.pool, precision)
        self.map = keras.Model(images, [scores, features])
        x = networks.convolutions(patch, self.reader["filters"], (2, 1, 2, 2), precision)
        self.read = keras.Model(patch, networks.dense(x, 48, precision))
        batch, units = input_shape[0], self.cell.units
        self.glimpse.build(input_shape, (batch, 4))
        networks.pass_on(self.glimpse.source.head)
        self.cell.build((batch, 48))
        self.query.build((batch, units))
        self.moves.build((batch, 16 + units))

    def call(self, images, training=False):
        return self._look(images, training)[0]

    def grids(self, images):
        """The points read at inference, [b, looks, side, side, 2] in pixels."""
        placed = self._look(ops.convert_to_tensor(images), False)[1]
        means = [self.glimpse.source(numbers)[0] for numbers in placed]
        shape = (-1, self.side, self.side, 2)
        return ops.stack([ops.reshape(one, shape) for one in means], axis=1)

    def _look(self, images, training):
        scores, features = self.map(images, training=training)
        states, placed = self.cell.get_initial_state(ops.shape(images)[0]), []
        output = states[0]
        for _ in range(self.looks):
            # Scaled, so that Adam's steps move a grid by small parts of a pixel.
            state = SCALE * output
            asked = ops.sum(features * self.query(state)[:, None, None], axis=-1, keepdims=True)
            place, seen = self.softmax(scores + asked, features, training=training)
            moves = self.moves(ops.concatenate([SCALE * seen[:, 0], state], axis=-1))
            moves = ops.reshape(moves, (-1, 1, 2, 2))
            numbers = networks.box_numbers(
                place + moves[:, :, 0], moves[:, :, 1], tuple(images.shape[1:])
            )
            placed.append(ops.reshape(numbers, (-1, 4)))
            patch = self.glimpse(images, placed[-1], training=training)[:, 0]
            output, states = self.cell(self.read(patch, training=training), states)
        return output, placed
