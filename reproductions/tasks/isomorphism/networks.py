"""The isomorphism task's networks: an encoder of graphs, and a head that compares two."""

import keras
import numpy as np
from keras import layers, ops

from baselines.graph_networks import GCNConv, GINConv, wl_colors
from hyperkeras.layers import SparseGraphConv, SparseGraphTransform
from hyperkeras.ops import disjoint_union
from reproductions.networks import graph_rounds

FEATURES, EMBEDDING, HEAD, DEPTH = 4, 16, 16, 3
NEIGHBORS, GLOBAL_NEIGHBORS = 4, 1
BUCKETS = 4096  # of 1-WL colors


def node_features(edges, num_nodes):
    """A one, out-degree, in-degree and self-loop of each node, `[n, 4]`."""
    ones = ops.ones_like(edges[:, 0], dtype="float32")
    loops = ops.cast(edges[:, 0] == edges[:, 1], "float32")
    columns = [
        ops.segment_sum(x, edges[:, end], num_segments=num_nodes) / scale
        for x, end, scale in ((ones, 0, 3.0), (ones, 1, 3.0), (loops, 0, 1.0))
    ]
    return ops.stack([ops.ones_like(columns[0]), *columns], axis=-1)


class Convolutions(keras.layers.Layer):
    """Layers of a kind over the edges and over their reverse, added, then averaged over nodes."""

    def __init__(self, make, width, transform=None):
        super().__init__()
        self.ways = [[make(width) for _ in range(2)] for _ in range(DEPTH)]
        self.norms = [layers.LayerNormalization() for _ in range(DEPTH)]
        self.transform = transform

    def call(self, x, edges, node_graph, training=False):
        given = edges, ops.flip(edges, axis=1)
        for depth, (pair, norm) in enumerate(zip(self.ways, self.norms, strict=True)):
            y = 0.0
            for layer, way in zip(pair, given, strict=True):
                kept = {}
                if isinstance(layer, SparseGraphConv):
                    kept = dict(node_graph=node_graph, training=training)
                y = y + layer(x, way, **kept)
            x = ops.relu(norm(y))
            if depth == 0 and self.transform is not None:
                moved = self.transform(x, edges, node_graph=node_graph, training=training)
                x = ops.concatenate([x, moved], axis=-1)
        return x


class GeneratedConvolutions(Convolutions):
    """`Convolutions` of GIN, whose matrices one generator makes of embeddings."""

    def __init__(self, embedding_dim):
        generator = graph_rounds.generator(embedding_dim)
        super().__init__(lambda _: graph_rounds.GeneratedGINConv(generator), graph_rounds.WIDTH)
        self.lift = layers.Dense(graph_rounds.WIDTH)

    def call(self, x, edges, node_graph, training=False):
        return super().call(self.lift(x), edges, node_graph, training=training)


class Gated(graph_rounds.GatedRounds):
    """Rounds of messages over the edges and over their reverse; the last round's state."""

    def call(self, x, edges, node_graph, training=False):
        return super().call(x, [edges, ops.flip(edges, axis=1)])[-1]


def encoder(model, width):
    """A layer that maps node features, edges and node_graph to what is embedded."""
    if model == "static":
        return GeneratedConvolutions(width)
    if model in ("dynamic", "recurrent"):
        return Gated(graph_rounds.cell_of(model, width), DEPTH, ways=2)
    if model == "gcn":
        return Convolutions(GCNConv, width)
    if model == "gin":
        return Convolutions(GINConv, width)
    samples = dict(global_samples=2, local_samples=2, region=4)
    return Convolutions(
        lambda units: SparseGraphConv(units, NEIGHBORS, GLOBAL_NEIGHBORS, **samples),
        width,
        SparseGraphTransform(hidden_units=width, output="nodes", **samples),
    )


def parameters(model, nodes, w):
    """How many a `PairNetwork` of width w has; "static" has one width and embeddings of size w."""
    head = (EMBEDDING + 1) * HEAD + HEAD + 1
    if model == "static":
        width = graph_rounds.WIDTH
        layer = 2 * graph_rounds.gin_parameters(w) + 2 * width
        count = head + (width + 1) * EMBEDDING + (FEATURES + 1) * width
        return count + graph_rounds.generator_parameters(w) + DEPTH * layer
    if model in ("dynamic", "recurrent"):
        count = head + (w + 1) * EMBEDDING
        return count + graph_rounds.rounds_parameters(model, FEATURES, w, ways=2)
    if model in ("degrees", "dense"):
        flat = nodes * 4 if model == "degrees" else nodes**2
        return head + (flat + 1) * w + (w + 1) * w + (w + 1) * EMBEDDING
    first, count = FEATURES, head + (w + 1) * EMBEDDING
    for depth in range(DEPTH):
        f = first if depth == 0 else w
        if model == "gcn":
            per_layer = (f + 1) * w
        elif model == "gin":
            per_layer = 1 + (f + 1) * w + (w + 1) * w
        else:
            f = 2 * w if depth == 1 else f
            k = NEIGHBORS + GLOBAL_NEIGHBORS
            per_layer = 4 * f * k + 3 * k + (k + 1) * f * w + w
        count += 2 * per_layer + 2 * w
    return count + (w + 2 * w * w + w + 4 * (w + 1) if model == "sparse_adaptive" else 0)


