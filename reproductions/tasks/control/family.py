"""Small policies: which there are, as Keras models, and as arrays of one size with masks."""

import itertools
import math

import numpy as np

LAST_SCALE = 0.1  # of what the last kernel reads, so that the first actions are small


def architectures(widths, depths):
    """All MLPs with so many hidden layers of these widths, as tuples of widths."""
    return [a for depth in depths for a in itertools.product(widths, repeat=depth)]


def name(architecture):
    """(16, 16) → "16x16"."""
    return "x".join(map(str, architecture))


def count_parameters(architecture, observations, actions):
    """How many weights a policy has."""
    sizes = (observations, *architecture, actions)
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))


def draw(architectures, count, rng):
    """Numbers of `count` different ones: a depth, all as likely, then one of that depth."""
    depths = sorted({len(a) for a in architectures})
    chosen = []
    while len(chosen) < min(count, len(architectures)):
        depth = depths[rng.integers(len(depths))]
        left = [i for i, a in enumerate(architectures) if len(a) == depth and i not in chosen]
        if left:
            chosen.append(left[rng.integers(len(left))])
    return chosen


def keras_policy(architecture, observations, actions, initializer="glorot_uniform"):
    """A policy as a Keras model: observations to mean actions."""
    import keras
    from keras import layers

    def start():
        return keras.initializers.get(initializer).clone()

    return keras.Sequential(
        [
            keras.Input((observations,)),
            *(layers.Dense(w, "relu", kernel_initializer=start()) for w in architecture),
            layers.Rescaling(LAST_SCALE),
            layers.Dense(actions, kernel_initializer=start()),
        ]
    )


class Family:
    """Policies in places for the largest of them: its depth, and a square for each kernel.

    A place l holds a hidden layer, the last place the output layer. Shallow policies leave out the
    places before it.

    Args:
        architectures: Sequence of a tuples of widths.
        observations: Integer, how many numbers a policy reads.
        actions: Integer, how many numbers it gives.
    """

    def __init__(self, architectures, observations, actions):
        self.architectures = [tuple(a) for a in architectures]
        self.observations, self.actions = observations, actions
        self.size = max(observations, actions, *itertools.chain(*self.architectures))  # p
        self.places = 1 + max(map(len, self.architectures))  # l
        self.parameters = [count_parameters(a, observations, actions) for a in self.architectures]
        rows = [self._masks(a) for a in self.architectures]
        self.masks = {key: np.stack([row[key] for row in rows]) for key in rows[0]}

    def layers(self, architecture):
        """(place, inputs, units) of each layer."""
        places = [*range(len(architecture)), self.places - 1]
        sizes = (self.observations, *architecture, self.actions)
        return list(zip(places, sizes, sizes[1:], strict=False))

    def _masks(self, architecture):
        """What of the squares a policy uses.

        `inputs`, `units` `[l, p]` and `used` `[l]` are 0 or 1; `scale` `[l]` is √(2 / fan in), and
        `code` `[l - 1]` what the critic reads: logarithms of the widths, 0 without a layer.
        """
        inputs = np.zeros((self.places, self.size), "float32")
        units, used = np.zeros_like(inputs), np.zeros(self.places, "float32")
        scale, code = np.ones_like(used), np.zeros(self.places - 1, "float32")
        for place, fan_in, width in self.layers(architecture):
            inputs[place, :fan_in] = units[place, :width] = used[place] = 1
            scale[place] = math.sqrt(2 / fan_in)
        for place, width in enumerate(architecture):
            code[place] = (1 + math.log2(width)) / 7
        return dict(inputs=inputs, units=units, used=used, scale=scale, code=code)

    def graphs(self, kinds):
        """The policies' computational graphs as arrays, by the library's reader.

        `kinds`, `sizes` and `distances` are what `GraphHypernetwork` encodes, `kernels` and
        `biases` `[a, l]` the nodes of each place's weights (0 without a layer).
        """
        from hyperkeras import models
        from hyperkeras.models.architectures.graph_encoding import kind_index, padded_arrays

        graphs = []
        for architecture in self.architectures:
            policy = keras_policy(architecture, self.observations, self.actions)
            graphs.append(models.computation_graph(policy))
        index = {}
        for graph in graphs:
            index |= kind_index(kinds, graph, "policy")
        arrays = dict(
            zip(("kinds", "sizes", "distances"), padded_arrays(graphs, index, None), strict=True)
        )
        for word in ("kernel", "bias"):
            nodes = np.zeros((len(graphs), self.places), "int32")
            for row, graph, architecture in zip(nodes, graphs, self.architectures, strict=True):
                found = [v for v, kind in enumerate(graph.kinds) if kind == f"Dense/{word}"]
                row[[place for place, _, _ in self.layers(architecture)]] = found
            arrays[{"kernel": "kernels", "bias": "biases"}[word]] = nodes
        return arrays

    def cut(self, number, kernels, biases):
        """The weights of policy `number` from its squares: [(kernel, bias) of each layer]."""
        return [
            (np.ascontiguousarray(kernels[place, :a, :b]), biases[place, :b].copy())
            for place, a, b in self.layers(self.architectures[number])
        ]


def mean_actions(weights, x):
    """What a policy of these weights does at observations x [b, o], in NumPy."""
    *hidden, (kernel, bias) = weights
    for w, b in hidden:
        x = np.maximum(x @ w + b, 0)
    return (LAST_SCALE * x) @ kernel + bias
