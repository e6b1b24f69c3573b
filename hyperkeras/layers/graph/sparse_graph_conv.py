"""A graph convolution whose neighborhood is learned."""

from typing import Any, Unpack

import keras
from keras import ops

from hyperkeras.annotations import (
    Activation,
    Config,
    Initializer,
    LayerArguments,
    Shape,
    Tensor,
)
from hyperkeras.keras_internals import is_exporting
from hyperkeras.layers.graph.base_graph_layer import GraphLayer
from hyperkeras.ops.argument_validation import check_int
from hyperkeras.ops.graph.candidates import (
    candidate_nodes,
    candidate_proportions,
    nearest_candidates,
)
from hyperkeras.ops.graph.edge_sums import processor_path, sum_at, take
from hyperkeras.ops.graph.message_passing import (
    at_least,
    exportable_propagate,
    neighbor_proportions,
    neighbor_shares,
    propagate,
    propagate_each,
)


@keras.saving.register_keras_serializable(package="hyperkeras")
class SparseGraphConv(GraphLayer):
    r"""A convolution over k nodes that each node chooses, each with its own kernel.

    .. math::
        y_i = \phi\Big(W_0 x_i + \sum_{k} v_{ik} W_k \sum_{j \in C_k(i)} q_{ijk}\, x_j + b\Big)

    This is the sparse adaptive hyperlayer on a graph. Indices of nodes have no metric order, so
    each node gets positions instead. Each node i gives, for each k, a Gaussian over positions and
    a value:

    .. math:: p_{jk} = \mathrm{sigmoid}(x_j P)_k, \qquad
        (\hat\mu_i, \hat\sigma_i, \hat v_i) = x_i T + t, \quad \mu = \mathrm{sigmoid}(\hat\mu),
        \quad v = 1 + \hat v

    For the first `neighbors` of them the candidates C are the node's neighbors in the graph. For
    `global_neighbors` more they are the nodes next to μ among all nodes of the graph, and in
    training drawn ones too. In training the proportions q are those of the Gaussian
    (`neighbor_proportions`, `candidate_proportions`), and differentiable. At inference nothing is
    drawn, and each Gaussian stands for the nearest candidate alone if `rounded`. Candidates that
    are as near have equal proportions.

    Permuted nodes give permuted outputs. Time and memory are linear in nodes and edges, except for
    a sort of the nodes if there are `global_neighbors`.

    Args:
        units: Integer, the number of features of the output.
        neighbors: Integer ≥ 0, how many nodes are chosen among the neighbors (default 4).
        global_neighbors: Integer ≥ 0, how many nodes are chosen in the whole graph (default 0).
        activation: Activation φ. None (default) for none.
        use_bias: Boolean, whether the layer uses a bias vector (default `True`).
        sigma_scale: Float ≥ 0, factor on all variances, between positions in [0, 1]
            (default 0.02).
        global_samples: Integer ≥ 0, how many nodes are drawn from the whole graph for each global
            neighbor (default 0).
        local_samples: Integer ≥ 0, how many nodes are drawn near the mean for each global neighbor
            (default 0).
        region: Integer, the width of the window that local samples are drawn from, in places. None
            (default) for the whole graph.
        kernel_initializer: Initializer of the kernel (default `"glorot_uniform"`).
        tuple_initializer: Initializer of T (default `"glorot_uniform"`, by which values v start
            with either sign). With `"zeros"` they start at 1, and means in the middle.
        rounded: Boolean, whether at inference each Gaussian stands for the nearest candidate alone
            (default `True`). Otherwise proportions are soft there, too, as in training.
        seed: Integer, the seed of the draws. None (default) for a random one.

    Call arguments:
        x: Tensor of shape `[n, f]`, node features of one graph or of a disjoint union of graphs,
            or `[b, n, f]`, a batch of graphs or of signals on one graph.
        edges: Integer tensor of shape `[e, 2]` or `[b, e, 2]`: pairs (i, j), where node i reads
            node j. Give each edge in both directions where the graph has none. In a batch, an edge
            with an end of −1 is padding, and `[e, 2]` are the edges of every graph. Or a
            two-dimensional `tf.SparseTensor`.
        node_graph: Integer tensor `[n]` of each node's graph in a union, from 0 and below n. None
            (default) for one graph. Not with a batch.
        edge_values: Tensor `[e]` or `[b, e]`, as `edges`. The proportions q are multiplied by its
            size, and messages have its sign. Edges of value 0 are left out. None (default) for
            ones.
        mask: Boolean tensor `[b, n]` of a batch, False for padded nodes, which have no edges. None
            (default) for the mask that comes with `x`, if any.
        training: Boolean, whether proportions are soft and nodes are drawn (default `False`).

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
        units: int,
        neighbors: int = 4,
        global_neighbors: int = 0,
        activation: Activation = None,
        use_bias: bool = True,
        sigma_scale: float = 0.02,
        global_samples: int = 0,
        local_samples: int = 0,
        region: int | None = None,
        kernel_initializer: Initializer = "glorot_uniform",
        tuple_initializer: Initializer = "glorot_uniform",
        rounded: bool = True,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
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
        self.tuple_initializer = keras.initializers.get(tuple_initializer)
        self.rounded = bool(rounded)

    def build(
        self,
        x_shape: Shape,
        edges_shape: Shape | None = None,
        node_graph_shape: Shape | None = None,
        edge_values_shape: Shape | None = None,
    ) -> None:
        f, k = self.features(x_shape), self.neighbors + self.global_neighbors
        self.position_kernel = self.add_float32_weight("position_kernel", (f, k), "glorot_uniform")
        self.tuple_kernel = self.add_float32_weight(
            "tuple_kernel", (f, 3 * k), self.tuple_initializer
        )
        self.tuple_bias = self.add_float32_weight("tuple_bias", (3 * k,), "zeros")
        self.kernel = self.add_weight(
            name="kernel", shape=((k + 1) * f, self.units), initializer=self.kernel_initializer
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(
        self,
        x: Tensor,
        edges: Tensor,
        node_graph: Tensor | None = None,
        edge_values: Tensor | None = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Tensor:
        given = x
        x, edges, node_graph, edge_values = self.union(x, edges, node_graph, edge_values, mask)
        high = ops.cast(x, self.variable_dtype)
        positions = ops.sigmoid(ops.matmul(high, self.position_kernel))  # [n, k]
        raw = ops.matmul(high, self.tuple_kernel) + self.tuple_bias
        means, sigmas, values = ops.split(raw, 3, axis=-1)
        means, sigmas = ops.sigmoid(means), self.variances(sigmas)
        read = []
        if self.neighbors:
            p, m, v = (a[:, : self.neighbors] for a in (positions, means, sigmas))
            read += self._read_neighbors(high, edges, edge_values, p, m, v, training)
        if self.global_neighbors:
            p, m, v = (a[:, self.neighbors :] for a in (positions, means, sigmas))
            read += self._read_anywhere(high, node_graph, p, m, v, training)
        read = [message * (1 + values[:, k : k + 1]) for k, message in enumerate(read)]
        read = ops.cast(ops.concatenate([high, *read], axis=-1), self.compute_dtype)
        y = ops.matmul(read, self.kernel)
        y = self.activation(y if self.bias is None else y + self.bias)
        return self.split(y, given)

    def _read_neighbors(self, x, edges, edge_values, positions, means, sigmas, training):
        """What each Gaussian reads among the node's neighbors: k times `[n, f]`."""
        mass = None if edge_values is None else ops.abs(edge_values)
        rounded = self.rounded and not training
        if not rounded and not is_exporting():
            return self._share(x, edges, edge_values, mass, positions, means, sigmas)
        proportions = neighbor_proportions(edges, positions, means, sigmas, mass, rounded)
        if edge_values is not None:
            proportions = proportions * ops.sign(edge_values)[:, None]
        product = exportable_propagate if is_exporting() else propagate
        return [product(edges, proportions[:, k], x) for k in range(self.neighbors)]

    def _share(self, x, edges, edge_values, mass, positions, means, sigmas):
        """The same, divided by the sum of shares at the nodes, of which there are fewer."""
        shares = neighbor_shares(edges, positions, means, sigmas, mass)
        if edge_values is None and processor_path(x) is None:  # summed as one more feature
            y = propagate_each(edges, shares, ops.concatenate([x, ops.ones_like(x[:, :1])], axis=1))
            read, whole = y[..., :-1], y[..., -1:]
        else:
            signs = 1 if edge_values is None else ops.sign(edge_values)[:, None]
            read = propagate_each(edges, shares * signs, x)
            whole = sum_at(edges[:, 0], shares, ops.shape(x)[0])[..., None]
        return ops.unstack(read / at_least(whole), axis=1)

    def _read_anywhere(self, x, node_graph, positions, means, sigmas, training):
        """What each Gaussian reads in its whole graph: k times `[n, f]`."""
        samples = (self.global_samples, self.local_samples) if training else (0, 0)
        nodes = candidate_nodes(
            positions, means, node_graph, node_graph, *samples, self.region, self.seed_generator
        )  # [c, n, k]
        if self.rounded and not training:
            nodes = nearest_candidates(nodes, positions, means)
            return [take(x, nodes[:, k]) for k in range(self.global_neighbors)]
        proportions = candidate_proportions([nodes], positions, [means], sigmas)[..., None]
        return [
            ops.sum(ops.take(x, nodes[..., k], axis=0) * proportions[:, :, k], axis=0)
            for k in range(self.global_neighbors)
        ]

    def compute_output_shape(
        self, x_shape: Shape, *args: Any, **kwargs: Any
    ) -> tuple[int | None, ...]:
        return (*x_shape[:-1], self.units)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "neighbors": self.neighbors,
            "global_neighbors": self.global_neighbors,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "tuple_initializer": keras.initializers.serialize(self.tuple_initializer),
            "rounded": self.rounded,
        }

    @classmethod
    def from_config(cls, config: Config) -> "SparseGraphConv":
        # Files of 0.1.0's development spell these arguments the British way.
        return cls(**{key.replace("neighbours", "neighbors"): v for key, v in config.items()})
