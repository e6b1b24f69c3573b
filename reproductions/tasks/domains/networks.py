"""The classifiers: DomainBed's network for digits, and what each does with several domains.

Shapes: D domains of b images each in a batch, K experts, F features, C classes.
"""

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.models import Hypernetwork


def convolutions(config, shape):
    """Images [m, side, side, c] → features [m, F]."""
    blocks = []
    for i, width in enumerate(config["widths"]):
        strides = 2 if i in config["strides"] else 1
        blocks += [
            layers.Conv2D(width, 3, strides, padding="same", activation="relu"),
            layers.GroupNormalization(config["groups"]),
        ]
    return keras.Sequential([keras.Input(shape), *blocks, layers.GlobalAveragePooling2D()])


class Classifier(keras.Model):
    """Empirical risk minimization: the mean loss over all domains.

    Args:
        features: Model from images to features.
        data: The task's data.
        config: Configuration of the run.
    """

    def __init__(self, features, data, config):
        super().__init__()
        self.features, self.config = features, config
        self.domains, self.classes = data.count, data.classes

    def build(self, input_shape):
        self.head = layers.Dense(self.classes)
        self.head.build((None, self.features.output_shape[-1]))
        self.built = True

    def call(self, x, training=None):
        return self.head(self.features(x))

    def losses_by_domain(self, y, logits):
        losses = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        return ops.mean(ops.reshape(losses, (self.domains, -1)), axis=1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if training:
            return self.objective(x, y, y_pred)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def objective(self, x, y, logits):
        """The loss of a batch, the images of which are sorted by domain."""
        return ops.mean(self.losses_by_domain(y, logits))


class Coral(Classifier):
    """Features whose means and covariances are alike in all domains (Sun & Saenko 2016)."""

    def objective(self, x, y, logits):
        z = self.features(x)
        by_domain = ops.reshape(z, (self.domains, -1, z.shape[-1]))
        means = ops.mean(by_domain, axis=1)
        apart = by_domain - means[:, None]
        count = x.shape[0] // self.domains - 1
        covariances = ops.matmul(ops.swapaxes(apart, 1, 2), apart) / count
        # Over pairs of domains: as many as there are of two different ones, in both orders.
        pairs = self.domains * (self.domains - 1)
        apart = sum(
            ops.sum(
                ops.mean(ops.square(a[:, None] - a[None]), axis=tuple(range(2, len(a.shape) + 1)))
            )
            for a in (means, covariances)
        )
        return super().objective(x, y, logits) + self.config["penalty"] * apart / pairs


class GroupDRO(Classifier):
    """Domains of a high loss count more (Sagawa et al. 2020)."""

    def build(self, input_shape):
        self.shares = self.add_weight(
            name="shares", shape=(self.domains,), initializer="ones", trainable=False
        )
        super().build(input_shape)

    def objective(self, x, y, logits):
        losses = self.losses_by_domain(y, logits)
        grown = self.shares * ops.exp(self.config["growth"] * ops.stop_gradient(losses))
        self.shares.assign(self.domains * grown / ops.sum(grown))
        return ops.mean(ops.convert_to_tensor(self.shares) * losses)


class Mixture(Classifier):
    """Experts, the last layers of which are free or generated, mixed by a gate.

    The gate puts an image at a point u among the experts' vectors e_k, and expert k counts
    softmax_k(u · e_k / (τ √E)). What is mixed is the experts' probabilities.
    """

    def build(self, input_shape):
        config, size = self.config, self.features.output_shape[-1]
        count, dims = config["experts"], config["dims"]
        self.vectors = self.add_weight(
            name="vectors", shape=(count, dims), initializer=keras.initializers.RandomNormal(0, 1)
        )
        self.temperature = self.add_weight(
            name="temperature", shape=(), initializer="ones", trainable=False
        )
        self.gate = gate(config, input_shape[1:])
        if config["generated"]:
            self.hyper = Hypernetwork(
                keras.Sequential([keras.Input((size,)), layers.Dense(self.classes)]),
                keras.Sequential([layers.Dense(config["width"], "relu")]),
            )
            self.hyper([np.zeros((1, dims), "float32"), np.zeros((1, size), "float32")])
        else:
            limit = (6 / (size + self.classes)) ** 0.5
            self.kernels = self.add_weight(
                name="kernels",
                shape=(count, size, self.classes),
                initializer=keras.initializers.RandomUniform(-limit, limit),
            )
            self.biases = self.add_weight(
                name="biases", shape=(count, self.classes), initializer="zeros"
            )
        self.built = True

    def experts(self):
        """Kernels [K, F, C] and biases [K, C]."""
        if self.config["generated"]:
            return self.hyper.generate(self.vectors)
        return ops.convert_to_tensor(self.kernels), ops.convert_to_tensor(self.biases)

    def gate_logits(self, x):
        points = self.gate(x)
        scores = ops.matmul(points, ops.transpose(self.vectors)) / self.config["dims"] ** 0.5
        return scores / self.temperature

    def call(self, x, training=None):
        """The logarithms of the mixed probabilities [m, C]."""
        gates = ops.log_softmax(self.gate_logits(x), axis=-1)
        kernels, biases = self.experts()
        logits = ops.einsum("mf,kfc->mkc", self.features(x), kernels) + biases
        return ops.logsumexp(gates[..., None] + ops.log_softmax(logits, axis=-1), axis=1)

    def objective(self, x, y, logits):
        gates = ops.log_softmax(self.gate_logits(x), axis=-1)
        loss = super().objective(x, y, logits)
        return loss + self.config["balance"] * self.imbalance(gates, y)

    def imbalance(self, gates, y):
        """How far the gate is from even use of the experts and from sure choices.

        Over the images of each class by itself: a gate that tells classes has no even use there.
        """
        shares = ops.exp(gates)
        by_class = ops.one_hot(y, self.classes)  # [m, C]
        counts = ops.sum(by_class, axis=0)
        means = ops.matmul(ops.transpose(by_class), shares) / ops.maximum(counts, 1)[:, None]
        even = ops.sum(counts * entropy(means)) / ops.sum(counts)
        return self.config["sure"] * ops.mean(entropy(shares)) - even


class LabeledMixture(Mixture):
    """A mixture whose gate is told the domains: a bound, which discovers nothing."""

    def objective(self, x, y, logits):
        domain = np.arange(self.domains).repeat(x.shape[0] // self.domains)
        told = keras.losses.sparse_categorical_crossentropy(domain, self.gate_logits(x), True)
        return Classifier.objective(self, x, y, logits) + ops.mean(told)


def gate(config, shape):
    """Images → points among the experts' vectors [m, E], from small images alone."""
    hidden = [
        layers.Conv2D(config["gate_width"], 3, 2, padding="same", activation="relu")
        for _ in range(2)
    ]
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.AveragePooling2D(2),
            *hidden,
            layers.Flatten(),
            layers.Dense(32, "relu"),
            layers.Dense(config["dims"]),
        ]
    )


def entropy(p):
    return -ops.sum(p * ops.log(ops.maximum(p, 1e-9)), axis=-1)


KINDS = {"erm": Classifier, "coral": Coral, "groupdro": GroupDRO, "hmoe_labels": LabeledMixture}


def build(model, config, data):
    shape = data.valid[0].shape[1:]
    network = KINDS.get(model, Mixture)(convolutions(config, shape), data, config)
    network.build((None, *shape))
    return network
