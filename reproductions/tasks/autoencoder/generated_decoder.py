"""A decoder whose weights the code of each image generates."""

import math

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.models import Hypernetwork


@keras.saving.register_keras_serializable(package="reproductions")
class Places(layers.Layer):
    """Waves of a pixel's place, for each row of a batch: `[b, ...]` → `[b, h w, 2 F]`.

    Args:
        size: Height and width of the images.
        frequencies: Number F of waves; the lowest ones of both axes come first.
    """

    def __init__(self, size, frequencies, **kwargs):
        super().__init__(**kwargs)
        self.size, self.frequencies = tuple(size), frequencies
        pairs = [(a, b) for a in range(8) for b in range(-7, 8) if a > 0 or b > 0]
        pairs = np.array(sorted(pairs, key=lambda p: (p[0] ** 2 + p[1] ** 2, p))[:frequencies])
        places = [np.pi * (np.arange(n) + 0.5) / n for n in self.size]
        grid = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 2)
        angles = grid @ pairs.T
        self.waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype("float32")

    def call(self, x):
        return ops.broadcast_to(self.waves, (ops.shape(x)[0], *self.waves.shape))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.waves.shape)

    def get_config(self):
        return {**super().get_config(), "size": self.size, "frequencies": self.frequencies}


def generated_decoder(shape, hidden, latent, numbers, body, frequencies, units):
    """`dense` with a decoder that maps a pixel's place to its logit, by weights that the image's
    code generates."""
    images, code = layers.Input(shape), layers.Input((latent,))
    x = layers.Dense(hidden, activation="relu", name="read")(layers.Flatten()(images))
    encoder = keras.Model(images, layers.Dense(numbers, name="code")(x), name="encoder")
    target = keras.Sequential(
        [
            layers.Input((math.prod(shape), 2 * frequencies)),
            layers.Dense(units, activation="relu"),
            layers.Dense(1),
        ]
    )
    network = keras.Sequential([layers.Input((latent,)), layers.Dense(body, activation="relu")])
    places = Places(shape[:2], frequencies)(code)
    x = Hypernetwork(target, network, per_sample=True, name="write")([code, places])
    return encoder, keras.Model(code, layers.Reshape(shape)(x), name="decoder")
