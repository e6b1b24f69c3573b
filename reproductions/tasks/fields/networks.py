"""Fields of several images, side by side in one network: plain, or made by random projections."""

import itertools

import keras
import numpy as np
from keras import ops

from hyperkeras.initializers import SirenUniform
from hyperkeras.layers import RandomHead, Sine
from hyperkeras.layers.heads.piece import Piece

OMEGA = 30.0
WIDTH = 40  # of the networks whose weights are projections
DEPTHS = {"siren": 5, "relu": 4}  # hidden layers


def build(model, config, data):
    """The fields of all images of a data set."""
    kind = "siren" if model in ("coin", "doh_siren") else "relu"
    depth, inputs = DEPTHS[kind], 2 if kind == "siren" else 2 + 4 * config["octaves"]
    latent, width = None, WIDTH
    if model.startswith("doh"):
        shapes = kernel_shapes(inputs, WIDTH, depth)
        own = sum(outputs for _, outputs in shapes)
        own += inputs * WIDTH if kind == "siren" else 0
        latent = config["numbers"] - own
    else:
        width = max(w for w in range(2, 200) if count(inputs, w, depth) <= config["numbers"])
    shapes = kernel_shapes(inputs, width, depth)
    network = Fields(len(data.images), shapes, kind, config["octaves"], latent, config["seed"])
    network.build((None, 2))
    rate = keras.optimizers.schedules.CosineDecay(
        config["learning_rate"], config["epochs"] * config["steps"]
    )
    network.compile(keras.optimizers.Adam(rate), summed_error, jit_compile=False)
    return network


def summed_error(y, outputs):
    """The mean squared error of each image, summed: no field has a part in another's gradient."""
    return ops.mean(ops.square(outputs - y)) * y.shape[1]


def kernel_shapes(inputs, width, depth):
    sizes = [inputs, *[width] * depth, 3]
    return list(itertools.pairwise(sizes))


def count(inputs, width, depth):
    """How many numbers a plain field has."""
    return sum((i + 1) * o for i, o in kernel_shapes(inputs, width, depth))


class Fields(keras.Model):
    """Coordinates [p, 2] → colors [p, images, 3], by a network of its own for each image.

    With `latent`, an image has a code of as many numbers. Fixed random projections make its
    kernels of it, all but the first one of a sine network, and only biases are learned beside.
    """

    def __init__(self, images, shapes, kind, octaves, latent, seed):
        super().__init__()
        self.count, self.shapes, self.kind, self.octaves = images, shapes, kind, octaves
        self.latent, self.activation = latent, Sine(OMEGA) if kind == "siren" else ops.relu
        self.own = range(len(shapes)) if latent is None else range(int(kind == "siren"))
        self.head = None
        if latent is not None:
            self.head = RandomHead(seed)
            self.head.bind(
                [
                    Piece(f"{i}/kernel", shape, biased=False)
                    for i, shape in enumerate(shapes)
                    if i not in self.own
                ]
            )

    def build(self, input_shape):
        if self.head is not None:
            # As many numbers as the head's features, of variance 1 over their count: a step of the
            # optimizer then changes weights about as much as one of the biases changes those.
            deviation = self.latent**-0.5
            self.code = self.add_weight(
                name="code",
                shape=(self.count, self.latent),
                initializer=keras.initializers.RandomNormal(stddev=deviation),
            )
            self.head.build((self.count, self.latent))
        self.kernels, self.biases = {}, []
        for i, (inputs, outputs) in enumerate(self.shapes):
            kernel, bias = self._starts(i == 0, inputs)
            if i in self.own:
                self.kernels[str(i)] = self.add_weight(
                    name=f"kernel_{i}",
                    shape=(self.count, inputs, outputs),
                    initializer=kernel,
                )
            self.biases.append(
                self.add_weight(name=f"bias_{i}", shape=(self.count, outputs), initializer=bias)
            )
        self.built = True

    def _starts(self, first, inputs):
        if self.kind == "siren":
            return [SirenUniform(OMEGA, first, fan_in=inputs) for _ in range(2)]
        return keras.initializers.RandomNormal(stddev=(2 / inputs) ** 0.5), "zeros"

    def call(self, coordinates):
        x = ops.cast(coordinates, self.compute_dtype)
        if self.kind == "relu":
            x = octaves(x, self.octaves)
        kernels = {int(i): ops.convert_to_tensor(kernel) for i, kernel in self.kernels.items()}
        if self.head is not None:
            scale = 1 / OMEGA if self.kind == "siren" else 1.0  # whose head starts as before a ReLU
            made = self.head.generate(ops.convert_to_tensor(self.code) * self.latent**0.5)
            rest = [i for i in range(len(self.shapes)) if i not in self.own]
            kernels |= {i: scale * kernel for i, kernel in zip(rest, made, strict=True)}
        x = x[None]  # [1, p, inputs]
        for i in range(len(self.shapes)):
            x = ops.matmul(x, kernels[i]) + ops.convert_to_tensor(self.biases[i])[:, None]
            x = self.activation(x) if i + 1 < len(self.shapes) else x
        return ops.transpose(x, (1, 0, 2))

    @property
    def stored(self):
        """The variables that a file of each image holds, `[images, ...]`."""
        return self.trainable_variables

    @property
    def num_generated(self):
        return 0 if self.head is None else self.head.num_generated


def octaves(x, number):
    """Coordinates [p, 2] → [p, 2 + 4 number]: with sines and cosines of 2^k π times them."""
    angles = [2.0**k * np.pi * x for k in range(number)]
    return ops.concatenate([x, *map(ops.sin, angles), *map(ops.cos, angles)], axis=-1)


def jpeg_files(images, quality):
    """The model of that name, which has nothing to learn."""
    network = Jpeg(images, quality)
    network.build((None, 2))
    network.compile("sgd", summed_error, jit_compile=False)
    return network


class Jpeg(keras.Model):
    """No field: the images as JPEG files of one quality. The weight is a placeholder."""

    def __init__(self, images, quality):
        super().__init__()
        self.files = [jpeg(image, quality) for image in images]
        self.shape = images.shape

    def build(self, input_shape):
        self.weight = self.add_weight(name="placeholder", shape=(), initializer="zeros")
        self.built = True

    def call(self, coordinates):
        p = ops.shape(coordinates)[0]
        return ops.zeros((p, self.shape[0], 3)) + ops.convert_to_tensor(self.weight)

    def decoded(self):
        """Colors [p, images, 3] from the files."""
        import io

        from PIL import Image

        images = [np.asarray(Image.open(io.BytesIO(file))) for file in self.files]
        return np.stack(images, axis=2).reshape(-1, len(images), 3) / 255


def jpeg(image, quality):
    """The bytes of a JPEG file, with the coding tables that suit the image."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()
