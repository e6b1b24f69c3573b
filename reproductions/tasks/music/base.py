"""What models of pieces as graphs have in common, and autoencoders of them.

A piece of up to n notes is a set of index tuples (note, predicate, object), of an index space of
n × 4 × 128. Autoencoders are trained on the evidence lower bound. For samples and likelihoods the
prior of the latent z is a standard normal.
"""

import keras
import numpy as np
from keras import ops

from reproductions.likelihoods import diagonal_gaussian

SMALL = keras.initializers.VarianceScaling(0.1, seed=0)


class PieceNetwork(keras.Model):
    """What all models of pieces have in common.

    Called on index tuples `[b, 4 most, 3]`, −1 after the end, it gives `[b, 2]`: what training
    makes small, and −log p(piece), or a bound that is not below it.
    """

    def __init__(self, most, **kwargs):
        super().__init__(**kwargs)
        self.most, self.steps = most, 4 * most
        self.seeds = keras.random.SeedGenerator()
        self.beta = self.add_weight(name="beta", shape=(), initializer="ones", trainable=False)

    def compile_with(self, learning_rate, steps, clip=1.0):
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps - steps // 20, warmup_target=learning_rate, warmup_steps=steps // 20
        )
        self.compile(
            keras.optimizers.Adam(rate, global_clipnorm=clip),
            lambda y_true, y_pred: ops.mean(y_pred[..., 0]),
            # Recurrences are compiled by XLA by themselves.
            jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
        )

    def nats(self, x, batch=100):
        """−log p or its bound, of each piece `[b]`."""
        return self.predict(x, batch_size=batch, verbose=0)[:, 1]


class Autoencoder(PieceNetwork):
    """An encoder `encode(x)` → (mean, log deviation) and `decode(x, z)` → −log p(x | z)."""

    def __init__(self, most, latent, free_nats, **kwargs):
        super().__init__(most, **kwargs)
        self.latent, self.free_nats = latent, free_nats

    def call(self, x, training=False):
        mean, log_deviation = self.encode(x)
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
        nats = self.decode(x, mean + noise * ops.exp(log_deviation))
        kl = diagonal_gaussian.kl_to_normal(mean, log_deviation)
        # Free bits: a dimension that tells less than this, on average, is not made to tell less.
        free = ops.sum(ops.maximum(ops.mean(kl, axis=0), self.free_nats))
        bound = nats + ops.sum(kl, axis=-1)
        return ops.stack([nats + self.beta * free, bound], axis=-1)

    def tight_nats(self, x, samples, batch=100):
        """The importance-weighted bound of −log p (Burda et al. 2016) of each piece `[b]`."""

        @keras_function
        def weights(x):
            mean, log_deviation = self.encode(x)
            noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
            z = mean + noise * ops.exp(log_deviation)
            prior = diagonal_gaussian.normal_nats(z, 0.0, ops.zeros_like(z))
            return diagonal_gaussian.normal_nats(z, mean, log_deviation) - prior - self.decode(x, z)

        bounds = []
        for at in range(0, len(x), batch):
            part = np.concatenate([x[at : at + batch], x[: max(0, at + batch - len(x))]])
            logs = np.stack([np.asarray(weights(part)) for _ in range(samples)])
            highest = logs.max(axis=0)
            mean = np.log(np.exp(logs - highest).mean(axis=0)) + highest
            bounds.append(-mean[: len(x) - at])
        return np.concatenate(bounds)

    def latent_nats(self, x):
        """KL of the posterior to the prior, mean over pieces: what z tells of a piece."""
        parts = [x[at : at + 100] for at in range(0, len(x), 100)]
        kl = [np.asarray(diagonal_gaussian.kl_to_normal(*self.encode(part))) for part in parts]
        return float(np.concatenate(kl).sum(axis=-1).mean())


def keras_function(function):
    """`function` as a graph on TensorFlow, which else runs it op by op."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, autograph=False)


def triples_of(most):
    """Some index tuples `[4 most, 3]`, to build a network with."""
    subject, predicate = np.divmod(np.arange(4 * most), 4)
    return np.stack([subject, predicate, np.ones_like(subject)], axis=-1).astype("int32")
