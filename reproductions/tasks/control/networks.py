"""Actors that give weights of policies, and the learner around them."""

import keras
import numpy as np
from keras import layers, ops

from hyperkeras import models
from hyperkeras.layers import GatedGraphEncoder, MatrixDecoder
from hyperkeras.ops import scale_by_fan_in
from reproductions.tasks.control import ppo
from reproductions.tasks.control.family import LAST_SCALE, keras_policy

UNITS, HIDDEN = 16, (64, 128)


def hypernetwork(family, graph=True):
    """HyperPPO's actor: chains of layers, read by a gated network."""
    encoder = GatedGraphEncoder(UNITS, virtual_edges=None) if graph else None
    decoder = MatrixDecoder((family.size, family.size), 1, HIDDEN)
    return models.GraphHypernetwork(encoder, decoder, units=UNITS)


class GeneratedPolicies(layers.Layer):
    """Weights that a graph hypernetwork makes, as masked squares.

    Squares hold what `GraphHypernetwork.generate` gives for the same policy as a Keras model, so
    that policies of all shapes are one computation.

    Call arguments:
        rows: Arrays of m policies, from `Family.masks` and `Family.graphs`.

    Output shape:
        Kernels `[m, l, p, p]` and biases `[m, l, p]`.
    """

    def __init__(self, hypernetwork, family):
        super().__init__()
        hypernetwork.build(None)
        # Its parts, not itself: it compiles for itself, and so says that it can't be compiled.
        self.encoding, self.decoder = hypernetwork.encoding, hypernetwork.decoder
        self.size, self.arrays = family.size, family.masks | family.graphs(hypernetwork.kinds)

    def call(self, rows):
        nodes = self.encoding([rows[key] for key in ("kinds", "sizes", "distances")])
        m, count = rows["kernels"].shape

        def features(word):
            at = ops.one_hot(rows[word], nodes.shape[1], dtype=nodes.dtype)  # [m, l, n]
            return ops.reshape(ops.matmul(at, nodes), (-1, nodes.shape[-1]))

        kernels = ops.reshape(
            self.decoder(features("kernels"))[0], (m, count, self.size, self.size)
        )
        biases = ops.reshape(self.decoder(features("biases"))[1][:, 1], (m, count, self.size))
        inputs, units = rows["inputs"][..., :, None], rows["units"][..., None, :]
        kernels = kernels * rows["scale"][..., None, None] * inputs * units
        return kernels, scale_by_fan_in(biases, "bias", 1) * rows["units"]


class OwnPolicy(layers.Layer):
    """Weights of the family's only policy, which are learned themselves."""

    def __init__(self, family):
        super().__init__()
        (architecture,) = family.architectures
        start = keras.initializers.Orthogonal(2**0.5)
        self.policy = keras_policy(architecture, family.observations, family.actions, start)
        self.size, self.arrays = family.size, family.masks

    def call(self, rows):
        dense = [layer for layer in self.policy.layers if isinstance(layer, layers.Dense)]
        kernels, biases = [], []
        for layer in dense:
            a, b = (self.size - length for length in layer.kernel.shape)
            kernels.append(ops.pad(layer.kernel, ((0, a), (0, b))))
            biases.append(ops.pad(layer.bias, ((0, b),)))
        return ops.stack(kernels)[None], ops.stack(biases)[None]


def means(kernels, biases, used, x):
    """Mean actions of padded policies: x `[m, b, p]` → `[m, b, p]`."""
    last = kernels.shape[1] - 1
    for place in range(last):
        new = ops.relu(ops.matmul(x, kernels[:, place]) + biases[:, place, None])
        x = ops.where(used[:, place, None, None] > 0, new, x)
    return ops.matmul(LAST_SCALE * x, kernels[:, last]) + biases[:, last, None]


class Learner(keras.Model):
    """An actor, its deviation and a critic, trained by PPO.

    Call arguments:
        rows: Arrays of m policies.

    Output shape:
        {"kernels", "biases", "log_std"}: the policies' weights, and the logarithm of the deviation
        of their actions.

    Args:
        actor: Layer from rows to kernels and biases, with `arrays` of all its policies.
        family: `Family`.
        config: The preset's settings.
    """

    def __init__(self, actor, family, config):
        super().__init__()
        self.actor, self.settings = actor, config
        self.shape = family.observations, family.actions, family.size
        self.log_std = self.add_weight(name="log_std", shape=(family.actions,), initializer="zeros")

        def dense(units, gain, activation=None):
            start = keras.initializers.Orthogonal(gain)
            return layers.Dense(units, activation, kernel_initializer=start)

        reads = family.observations + family.places - 1
        hidden = [dense(units, 2**0.5, "tanh") for units in config["critic"]]
        self.critic = keras.Sequential([keras.Input((reads,)), *hidden, dense(1, 1.0)])
        actor.build(None)
        self.built = True

    def rows(self, numbers):
        """Arrays of the policies `numbers`."""
        return {key: array[np.asarray(numbers)] for key, array in self.actor.arrays.items()}

    def call(self, rows, training=None):
        kernels, biases = self.actor(rows)
        return {"kernels": kernels, "biases": biases, "log_std": self.log_std + 0.0}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """PPO's loss of steps y `[b, m, ...]` of the policies x with weights `y_pred`."""
        observations, actions, size = self.shape
        states = ops.transpose(y["states"], (1, 0, 2))  # [m, b, o]
        padded = ops.pad(states, ((0, 0), (0, 0), (0, size - observations)))
        mean = means(y_pred["kernels"], y_pred["biases"], x["used"], padded)[..., :actions]
        mean = ops.transpose(mean, (1, 0, 2))  # [b, m, a]
        density = ppo.log_density(y["actions"], mean, y_pred["log_std"])
        policy = ppo.policy_loss(density, y["log_density"], y["advantages"], self.settings["clip"])
        code = ops.zeros_like(y["states"][..., :1]) + x["code"]  # [b, m, l - 1]
        read = ops.concatenate([y["states"], code], axis=-1)
        value = self.critic(ops.reshape(read, (-1, read.shape[-1])))
        error = ops.mean(ops.square(value - ops.reshape(y["returns"], (-1, 1))))
        return policy + self.settings["value_coefficient"] * error

    def values(self, states, code):
        """The critic's values of states `[t, n, o]` of policies with code `[n, l - 1]`."""
        code = np.broadcast_to(code, (*states.shape[:-1], code.shape[-1]))
        rows = np.concatenate([states, code], axis=-1).astype("float32")
        found = self.critic.predict_on_batch(rows.reshape(-1, rows.shape[-1]))
        return np.reshape(found, states.shape[:-1])