class PairNetwork(keras.Model):
    """Maps edges `[b, 2, e, 2]` of pairs of graphs to the scores of "other" and "isomorphic".

    Or `[b, m, e, 2]` of bags of m, which are isomorphic if all of their graphs are.

    It has as nearly `size` parameters as its width allows; "wl" has one for each hashed color.
    """

    def __init__(self, model, nodes, edges, size):
        super().__init__(name=model)
        self.model, self.nodes = model, nodes
        if model == "wl":
            self.head = [layers.Dense(1, kernel_regularizer=keras.regularizers.L2(1e-5))]
        else:
            w = min(range(1, 512), key=lambda w: abs(parameters(model, nodes, w) - size))
            dense = [layers.Dense(w, "relu") for _ in range(2)]
            flat = model in ("degrees", "dense")
            self.encoder = keras.Sequential(dense) if flat else encoder(model, w)
            self.project = layers.Dense(EMBEDDING)
            self.head = [layers.Dense(HEAD, "relu"), layers.Dense(1)]
        self(np.zeros((2, 2, edges, 2), "int32"))

    def call(self, pairs, training=False):
        z = self.embed(ops.reshape(pairs, (-1, *pairs.shape[2:])), training)
        z = ops.reshape(z, (-1, pairs.shape[1], z.shape[-1]))
        y = ops.max(z, axis=1) - ops.min(z, axis=1)  # of two, their distance
        for layer in self.head:
            y = layer(y)
        return ops.concatenate([ops.zeros_like(y), y], axis=-1)

    def embed(self, edges, training=False):
        """Embeddings `[g, d]` of graphs, given as edges `[g, e, 2]`."""
        n = self.nodes
        edges = ops.convert_to_tensor(edges)
        x = ops.zeros((ops.shape(edges)[0], n, 1))
        _, edges, node_graph = disjoint_union(x, edges)
        node_graph = node_graph[:-1]  # there is no padding
        x = node_features(edges, ops.shape(node_graph)[0])
        if self.model == "wl":
            return self._histogram(x, edges)
        if self.model == "dense":
            cells = edges[:, 0] * n + edges[:, 1] % n
            ones, size = ops.ones_like(cells, x.dtype), ops.shape(node_graph)[0] * n
            a = ops.reshape(ops.segment_sum(ones, cells, num_segments=size), (-1, n, n))
            order = self._by_degree(x)
            a = ops.take_along_axis(a, order[:, :, None], axis=1)
            a = ops.take_along_axis(a, order[:, None, :], axis=2)
            return self.project(self.encoder(ops.reshape(a, (-1, n * n))))
        if self.model == "degrees":
            order = self._by_degree(x)
            x = ops.take_along_axis(ops.reshape(x, (-1, n, FEATURES)), order[..., None], axis=1)
            return self.project(self.encoder(ops.reshape(x, (-1, n * FEATURES))))
        x = self.encoder(x, edges, node_graph, training=training)
        return self.project(ops.mean(ops.reshape(x, (-1, n, x.shape[-1])), axis=1))

    def _by_degree(self, x):
        """Each graph's nodes by self-loops, then by in- and out-degree, `[g, n]`."""
        x = ops.reshape(x, (-1, self.nodes, FEATURES))
        return ops.argsort(ops.sum(x * np.array([0, 1, 10, 100], "float32"), axis=-1))

    def _histogram(self, x, edges):
        """How many nodes of each graph have each color, `[g, BUCKETS]`."""
        start = ops.sum(ops.round(x * 3) * np.array([0, 1, 40, 500], "float32"), axis=-1)
        colors = ops.reshape(wl_colors(edges, start), (-1, self.nodes)) % BUCKETS
        return ops.sum(ops.one_hot(colors, BUCKETS), axis=1)


def generated(network):
    """How many weights the network generates."""
    if isinstance(encoder := getattr(network, "encoder", None), Convolutions):
        return graph_rounds.generated(layer for pair in encoder.ways for layer in pair)
    return graph_rounds.generated([encoder])
