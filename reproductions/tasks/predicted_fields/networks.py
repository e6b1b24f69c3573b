"""A transformer that reads an image and writes the weights of a field that shows it.

The form is that of Trans-INR (Chen & Wang 2022). Learned weight tokens go through the encoder
beside the image's patches, and each becomes some columns of a kernel.
"""

import itertools
import math

import keras
import numpy as np
from keras import layers, ops

FIRST_SCALE = 0.02  # of position embeddings and of the token in place of hidden patches


def encoder(config):
    """Tokens [b, n, d] → tokens, by a pre-norm transformer without a mask."""
    tokens = keras.Input((None, config["width"]))
    x = tokens
    for _ in range(config["depth"]):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(config["heads"], config["width"] // config["heads"])(y, y)
        y = layers.Dense(2 * config["width"], "gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(config["width"])(y)
    return keras.Model(tokens, layers.LayerNormalization()(x), name="encoder")


class Reader(layers.Layer):
    """Images [b, s, s, c] → tokens [b, patches, d] of square patches, with their positions."""

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.patch, self.width = config["patch"], config["width"]
        self.embedding = layers.Dense(self.width)

    def build(self, input_shape):
        side, channels = input_shape[1] // self.patch, input_shape[-1]
        self.embedding.build((None, side**2, self.patch**2 * channels))
        self.positions = self.add_weight(
            name="positions",
            shape=(side**2, self.width),
            initializer=keras.initializers.RandomNormal(stddev=FIRST_SCALE),
        )

    def call(self, images):
        return self.embedding(patches(images, self.patch)) + self.positions


def patches(images, size):
    """Images [b, s, s, c] → [b, patches, size² c]."""
    side, channels = images.shape[1] // size, images.shape[-1]
    x = ops.reshape(images, (-1, side, size, side, size, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, side**2, size**2 * channels))


class Filler(keras.Model):
    """What the encoder is trained on beforehand: to fill in hidden patches (Xie et al. 2022)."""

    def __init__(self, reader, encoder, config):
        super().__init__()
        self.reader, self.encoder, self.config = reader, encoder, config

    def build(self, input_shape):
        self.hidden = self.add_weight(
            name="hidden",
            shape=(self.config["width"],),
            initializer=keras.initializers.RandomNormal(stddev=FIRST_SCALE),
        )
        self.guess = layers.Dense(self.config["patch"] ** 2 * input_shape[0][-1])
        self.guess.build((None, None, self.config["width"]))
        self.built = True

    def call(self, inputs):
        """Images, and which patches are hidden [b, patches] → guesses [b, patches, numbers]."""
        images, hidden = inputs
        hidden = ops.cast(hidden, self.compute_dtype)[..., None]
        positions = ops.convert_to_tensor(self.reader.positions)
        tokens = self.reader(images) * (1 - hidden) + (self.hidden + positions) * hidden
        return self.guess(self.encoder(tokens))


def pretrain(reader, encoder, data, config, seed):
    """Trains both on images that no field is made of."""
    model = Filler(reader, encoder, config)
    images, size = data.pretraining, config["patch"]
    count = (images.shape[1] // size) ** 2
    model.build([(None, *images.shape[1:]), (None, count)])

    def batches():
        rng = np.random.default_rng([7, seed])
        for _ in range(config["pretraining_steps"]):
            some = images[rng.integers(0, len(images), config["batch"])]
            order = rng.random((len(some), count)).argsort(axis=1)
            hidden = (order < round(0.75 * count)).astype("float32")
            target = ops.convert_to_numpy(patches(some, size))
            yield (some, hidden), np.concatenate([target, hidden[..., None]], axis=-1)

    def error(y, guesses):
        """Of hidden patches alone."""
        return ops.mean(ops.square(guesses - y[..., :-1]) * y[..., -1:]) / 0.75

    model.compile(keras.optimizers.Adam(1e-3), error, jit_compile=False)
    model.fit(batches(), steps_per_epoch=config["pretraining_steps"], shuffle=False, verbose=0)


class FieldPredictor(keras.Model):
    """Images [b, s, s, c] → the same, as fields of which the encoder makes the kernels.

    The kernels of an image are learned ones, times what its tokens say, with each unit's incoming
    weights of length 1. Biases are learned and the same for all images.
    """

    def __init__(self, reader, encoder, config):
        super().__init__()
        self.reader, self.encoder, self.config = reader, encoder, config

    def build(self, input_shape):
        side, channels = input_shape[1], input_shape[-1]
        self.places = fourier(side, self.config["frequencies"])  # [p, F]
        sizes = [self.places.shape[-1], *self.config["hidden"], channels]
        width = self.config["width"]
        self.shapes = list(itertools.pairwise(sizes))
        self.groups = [math.gcd(self.config["groups"], o) for _, o in self.shapes]
        self.tokens = self.add_weight(
            name="tokens",
            shape=(sum(self.groups), width),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        self.bases, self.biases, self.heads = [], [], []
        for i, (inputs, outputs) in enumerate(self.shapes):
            self.bases.append(
                self.add_weight(
                    name=f"base_{i}",
                    shape=(inputs, outputs),
                    initializer=keras.initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5),
                )
            )
            self.biases.append(
                self.add_weight(name=f"bias_{i}", shape=(outputs,), initializer="zeros")
            )
            head = keras.Sequential([layers.LayerNormalization(), layers.Dense(inputs)])
            head.build((None, None, width))
            self.heads.append(head)
        self.built = True

    def kernels(self, images):
        """The generated kernels [b, inputs, outputs] of each layer of the fields."""
        read = self.reader(images)
        tokens = ops.broadcast_to(self.tokens, (ops.shape(read)[0], *self.tokens.shape))
        tokens = self.encoder(ops.concatenate([read, tokens], axis=1))[:, read.shape[1] :]
        made, first = [], 0
        for (_, outputs), count, head, base in zip(
            self.shapes, self.groups, self.heads, self.bases, strict=True
        ):
            columns = head(tokens[:, first : first + count])  # [b, g, inputs]
            first += count
            columns = ops.tile(columns, (1, outputs // count, 1))  # column c is of token c mod g
            kernel = ops.transpose(columns, (0, 2, 1)) * base
            made.append(kernel / (ops.norm(kernel, axis=1, keepdims=True) + 1e-12))
        return made

    def call(self, images):
        images = ops.cast(images, self.compute_dtype)
        x = self.places[None]
        made = self.kernels(images)
        for i, (kernel, bias) in enumerate(zip(made, self.biases, strict=True)):
            x = ops.matmul(x, kernel) + bias
            x = ops.relu(x) if i + 1 < len(made) else x + 0.5
        return ops.reshape(x, (-1, *images.shape[1:]))

    @property
    def num_generated(self):
        return sum(inputs * outputs for inputs, outputs in self.shapes)


def fourier(side, frequencies):
    """Sines and cosines of the places of pixels in [−1, 1]², [side², 4 frequencies]."""
    axis = (2 * np.arange(side) + 1) / side - 1
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    angles = np.pi * places * np.exp(np.linspace(0, np.log(side), frequencies))
    features = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)
    return features.reshape(side**2, -1).astype("float32")
