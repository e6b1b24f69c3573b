"""Autoencoders of images: dense, wired by the image's pose, and wired freely."""

import math

import keras
import numpy as np
from keras import layers

from hyperkeras.layers import AffineSource, DenseSource, SparseHyperlayer
from hyperkeras.models import Hypernetwork
from reproductions.likelihoods import diagonal_gaussian
from reproductions.tasks.autoencoder import generated_decoder, rows

ops = keras.ops


class Autoencoder(keras.Model):
    """Images [b, h, w, 1] → logits of their pixels [b, h, w, 1], through a short code.

    `encoder` maps images to the code [b, latent], or to means and log variances [b, 2 latent] of a
    variational one, whose code is drawn in training (Kingma & Welling 2014, equation 10) and whose
    loss has the divergence from the prior N(0, 1).
    """

    def __init__(self, encoder, decoder, variational, name=None):
        super().__init__(name=name)
        self.encoder, self.decoder, self.variational = encoder, decoder, variational
        self.seeds = keras.random.SeedGenerator()
        self.built = True

    def call(self, images, training=False):
        if not self.variational:
            return self.decoder(self.encoder(images, training=training), training=training)
        mean, log_deviation = self.code(images, training)
        self.add_loss(
            ops.mean(ops.sum(diagonal_gaussian.kl_to_normal(mean, log_deviation), axis=-1))
        )
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds) if training else 0.0
        return self.decoder(mean + ops.exp(log_deviation) * noise, training=training)

    def code(self, images, training=False):
        """Mean and log of the standard deviation of a variational model's code, [b, latent]."""
        mean, raw = ops.split(self.encoder(images, training=training), 2, axis=-1)
        return mean, ops.clip(raw, -8.0, 8.0) / 2


def cross_entropy(images, logits):
    """−log p(images) in nats, [b], each pixel a Bernoulli variable."""
    terms = ops.relu(logits) - logits * images + ops.log1p(ops.exp(-ops.abs(logits)))
    return ops.sum(terms, axis=(-3, -2, -1))


def dense(shape, hidden, latent, numbers):
    """Encoder and decoder of two dense layers each."""
    images, code = layers.Input(shape), layers.Input((latent,))
    x = layers.Dense(hidden, activation="relu", name="read")(layers.Flatten()(images))
    encoder = keras.Model(images, layers.Dense(numbers, name="code")(x), name="encoder")
    x = layers.Dense(hidden, activation="relu", name="hidden")(code)
    x = layers.Dense(math.prod(shape), name="write")(x)
    return encoder, keras.Model(code, layers.Reshape(shape)(x), name="decoder")


def wired_by_pose(shape, hidden, latent, numbers, side, features, fine):
    """Dense coders of a canvas, small and upright, which sparse layers take from the image and lay
    into it: an affine map, computed from the image or the code, wires both. A pixel is the mean of
    fine² tuples, each of which reads one cell of the canvas."""
    images, code = layers.Input(shape), layers.Input((latent,))
    pose = keras.Sequential(
        [
            layers.Input(shape),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(features, activation="tanh"),
        ],
        name="pose",
    )
    source = ImageSource((side, side), pose, sigma_scale=SIGMA_SCALE)
    x = wired((side, side), source, 1, "read", carried_axes=1)(images)
    x = layers.Dense(hidden, activation="relu", name="inner")(layers.Flatten()(x))
    x = layers.Concatenate()([x, pose(images)])  # a crop alone does not tell where it was
    encoder = keras.Model(images, layers.Dense(numbers, name="code")(x), name="encoder")

    x = layers.Dense(hidden, activation="relu", name="hidden")(code)
    canvas = layers.Reshape((side, side))(layers.Dense(side**2, name="canvas")(x))
    aim = layers.Dense(features, activation="tanh", name="aim")(code)
    # A source sees what its layer sees, so one more row of the canvas carries the pose.
    row = layers.ZeroPadding1D((0, side - features))(layers.Reshape((features, 1))(aim))
    x = layers.Concatenate(axis=1)([canvas, layers.Reshape((1, side))(row)])
    points = tuple(fine * n for n in shape[:2])
    source = CanvasSource(points, layers.Cropping1D((side, 0)), sigma_scale=SIGMA_SCALE)
    x = wired(shape[:2], source, fine, "write")(x)
    x = layers.Reshape(shape)(layers.Rescaling(1 / fine**2)(x))
    return encoder, keras.Model(code, x, name="decoder")


# Narrow Gaussians: what training shares among neighbors, inference rounds to one.
SIGMA_SCALE = 0.001


