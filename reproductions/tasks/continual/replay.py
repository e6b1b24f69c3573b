"""A classifier that replays earlier tasks' digits, which a hypernetwork's decoders make."""

import itertools
import math

import numpy as np

from reproductions.tasks.continual.learners import Learner, chunked_head, embedded_tasks

BLOCK = 100  # batches whose replayed digits are made at once


def mixed_loss(temperature):
    """Cross-entropy of a label, and of another network's softened prediction where there is none.

    y is [n, 1 + classes]: whether the row is replayed, then its target's probabilities. Softened
    gradients are 1 / temperature² as large, which the factor makes up for (Hinton et al. 2015).
    """

    def loss(y, logits):
        from keras import ops

        replayed, p = y[:, :1], y[:, 1:]
        scale = ops.where(replayed > 0, 1.0 / temperature, 1.0)
        entropy = -ops.sum(p * ops.log_softmax(logits * scale), axis=-1)
        return entropy / ops.square(scale[:, 0])

    return loss


def softened(logits, temperature):
    """Probabilities [n, classes] of logits over a temperature."""
    z = (logits - logits.max(-1, keepdims=True)) / temperature
    p = np.exp(z)
    return p / p.sum(-1, keepdims=True)


def autoencoder(pixels, encoder, decoder):
    """A model of `[task, x]` that reconstructs x, and adds KL/pixels.

    Args:
        pixels: Integer, the size of x.
        encoder: List of integers, units of the encoder's hidden layers.
        decoder: `ContinualHypernetwork` of a decoder that gives logits of pixels.
    """
    import keras
    from keras import layers, ops

    latent = decoder.target.input_shape[-1]

    class Draw(layers.Layer):
        """A code from the encoder's mean and log variance; adds its divergence from N(0, 1)."""

        def __init__(self):
            super().__init__()
            self.seed_generator = keras.random.SeedGenerator()

        def call(self, numbers):
            mean, log_variance = ops.split(numbers, 2, axis=-1)
            divergence = ops.exp(log_variance) + ops.square(mean) - 1 - log_variance
            self.add_loss(ops.mean(ops.sum(divergence, axis=-1)) / 2 / pixels)
            noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
            return mean + ops.exp(log_variance / 2) * noise

    task, x = keras.Input((), dtype="int32"), keras.Input((pixels,))
    hidden = x
    for units in encoder:
        hidden = layers.Dense(units, "relu")(hidden)
    return keras.Model([task, x], decoder([task, Draw()(layers.Dense(2 * latent)(hidden))]))


class Replay(Learner):
    """HNET+R: a plain network of all outputs, which also learns from replayed digits.

    A variational autoencoder's decoder is generated for each task. Those of finished tasks, which
    the output regularizer keeps, make their digits again; the network as it was before the task
    says what they are.
    """

    def make(self):
        import keras
        from keras import layers

        from hyperkeras.models import ContinualHypernetwork

        config = self.config
        hidden = [layers.Dense(units, "relu") for units in config["decoder"]]
        target = keras.Sequential(
            [keras.Input((config["latent"],)), *hidden, layers.Dense(self.pixels)]
        )
        self.decoder = ContinualHypernetwork(
            target,
            embedded_tasks(self.tasks, config["embedding"]),
            range(self.tasks),
            beta=config["beta"],
            head=chunked_head(config),
        )
        self.autoencoder = autoencoder(self.pixels, config["encoder"], self.decoder)
        self.finished = []  # a plain decoder of each task so far
        return self.mlp()

    def learn(self, batches, count):
        import keras

        rate = self.config["learning_rate"]
        loss = mixed_loss(self.config["temperature"])
        self.network.compile(keras.optimizers.Adam(rate), loss)
        pixels = keras.losses.BinaryCrossentropy(from_logits=True)  # the mean over pixels
        self.autoencoder.compile(keras.optimizers.Adam(rate), pixels)
        before = self.mlp()
        before.set_weights(self.network.get_weights())
        rng = np.random.default_rng(len(self.finished))
        while block := list(itertools.islice(batches, BLOCK)):
            old = self.replayed(before, block, rng)
            for i, (task, x, y) in enumerate(block):
                self.network.train_on_batch(*self.mixed(x, y, old and [part[i] for part in old]))
                if len(self.finished) < self.tasks - 1:  # nothing replays the last task
                    self.autoencoder.train_on_batch([task, x], x)

    def replayed(self, before, block, rng):
        """For each batch of `block` digits of all earlier tasks, and their soft targets."""
        from keras import ops

        if not self.finished:
            return None
        size = -(-self.config["batch"] // len(self.finished))
        shape = len(block) * size, self.config["latent"]
        made = []
        for decoder in self.finished:
            z = rng.normal(size=shape).astype("float32")
            logits = decoder.predict(z, batch_size=1000, verbose=0)
            x = ops.convert_to_numpy(ops.sigmoid(logits))
            made.append(x.reshape(len(block), size, -1))
        x = np.concatenate(made, axis=1)
        rows = x.reshape(-1, self.pixels)
        logits = before.predict(rows, batch_size=1000, verbose=0)
        p = softened(logits, self.config["temperature"])
        return x, p.reshape(*x.shape[:2], -1)

    def mixed(self, x, y, old):
        """A batch (x, y, weights) of new digits and old ones, each half of the loss."""
        target = np.concatenate([np.zeros((len(y), 1)), np.eye(self.tasks * self.classes)[y]], 1)
        if old is None:
            return x, target.astype("float32"), np.ones(len(x), "float32")
        old_x, p = old
        old_target = np.concatenate([np.ones((len(p), 1)), p], axis=1)
        count = len(x) + len(p)
        weights = [np.full(n, count / n / 2, "float32") for n in (len(x), len(p))]
        target = np.concatenate([target, old_target]).astype("float32")
        return np.concatenate([x, old_x]), target, np.concatenate(weights)

    def finish(self, task, data):
        self.decoder.finish_task()
        self.finished = [self.decoder.materialize(np.array([t], "int32")) for t in range(task + 1)]

    def test(self, task, data):
        """Accuracies on (x, y) of `task`: among its own outputs, and among those of all tasks."""
        x, y = data
        chosen = np.argmax(self.network.predict(x, batch_size=500, verbose=0), axis=-1)
        return self.known(task, data), float(np.mean(chosen == y))

    def parameters(self):
        count = super().parameters()["trainable"]
        others = sum(math.prod(w.shape) for w in self.autoencoder.trainable_weights)
        return {"trainable": count + others, "generated": self.decoder.num_generated}
