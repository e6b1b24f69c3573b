"""The graph classifiers: layers of one kind over the nodes, summed over each graph after each."""

import keras
from keras import layers, ops

from baselines.graph_networks import GCNConv, GINConv
from hyperkeras.layers import SparseGraphConv, SparseGraphTransform
from reproductions.networks import graph_rounds

DEPTH, DROPOUT, HIDDEN = 4, 0.5, 16
NEIGHBORS, GLOBAL_NEIGHBORS = 4, 1
SAMPLES = dict(sigma_scale=1e-3, global_samples=2, local_samples=2, region=4)
CHOSEN = dict(neighbors=NEIGHBORS, global_neighbors=GLOBAL_NEIGHBORS) | SAMPLES
# Starts as means over the neighbors: their values are 1, their Gaussians wider than the positions.
SOFT = dict(neighbors=NEIGHBORS, sigma_scale=1.0, tuple_initializer="zeros", rounded=False)
GATED = ("dynamic", "recurrent")
MOVED = dict(hidden_units=HIDDEN) | SAMPLES


class Rewired(layers.Layer):
    """A dense layer of the node's features, and of what it reads through moved edges."""

    def __init__(self, units, **settings):
        super().__init__()
        self.transform = SparseGraphTransform(output="nodes", **settings)
        self.dense = layers.Dense(units)

    def call(self, x, edges, node_graph=None, training=False):
        moved = self.transform(x, edges, node_graph=node_graph, training=training)
        return self.dense(ops.concatenate([x, moved], axis=-1))


def graph_layer(model, units, chosen, moved):
    """The model's layer; two sparse ones are built with `chosen` and `moved`."""
    if model == "sparse_adaptive":
        return SparseGraphConv(units, **chosen)
    if model == "sparse_soft":
        return SparseGraphConv(units, **SOFT)
    if model == "sparse_transform":
        return Rewired(units, **moved)
    return dict(mlp=layers.Dense, gcn=GCNConv, gin=GINConv)[model](units)


def convolutions(model, w):
    """The network's layers; "dynamic" and "recurrent" have one for all rounds of messages."""
    if model == "static":
        generator = graph_rounds.generator(w)
        return [graph_rounds.GeneratedGINConv(generator) for _ in range(DEPTH)]
    if model in GATED:
        return [graph_rounds.GatedRounds(graph_rounds.cell_of(model, w), DEPTH)]
    return [graph_layer(model, w, CHOSEN, MOVED) for _ in range(DEPTH)]


def norm(model):
    """Batch normalization, as published; but what soft neighbors average is not what is chosen."""
    if model in ("sparse_adaptive", "sparse_transform"):
        return layers.LayerNormalization()
    return layers.BatchNormalization(momentum=0.9)


def parameters(model, f, classes, w):
    """How many a `GraphNetwork` of f features and width w has; w is the size of an embedding in
    "static", which has one width."""
    if model == "static":
        width = graph_rounds.WIDTH
        count = (f + DEPTH * width + 1) * classes + (f + 1) * width
        count += graph_rounds.generator_parameters(w)
        return count + DEPTH * (graph_rounds.gin_parameters(w) + 2 * width)
    count = (f + DEPTH * w + 1) * classes
    if model in GATED:
        return count + graph_rounds.rounds_parameters(model, f, w)
    for _ in range(DEPTH):
        if model in ("mlp", "gcn"):
            count += (f + 1) * w
        elif model == "gin":
            count += 1 + (f + 1) * w + (w + 1) * w
        elif model == "sparse_transform":
            count += f + 2 * f * HIDDEN + HIDDEN + 4 * (HIDDEN + 1) + (2 * f + 1) * w
        else:
            k = NEIGHBORS + (GLOBAL_NEIGHBORS if model == "sparse_adaptive" else 0)
            count += 4 * f * k + 3 * k + (k + 1) * f * w + w
        f, count = w, count + 2 * w
    return count


class GraphNetwork(keras.Model):
    """Maps a union of graphs, `{x, edges, node_graph, counts}`, to class scores of each.

    It has as nearly `size` parameters as its width allows.
    """

    def __init__(self, model, features, classes, size):
        super().__init__(name=model)
        count = range(1, 512)
        w = min(count, key=lambda w: abs(parameters(model, features, classes, w) - size))
        self.model = model
        self.lift = layers.Dense(graph_rounds.WIDTH) if model == "static" else None
        self.convolutions = convolutions(model, w)
        self.norms = [] if model in GATED else [norm(model) for _ in range(DEPTH)]
        self.dropout = layers.Dropout(DROPOUT)
        self.head = layers.Dense(classes)

    def call(self, graphs, training=False):
        x, edges, node_graph = (graphs[key] for key in ("x", "edges", "node_graph"))
        if self.model in GATED:
            read = self.convolutions[0](x, [edges])
        else:
            read = self._layer_by_layer(x, edges, node_graph, training)
        read = ops.concatenate([x, *read], axis=-1)
        count = ops.shape(graphs["counts"])[0]
        sums = ops.segment_sum(read, node_graph, num_segments=count)
        return self.head(self.dropout(sums, training=training))

    def _layer_by_layer(self, x, edges, node_graph, training):
        """The nodes' features after each layer."""
        read = []
        x = x if self.lift is None else self.lift(x)
        for layer, norm in zip(self.convolutions, self.norms, strict=True):
            if self.model == "mlp":
                y = layer(x)
            elif self.model in ("gcn", "gin", "static"):
                y = layer(x, edges)
            else:
                y = layer(x, edges, node_graph=node_graph, training=training)
            x = ops.relu(norm(y, training=training))
            read.append(x)
        return read
