"""The networks: the same four convolutions, and what tells queries by the supports.

Shapes: e episodes, n characters (ways), k supports of each (shots), q queries, F features.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.models import Hypernetwork
from hyperkeras.ops import cosine_distances

BLOCKS = 4
EPSILON = 1e-5  # of batch normalization


def conv4(config):
    """Images → features, [m, side, side, 1] → [m, F]."""
    blocks = []
    for _ in range(BLOCKS):
        blocks += [
            layers.Conv2D(
                config["channels"], 3, padding="same", kernel_initializer=_start(config["channels"])
            ),
            layers.BatchNormalization(momentum=0.9, epsilon=EPSILON),
            layers.ReLU(),
            layers.MaxPooling2D(2),
        ]
    side = config["side"]
    return keras.Sequential([keras.Input((side, side, 1)), *blocks, layers.Flatten()])


def _start(channels):
    return keras.initializers.RandomNormal(stddev=math.sqrt(2 / (9 * channels)))


class FewShotNetwork(keras.Model):
    """Features of all images, and a layer that tells those of queries by those of supports.

    In training all images of a batch are normalized together. Else by averages of the training, so
    that nothing is known of the other queries.
    """

    def __init__(self, embedding, classifier):
        super().__init__()
        self.embedding, self.classifier = embedding, classifier

    def call(self, inputs, training=None):
        """Supports [e, n, k, side, side, 1] and queries [e, q, …] → logits [e, q, n]."""
        return self.classifier(self.features(inputs, training), training=training)

    def features(self, inputs, training=None):
        images = [ops.reshape(x, (-1, *x.shape[-3:])) for x in inputs]
        z = self.embedding(ops.concatenate(images), training=training)
        count = ops.shape(images[0])[0]
        return [
            ops.reshape(part, (-1, *x.shape[1:-3], z.shape[-1]))
            for part, x in zip((z[:count], z[count:]), inputs, strict=True)
        ]

    def read(self, images):
        """Bytes [m, side, side] → what `tell` takes of each, here its features [m, F]."""
        scaled = (images / np.float32(255))[..., None]
        parts = [scaled[i : i + 500] for i in range(0, len(scaled), 500)]
        return np.concatenate([np.array(self.embedding(x, training=False)) for x in parts])

    def tell(self, supports, queries):
        """Logits [e, q, n] of what `read` gave: supports [e, n, k, …] and queries [e, q, …]."""
        return np.array(self.classifier([supports, queries], training=False))


class Distances(layers.Layer):
    """Queries by their distance to the prototypes, the means of the supports' features."""

    def __init__(self, config):
        super().__init__()
        self.kind = config["distance"]

    def build(self, input_shape):
        if self.kind == "cosine":
            start = keras.initializers.Constant(10.0)
            self.scale = self.add_weight(name="scale", shape=(), initializer=start)

    def call(self, inputs, training=None):
        supports, z = inputs
        prototypes = ops.mean(supports, axis=2)
        if self.kind == "cosine":
            return -self.scale * cosine_distances(z, prototypes)
        return -ops.sum(ops.square(z[:, :, None] - prototypes[:, None]), axis=-1)


class Matching(layers.Layer):
    """Queries by attention over the supports, each of which votes for its character."""

    SCALE = 10.0  # of cosines, which alone are too close for a softmax

    def call(self, inputs, training=None):
        supports, z = inputs
        n, k, size = supports.shape[1:]
        distances = cosine_distances(z, ops.reshape(supports, (-1, n * k, size)))
        votes = ops.log_softmax(-self.SCALE * distances, axis=-1)
        return ops.logsumexp(ops.reshape(votes, (-1, z.shape[1], n, k)), axis=-1)


class Generated(layers.Layer):
    """HyperShot: a classifier that a hypernetwork makes for each episode.

    From the kernel, it is made of the distances of the supports [e, n²] and reads those of a query
    to the supports [e, q, n]. From features, it is made of these and reads a query's features.
    Several supports of a character count as their mean. The supports are told in training, too.
    """

    def __init__(self, config):
        super().__init__()
        self.kernel, ways, width = config["kernel"], config["ways"], config["width"]
        size = ways if self.kernel else config["channels"]
        hidden = [layers.Dense(config["hidden"], "relu")] if self.kernel else []
        self.hyper = Hypernetwork(
            keras.Sequential([keras.Input((None, size)), *hidden, layers.Dense(ways)]),
            keras.Sequential([layers.Dense(width), layers.Dense(width, "relu")]),
            per_sample=True,
        )

    def call(self, inputs, training=None):
        supports, z = inputs
        s = ops.mean(supports, axis=2)
        both = ops.concatenate([z, s], axis=1)
        seen = cosine_distances(both, s) if self.kernel else both
        count, n = z.shape[1], s.shape[1]
        condition = ops.reshape(seen[:, count:], (-1, n * seen.shape[-1]))
        logits = self.hyper([condition, seen])
        if training:
            own = ops.log_softmax(logits[:, count:], axis=-1)
            # Beside the mean over queries, so that all images count the same.
            self.add_loss(-ops.mean(ops.trace(own, axis1=1, axis2=2)) / count)
        return logits[:, :count]


