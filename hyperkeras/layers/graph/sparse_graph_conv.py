"""A graph convolution whose neighborhood is learned."""

import keras
from keras import ops

from hyperkeras.layers.graph.base_graph_layer import GraphLayer
from hyperkeras.ops.argument_validation import check_int
from hyperkeras.ops.graph.candidates import (
    candidate_nodes,
    candidate_proportions,
    nearest_candidates,
)
from hyperkeras.ops.graph.message_passing import neighbor_proportions, propagate


@keras.saving.register_keras_serializable(package="hyperkeras")
class SparseGraphConv(GraphLayer):
    r"""A convolution over k nodes that each node chooses, each with a kernel of its own.

    .. math::
        y_i = \phi\Big(W_0 x_i + \sum_{k} v_{ik} W_k \sum_{j \in C_k(i)} q_{ijk}\, x_j + b\Big)

    The sparse adaptive hyperlayer on a graph. Indices of nodes have no metric order, so each node
    gets positions instead, and each node i gives, for each k, a Gaussian over positions and a
    value:

    .. math:: p_{jk} = \mathrm{sigmoid}(x_j P)_k, \qquad
        (\hat\mu_i, \hat\sigma_i, \hat v_i) = x_i T + t, \quad \mu = \mathrm{sigmoid}(\hat\mu),
        \quad v = 1 + \hat v

    For the first `neighbors` of them the candidates C are the node's neighbors in the graph. For
    `global_neighbors` more they are the nodes next to μ among all of the graph's, and in training
    drawn ones too. In training the shares q are the Gaussian's (`neighbor_proportions`,
    `candidate_proportions`) and differentiable; at inference each Gaussian means the nearest
    candidate alone, without a draw, and those that are as near share.

    Permuted nodes give permuted outputs. Time and memory are linear in nodes and edges, but for a
    sort of the nodes if there are `global_neighbors`.

    Args:
        units: Integer, features out.
        neighbors: Integer ≥ 0: how many nodes are chosen among the neighbors.
        global_neighbors: Integer ≥ 0: how many are chosen in the whole graph.
        activation: Activation φ.
        use_bias: Boolean.
        sigma_scale: Float ≥ 0. Factor on all variances; positions lie in [0, 1].
        global_samples: Integer ≥ 0, for each global neighbor, nodes drawn from the whole graph.
        local_samples: Integer ≥ 0, for each global neighbor, nodes drawn near the mean.
        region: Integer: the window of the latter, in places, or None for the whole graph.
        kernel_initializer: Initializer of the kernel.
        seed: Integer, or None for a random one.

    Call arguments:
        x: Tensor of shape `[n, f]`, node features of one graph or of a disjoint union of graphs;
            or `[b, n, f]`, a batch of graphs.
        edges: Integer tensor of shape `[e, 2]` or `[b, e, 2]`: pairs (i, j), node i reads node j.
            Give each edge in both directions where the graph has none. In a batch, an edge of
            which an end is −1 is padding. Or a two-dimensional `tf.SparseTensor`.
        node_graph: Integer tensor `[n]` of each node's graph in a union, from 0 and below n; None
            for one graph. Not with a batch.
        edge_values: Tensor `[e]` or `[b, e]`: the share q goes by its size besides, messages have
            its sign, and edges of value 0 are not there. None for ones.
        mask: Boolean tensor `[b, n]` of a batch, False for padded nodes, which have no edges.
        training: Boolean, whether shares are soft and nodes are drawn.

    Output shape:
        `[n, units]` or `[b, n, units]`.

    Graphs of different size make a union of which the padding is one more graph, or a padded
    batch; in both, shapes that stay the same let `fit` compile once.

    Parameters: with k = neighbors + global_neighbors, 4 f k + 3 k + (k + 1) f units, and units
    more with a bias.

    Example:

    ```python
    layer = hyperkeras.layers.SparseGraphConv(16, neighbors=2, global_neighbors=1)
    x, edges = keras.random.normal((4, 3)), keras.ops.array([[0, 1], [1, 2], [2, 0]])
    layer(x, edges).shape  # (4, 16)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184)
    """

    def __init__(
        self,
        units,
        neighbors=4,
        global_neighbors=0,
        activation=None,
        use_bias=True,
        sigma_scale=0.02,
        global_samples=0,
        local_samples=0,
        region=None,
        kernel_initializer="glorot_uniform",
        seed=None,
        **kwargs,
    ):
        super().__init__(sigma_scale, global_samples, local_samples, region, seed, **kwargs)
        self.units = check_int("units", units, 1)
        self.neighbors = check_int("neighbors", neighbors, 0)
        self.global_neighbors = check_int("global_neighbors", global_neighbors, 0)
        if self.neighbors + self.global_neighbors == 0:
            raise ValueError(
                "Expected `neighbors` or `global_neighbors` to be at least 1. Received: "
                "neighbors=0, global_neighbors=0"
            )
        self.activation = keras.activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape, edges_shape=None, node_graph_shape=None, edge_values_shape=None):
        f, k = self.features(x_shape), self.neighbors + self.global_neighbors
        self.position_kernel = self.add_float32_weight("position_kernel", (f, k), "glorot_uniform")
        self.tuple_kernel = self.add_float32_weight("tuple_kernel", (f, 3 * k), "glorot_uniform")
        self.tuple_bias = self.add_float32_weight("tuple_bias", (3 * k,), "zeros")
        self.kernel = self.add_weight(
            name="kernel", shape=((k + 1) * f, self.units), initializer=self.kernel_initializer
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, x, edges, node_graph=None, edge_values=None, mask=None, training=False):
        given = x
        x, edges, node_graph, edge_values = self.union(x, edges, node_graph, edge_values, mask)
        high = ops.cast(x, self.variable_dtype)
        positions = ops.sigmoid(ops.matmul(high, self.position_kernel))  # [n, k]
        raw = ops.matmul(high, self.tuple_kernel) + self.tuple_bias
        means, sigmas, values = ops.split(raw, 3, axis=-1)
        means, sigmas = ops.sigmoid(means), self.variances(sigmas)
        read = []
        if self.neighbors:
            here = [a[:, : self.neighbors] for a in (positions, means, sigmas)]
            read += self._read_neighbors(high, edges, edge_values, *here, training)
        if self.global_neighbors:
            here = [a[:, self.neighbors :] for a in (positions, means, sigmas)]
            read += self._read_anywhere(high, node_graph, *here, training)
        read = [one * (1 + values[:, k : k + 1]) for k, one in enumerate(read)]
        read = ops.cast(ops.concatenate([high, *read], axis=-1), self.compute_dtype)
        y = ops.matmul(read, self.kernel)
        y = self.activation(y if self.bias is None else y + self.bias)
        return self.split(y, given)

    def _read_neighbors(self, x, edges, edge_values, positions, means, sigmas, training):
        """What each Gaussian reads among the node's neighbors: k times `[n, f]`."""
        mass = None if edge_values is None else ops.abs(edge_values)
        proportions = neighbor_proportions(
            edges, positions, means, sigmas, mass, rounded=not training
        )
        if edge_values is not None:
            proportions = proportions * ops.sign(edge_values)[:, None]
        return [propagate(edges, proportions[:, k], x) for k in range(self.neighbors)]

    def _read_anywhere(self, x, node_graph, positions, means, sigmas, training):
        """What each Gaussian reads in its whole graph: k times `[n, f]`."""
        samples = (self.global_samples, self.local_samples) if training else (0, 0)
        nodes = candidate_nodes(
            positions, means, node_graph, node_graph, *samples, self.region, self.seed_generator
        )  # [c, n, k]
        if not training:
            nodes = nearest_candidates(nodes, positions, means)
            return [ops.take(x, nodes[:, k], axis=0) for k in range(self.global_neighbors)]
        proportions = candidate_proportions([nodes], positions, [means], sigmas)[..., None]
        return [
            ops.sum(ops.take(x, nodes[..., k], axis=0) * proportions[:, :, k], axis=0)
            for k in range(self.global_neighbors)
        ]

    def compute_output_shape(self, x_shape, *args, **kwargs):
        return (*x_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "neighbors": self.neighbors,
            "global_neighbors": self.global_neighbors,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    @classmethod
    def from_config(cls, config):
        # Files of 0.1.0's development spell these arguments the British way.
        return cls(**{key.replace("neighbours", "neighbors"): v for key, v in config.items()})
