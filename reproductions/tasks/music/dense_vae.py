"""A variational autoencoder of pieces as dense tensors."""

import keras
import numpy as np
from keras import layers, ops

from reproductions.data.tunes import OBJECTS
from reproductions.tasks.music.base import SMALL, Autoencoder, triples_of


class DenseVAE(Autoencoder):
    """The same graphs as dense tensors `[most, 4, 128]`, of ones and zeros, through dense layers.

    Given z, each note and predicate has one object or none, each independent of the others.

    Args:
        most: Integer, notes of a piece at most.
        hidden, latent: Integers, widths.
        free_nats: Float, of each latent dimension.
    """

    def __init__(self, most, hidden, latent=16, free_nats=0.1, **kwargs):
        super().__init__(most, latent, free_nats, **kwargs)
        self.encoder = keras.Sequential(
            [layers.Dense(hidden, "relu"), layers.Dense(2 * latent, kernel_initializer=SMALL)]
        )
        self.decoder = keras.Sequential(
            [layers.Dense(hidden, "relu"), layers.Dense(self.steps * (OBJECTS + 1))]
        )
        self(np.stack([triples_of(most)] * 2))

    @staticmethod
    def parameters(most, hidden, latent=16, objects=OBJECTS):
        cells = 4 * most
        read = (cells * objects + 1) * hidden + (hidden + 1) * 2 * latent
        return read + (latent + 1) * hidden + (hidden + 1) * cells * (objects + 1)

    def objects(self, x):
        """The object of each note and predicate, 128 for none. Tuples are in this order."""
        return ops.where(x[..., 0] >= 0, x[..., 2], OBJECTS)

    def encode(self, x):
        tensor = ops.one_hot(self.objects(ops.convert_to_tensor(x)), OBJECTS + 1)[..., :OBJECTS]
        out = self.encoder(ops.reshape(tensor, (-1, self.steps * OBJECTS)))
        return out[..., : self.latent], out[..., self.latent :]

    def scores(self, z):
        return ops.reshape(self.decoder(z), (-1, self.steps, OBJECTS + 1))

    def decode(self, x, z):
        logs = ops.log_softmax(self.scores(z))
        wanted = self.objects(ops.convert_to_tensor(x))[..., None]
        return -ops.sum(ops.take_along_axis(logs, wanted, axis=-1)[..., 0], axis=-1)

    def sample(self, count, seed=0):
        seeds = keras.random.SeedGenerator(seed)
        z = keras.random.normal((count, self.latent), seed=seeds)
        scores = ops.reshape(self.scores(z), (-1, OBJECTS + 1))
        drawn = np.asarray(keras.random.categorical(scores, 1, seed=seeds)).reshape(count, -1)
        cells = triples_of(self.most)
        return [
            np.concatenate([cells[:, :2], row[:, None]], axis=1)[row < OBJECTS].astype("int32")
            for row in drawn
        ]
