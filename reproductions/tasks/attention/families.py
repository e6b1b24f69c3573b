"""The attention task's static and dynamic networks, and the plain recurrent one."""

import keras
from keras import layers, ops

from baselines.additive_attention import AdditiveAttention, read
from hyperkeras.layers import HyperConv2D, HyperLSTMCell, KernelGenerator


def static_net(shape, filters, units, embedding_dim, hidden_dim):
    """`baselines.conv_net` with generated kernels: image [b, h, w, 1] → scores [b, 10].

    One generator makes the kernels of all convolutions but the first, whose input is the image, in
    tiles of 3×3, 16 → 16. What is stored are an embedding a tile and the generator.
    """
    generator = KernelGenerator((3, 3, 16, 16), embedding_dim, hidden_dim)
    images = keras.Input(shape)
    x = layers.Conv2D(filters[0], 5, 2, padding="same", use_bias=False)(images)
    x = layers.MaxPooling2D(2)(_normalized(x))
    for number in filters[1:]:
        x = HyperConv2D(number, 3, generator, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D(2)(_normalized(x))
    x = _normalized(layers.Dense(units, use_bias=False)(layers.Flatten()(x)))
    return keras.Model(images, layers.Dense(10)(x), name="static")


def reading_net(shape, pool, cell, units, looks):
    """Parts of an image read by soft attention: image [b, h, w, 1] → scores [b, 10].

    A conv net gives features, of which windows of 3×3, a little wider than a digit, are the parts.
    At each of `looks` steps the state of the recurrent `cell` weighs all parts, and the cell reads
    their weighted mean: a soft glimpse, which is placed by what was seen before.
    """
    images = keras.Input(shape)
    x = layers.AveragePooling2D(pool // 2)(images) if pool > 2 else images
    for filters, size, strides in ((16, 5, 2), (32, 3, 1)):
        x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D(2)(_normalized(x))
    x = ops.image.extract_patches(x, 3, strides=1, padding="valid", data_format="channels_last")
    x = ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))
    x = _normalized(layers.Dense(units, use_bias=False)(x))
    x = Reader(cell, units, looks, name="reader")(x)
    return keras.Model(images, layers.Dense(10)(x))


class Reader(layers.Layer):
    """Parts [b, n, f] → the output of a recurrent cell after a few soft glimpses at them.

    Args:
        cell: A recurrent cell.
        dim: Integer, how many numbers state and parts are compared by.
        looks: Integer, the number of glimpses.
    """

    def __init__(self, cell, dim, looks, **kwargs):
        super().__init__(**kwargs)
        self.cell, self.attention, self.looks = cell, AdditiveAttention(dim), looks

    def build(self, input_shape):
        batch, _, features = input_shape
        self.cell.build((batch, features))
        self.attention.build(input_shape, (batch, self.cell.units))

    def call(self, parts):
        states = self.cell.get_initial_state(ops.shape(parts)[0])
        output = states[0]
        for _ in range(self.looks):
            seen = read(parts, self.attention(parts, output))
            output, states = self.cell(seen, states)
        return output


def cell(kind, units):
    """The reader's cell: "dynamic" or "recurrent"."""
    if kind == "dynamic":
        return HyperLSTMCell(units, hyper_units=16, embedding_dim=4)
    return layers.LSTMCell(units)


def _normalized(x):
    return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))