def wired(target_shape, source, fine, name, **arguments):
    """A sparse layer whose outputs' tuples read where the source's grid has their points."""
    cells = np.indices([fine * n for n in target_shape]).reshape(2, -1).T // fine
    template = np.pad(cells, [(0, 0), (0, 2)])
    return SparseHyperlayer(
        target_shape,
        source,
        chunk_size=1,
        template=template,
        learned_columns=(2, 3),
        name=name,
        **arguments,
    )


@keras.saving.register_keras_serializable(package="reproductions")
class ImageSource(AffineSource):
    """Wires a canvas to an image; at first to the middle three quarters, where digits are."""

    start = (0.75, 0.0, 0.0, 0.0, 0.75, 0.0)


@keras.saving.register_keras_serializable(package="reproductions")
class CanvasSource(AffineSource):
    """Wires an image to a canvas, but for its last row; the inverse of `ImageSource` at first."""

    start = (1.33, 0.0, 0.0, 0.0, 1.33, 0.0)

    def bind(self, size):
        super().bind((size[0] - 1, size[1]))


def wired_freely(shape, hidden, latent, numbers, tuples, features):
    """`dense` with its outer layers sparse: image or code move each tuple by itself, and give it
    its value. Each hidden unit has an equal share of the tuples."""
    images, code = layers.Input(shape), layers.Input((latent,))
    units = np.arange(tuples) * hidden // tuples
    none = np.zeros_like(units)
    settings = dict(use_bias=True, chunk_size=1, global_samples=2, local_samples=2, region=6)

    def source(name):
        network = [layers.Flatten(), layers.Dense(features, activation="relu")]
        return DenseSource(tuples, keras.Sequential(network, name=name), sigma_scale=0.05)

    x = SparseHyperlayer(
        (hidden,),
        source("look"),
        template=np.stack([units, none, none], axis=1),
        learned_columns=(1, 2),
        name="read",
        **settings,
    )(layers.Reshape(shape[:2])(images))
    x = layers.Dense(numbers, name="code")(layers.ReLU()(x))
    encoder = keras.Model(images, x, name="encoder")
    x = layers.Dense(hidden, activation="relu", name="hidden")(code)
    x = SparseHyperlayer(
        shape[:2],
        source("aim"),
        template=np.stack([none, none, units], axis=1),
        learned_columns=(0, 1),
        name="write",
        **settings,
    )(x)
    return encoder, keras.Model(code, layers.Reshape(shape)(x), name="decoder")


COUPLES = {
    "dense": dense,
    "sparse": wired_by_pose,
    "sparse_free": wired_freely,
    "static": generated_decoder.generated_decoder,
}


def autoencoder(name, variational, shape, **settings):
    """The model `name`: a key of `COUPLES` or of `rows.MODELS`, or with another ending."""
    if name in rows.MODELS:
        return rows.MODELS[name](shape, **settings)
    couple = COUPLES.get(name) or COUPLES[name.partition("_")[0]]
    numbers = 2 * settings["latent"] if variational else settings["latent"]
    return Autoencoder(*couple(shape, numbers=numbers, **settings), variational, name=name)


def coders(network):
    """The layers of encoder and decoder, none of a network that has neither."""
    return () if isinstance(network, rows.Rows) else network.encoder.layers + network.decoder.layers


def sparse_layers(network):
    return [layer for layer in coders(network) if isinstance(layer, SparseHyperlayer)]


def weights(network):
    """The weights that an image, its code or a state is multiplied by: kernels, and tuples.

    Not among them: biases, and what only computes a wiring or other weights.
    """
    if isinstance(network, rows.Rows):
        return sum(math.prod(kernel.shape) for kernel in network.kernels)
    total = sum(layer.source.num_tuples for layer in sparse_layers(network))
    for layer in coders(network):
        if isinstance(layer, layers.Dense) and layer.name != "aim":
            total += math.prod(layer.kernel.shape)
        elif isinstance(layer, Hypernetwork):
            total += sum(p.size for p in layer.head.bound_pieces if len(p.shape) > 1)
    return total


def generated_weights(network):
    """How many weights the network generates, for an image or for a row of it."""
    if isinstance(network, rows.Rows):
        return 12 * network.recurrent.units * hasattr(network.recurrent.cell, "hyper_cell")
    total = sum(layer.source.num_tuples for layer in sparse_layers(network))
    made = [layer for layer in coders(network) if isinstance(layer, Hypernetwork)]
    return total + sum(layer.head.num_generated for layer in made)


def places(network, images):
    """Where the encoder's tuples sit in images, [b, k, 2] as (row, column)."""
    layer = next((layer for layer in sparse_layers(network) if layer.name == "read"), None)
    if layer is None:
        return None
    squeezed = images if layer.carried_axes else images[..., 0]
    means = layer.source(ops.convert_to_tensor(squeezed))[0]
    return np.clip(np.rint(np.array(means)), 0, np.array(images.shape[1:3]) - 1).astype(int)