class BaselinePlusPlus(FewShotNetwork):
    """A classifier of all training characters by cosines; a new one is trained on supports."""

    SCALE = 10.0

    def __init__(self, embedding, characters, config):
        super().__init__(embedding, None)
        self.characters, self.config = characters, config

    def build(self, input_shape):
        self.rows = self.add_weight(
            name="rows",
            shape=(self.characters, self.config["channels"]),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        self.built = True

    def call(self, inputs, training=None):
        """Logits of all images, supports first, over all training characters [e, n k + q, C]."""
        supports, z = self.features(inputs, training)
        n, k, size = supports.shape[1:]
        z = ops.concatenate([ops.reshape(supports, (-1, n * k, size)), z], axis=1)
        return -self.SCALE * cosine_distances(z, ops.convert_to_tensor(self.rows))

    def tell(self, supports, queries):
        import tensorflow as tf

        e, n, k, size = supports.shape
        x = ops.reshape(supports, (e, n * k, size))
        labels = np.broadcast_to(np.arange(n).repeat(k), (e, n * k))
        start = np.random.default_rng(0).normal(size=(1, n, size)).repeat(e, axis=0)
        rows = tf.Variable(start.astype("float32"))
        optimizer = keras.optimizers.Adam(self.config["new_rate"])
        optimizer.build([rows])
        for _ in range(self.config["new_steps"]):
            with tf.GradientTape() as tape:
                logits = -self.SCALE * cosine_distances(x, rows)
                # The sum, so that an episode's rows don't depend on how many others there are.
                loss = ops.sum(keras.losses.sparse_categorical_crossentropy(labels, logits, True))
            optimizer.apply([tape.gradient(loss, rows)], [rows])
        return np.array(-self.SCALE * cosine_distances(queries, rows))


class MAML(keras.Model):
    """Four convolutions and a linear layer, which steps of gradient descent fit to an episode.

    Whoever learns from the logits learns through these steps, with `second_order` through their
    gradients, too. Images are normalized by the supports of their episode alone.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config

    def build(self, input_shape):
        size, ways, channels = self.config["channels"], self.config["ways"], 1
        shapes, starts = [], []
        for _ in range(BLOCKS):
            shapes += [(3, 3, channels, size), (size,), (size,)]
            starts += [_start(size), "ones", "zeros"]
            channels = size
        shapes += [(size, ways), (ways,)]
        starts += ["glorot_uniform", "zeros"]
        self.start = [
            self.add_weight(name=f"start_{i}", shape=shape, initializer=start)
            for i, (shape, start) in enumerate(zip(shapes, starts, strict=True))
        ]
        self.built = True

    def call(self, inputs, training=None):
        import tensorflow as tf

        adapted = tf.autograph.experimental.do_not_convert(self.adapted)
        logits = tf.TensorSpec((None, self.config["ways"]), tf.float32)
        return tf.map_fn(adapted, tuple(inputs), fn_output_signature=logits)

    def adapted(self, episode):
        """Supports [n, k, side, side, 1] and queries [q, …] of one episode → logits [q, n]."""
        import tensorflow as tf

        supports, queries = episode
        n, k = supports.shape[:2]
        supports = ops.reshape(supports, (n * k, *supports.shape[2:]))
        labels = np.arange(n).repeat(k)
        weights = [tf.convert_to_tensor(w.value) for w in self.start]
        for _ in range(self.config["inner_steps"]):
            with tf.GradientTape() as tape:
                tape.watch(weights)
                logits = self.network(weights, supports, n * k)
                losses = keras.losses.sparse_categorical_crossentropy(labels, logits, True)
                loss = ops.mean(losses)
            made = tape.gradient(loss, weights)
            if not self.config["second_order"]:
                made = [ops.stop_gradient(g) for g in made]
            rate = self.config["inner_rate"]
            weights = [w - rate * g for w, g in zip(weights, made, strict=True)]
        both = ops.concatenate([supports, queries])
        return self.network(weights, both, n * k)[n * k :]

    def network(self, weights, x, supports):
        """Images [m, side, side, 1], supports first → logits [m, n]."""
        for i in range(BLOCKS):
            kernel, scale, shift = weights[3 * i : 3 * i + 3]
            x = ops.conv(x, kernel, padding="same")
            mean, variance = ops.moments(x[:supports], axes=(0, 1, 2), keepdims=True)
            x = (x - mean) * ops.rsqrt(variance + EPSILON)
            x = ops.max_pool(ops.relu(x * scale + shift), 2)
        kernel, bias = weights[-2:]
        return ops.matmul(ops.reshape(x, (-1, kernel.shape[0])), kernel) + bias

    def read(self, images):
        return (images / np.float32(255))[..., None]

    def tell(self, supports, queries):
        return self.predict_on_batch([supports, queries])


def build(model, config, characters):
    """The network of a model, called once so that its weights are there."""
    if model.startswith("maml"):
        network = MAML(config)
    elif model == "baseline_plus_plus":
        network = BaselinePlusPlus(conv4(config), characters, config)
    else:
        kinds = {"protonet": Distances, "cosine": Distances, "matching": Matching}
        kind = kinds.get(model, Generated)
        network = FewShotNetwork(conv4(config), kind(config) if kind is not Matching else kind())
    image = (config["side"], config["side"], 1)
    shots, ways = config["shots"], config["ways"]
    network([np.zeros((1, ways, shots, *image), "float32"), np.zeros((1, 1, *image), "float32")])
    return network
