"""A transformation of graphs into graphs whose wiring is learned."""

import keras
from keras import ops

from hyperkeras.layers.graph.base_graph_layer import GraphLayer
from hyperkeras.ops.argument_validation import check_int
from hyperkeras.ops.graph.candidates import (
    candidate_nodes,
    candidate_proportions,
    nearest_candidates,
)
from hyperkeras.ops.graph.message_passing import propagate


@keras.saving.register_keras_serializable(package="hyperkeras")
class SparseGraphTransform(GraphLayer):
    r"""Maps a graph to another one on the same nodes: each edge moves, and takes a new value.

    .. math::
        A'_{st} = \sum_{(i, j)} \sum_k v_{ijk}\, q\big((s, t) \mid (i, j), k\big)

    The sparse adaptive hyperlayer, with the adjacency matrix for input and for output, neither of
    them ever dense: there are k continuous tuples for each edge. Indices of nodes have no metric
    order, so each node gets positions instead, and a small network of an edge's two nodes gives
    where its ends move, how far they are spread, and the value:

    .. math::
        p_j = \mathrm{sigmoid}(x_j P), \quad
        (\Delta_s, \Delta_t, \hat\sigma, \hat v) = \tanh(x_i S + x_j T + c)\, H + d, \\
        \mu = \mathrm{sigmoid}(x_i P + \Delta_s,\; x_j P + \Delta_t), \qquad
        v = a_{ij} (1 + \hat v)

    In training the candidates (s, t) of a tuple are the edge itself, the four pairs of nodes next
    to its means in the order of their positions, and drawn ones; they share its value by their
    Gaussian density. At inference each end is rounded to the nearest node, the edge's own first
    among equals, and carries the value: with Δ = 0 the graph stays what it is.

    Permuted nodes give the same graph, permuted (where nodes have the same position, and an end
    means another node than its own, any of them may be chosen). Time and memory are linear in nodes
    and edges, but for a sort of the nodes.

    Args:
        num_tuples: Integer k ≥ 1, tuples an edge.
        hidden_units: Integer, the small network's.
        output: `"edges"`, or `"nodes"` for the product of the new adjacency with `x`.
        sigma_scale: Float ≥ 0. Factor on all variances; positions lie in [0, 1].
        global_samples: Integer ≥ 0, pairs a tuple drawn from its whole graph.
        local_samples: Integer ≥ 0, pairs a tuple drawn near its means.
        region: Integer: the window of the latter, in places, or None for the whole graph.
        seed: Integer, or None for a random one.

    Call arguments:
        x, edges, node_graph, edge_values, mask: As of `SparseGraphConv`; edge values are a.
        training: Boolean, whether tuples are shared among candidates.

    Output shape:
        With `"edges"`: edges `[e k c, 2]` and values `[e k c]`, for c = 5 + samples candidates in
        training and c = 1 at inference, those of an edge together. An edge that occurs more than
        once counts with the sum of its values. In a batch `[b, e k c, 2]` and `[b, e k c]`;
        padding stays −1, with value 0. With `"nodes"`, the shape of `x`.

    Parameters: f k + 2 f h + h + 4 k (h + 1) for h hidden units.

    Example:

    ```python
    layer = hyperkeras.layers.SparseGraphTransform()
    x, edges = keras.random.normal((4, 3)), keras.ops.array([[0, 1], [1, 2], [2, 0]])
    moved, values = layer(x, edges)  # shapes (3, 2) and (3,)
    y = hyperkeras.layers.SparseGraphConv(16)(x, moved, edge_values=values)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184), and its draft of 2017
    """

    def __init__(
        self,
        num_tuples=1,
        hidden_units=16,
        output="edges",
        sigma_scale=0.02,
        global_samples=0,
        local_samples=0,
        region=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(sigma_scale, global_samples, local_samples, region, seed, **kwargs)
        self.num_tuples = check_int("num_tuples", num_tuples, 1)
        self.hidden_units = check_int("hidden_units", hidden_units, 1)
        if output not in ("edges", "nodes"):
            raise ValueError(
                "Received an invalid value for `output`, expected 'edges' or 'nodes'. "
                f"Received: output={output!r}"
            )
        self.output_kind = output

    def build(self, x_shape, edges_shape=None, node_graph_shape=None, edge_values_shape=None):
        f, k, h = self.features(x_shape), self.num_tuples, self.hidden_units
        small = keras.initializers.VarianceScaling(0.1, "fan_in")
        self.position_kernel = self.add_float32_weight("position_kernel", (f, k), "glorot_uniform")
        self.ends_kernel = self.add_float32_weight("ends_kernel", (f, 2 * h), "glorot_uniform")
        self.hidden_bias = self.add_float32_weight("hidden_bias", (h,), "zeros")
        self.head_kernel = self.add_float32_weight("head_kernel", (h, 4 * k), small)
        self.head_bias = self.add_float32_weight("head_bias", (4 * k,), "zeros")

    def call(self, x, edges, node_graph=None, edge_values=None, mask=None, training=False):
        given = x
        x, edges, node_graph, edge_values = self.union(x, edges, node_graph, edge_values, mask)
        high = ops.cast(x, self.variable_dtype)
        logits = ops.matmul(high, self.position_kernel)  # [n, k]
        positions, means, sigmas, values = self._tuples(high, logits, edges)
        if edge_values is not None:
            values = values * edge_values[:, None]
        columns, proportions = self._wire(edges, node_graph, positions, means, sigmas, training)
        if proportions is not None:
            values = proportions * values  # [c, e, k]
        if self.output_kind == "nodes":
            return self.split(ops.cast(_product(columns, values, high), self.compute_dtype), given)
        moved = ops.reshape(_edges_first(ops.stack(columns, axis=-1)), (-1, 2))
        values = ops.reshape(_edges_first(values), (-1,))
        values = ops.cast(values, self.compute_dtype)
        return (moved, values) if len(given.shape) == 2 else _rows(moved, values, given)

    def _tuples(self, x, logits, edges):
        """Positions `[n, k]`; means of both ends, variances and values `[e, k]`."""
        i, j = edges[:, 0], edges[:, 1]
        sent, received = ops.split(ops.matmul(x, self.ends_kernel), 2, axis=-1)  # [n, h]
        hidden = ops.take(sent, i, axis=0) + ops.take(received, j, axis=0) + self.hidden_bias
        raw = ops.matmul(ops.tanh(hidden), self.head_kernel) + self.head_bias
        *shifts, sigmas, values = ops.split(raw, 4, axis=-1)
        means = [
            ops.sigmoid(ops.take(logits, end, axis=0) + shift)
            for end, shift in zip((i, j), shifts, strict=True)
        ]
        return ops.sigmoid(logits), means, self.variances(sigmas), 1 + values

    def _wire(self, edges, node_graph, positions, means, sigmas, training):
        """The candidates' nodes, two times `[c, e, k]`, and their shares, or None for c = 1."""
        graph = ops.take(node_graph, edges[:, 0], axis=0)
        samples = (self.global_samples, self.local_samples) if training else (0, 0)
        own, near = [], []
        for end, mean in zip((edges[:, 0], edges[:, 1]), means, strict=True):
            own.append(ops.broadcast_to(end[:, None], ops.shape(mean))[None])
            near.append(
                candidate_nodes(
                    positions, mean, node_graph, graph, *samples, self.region, self.seed_generator
                )
            )
        if not training:
            columns = [
                nearest_candidates(ops.concatenate([one, both], axis=0), positions, mean)
                for one, both, mean in zip(own, near, means, strict=True)
            ]
            return [column[None] for column in columns], None
        sources, targets = near
        corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
        columns = [
            ops.concatenate([own[0], *(sources[a : a + 1] for a, _ in corners), sources[2:]], 0),
            ops.concatenate([own[1], *(targets[b : b + 1] for _, b in corners), targets[2:]], 0),
        ]
        return columns, candidate_proportions(columns, positions, means, sigmas)

    def compute_output_shape(self, x_shape, *args, **kwargs):
        if self.output_kind == "nodes":
            return tuple(x_shape)
        return (*x_shape[:-2], None, 2), (*x_shape[:-2], None)

    def compute_output_spec(self, x, *args, **kwargs):
        shape = self.compute_output_shape(x.shape)
        if self.output_kind == "nodes":
            return keras.KerasTensor(shape, dtype=self.compute_dtype)
        edges, values = shape
        return keras.KerasTensor(edges, "int32"), keras.KerasTensor(values, self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_tuples": self.num_tuples,
            "hidden_units": self.hidden_units,
            "output": self.output_kind,
        }


def _product(columns, values, x):
    """The new adjacency times x, a candidate at a time: messages `[c, e, k, f]` are never held."""
    y = 0.0
    for c in range(columns[0].shape[0]):
        edges = ops.stack([ops.reshape(column[c], (-1,)) for column in columns], axis=-1)
        weights = values if len(values.shape) == 2 else values[c]
        y = y + propagate(edges, ops.reshape(weights, (-1,)), x)
    return y


def _edges_first(x):
    """[c, e, k, ...] as [e, k, c, ...]; a tensor [e, k] stays."""
    if len(x.shape) == 2:
        return x
    return ops.transpose(x, (1, 2, 0, *range(3, len(x.shape))))


def _rows(edges, values, x):
    """Edges of the union `[b e', 2]` with values, as rows of the batch, padding as −1."""
    b, n, _ = ops.shape(x)
    padded = edges[:, :1] == b * n
    values = ops.reshape(ops.where(padded[:, 0], 0, values), (b, -1))
    first = n * ops.arange(b, dtype="int32")[:, None, None]
    rows = ops.reshape(edges, (b, -1, 2)) - first
    return ops.where(ops.reshape(padded, (b, -1, 1)), -1, rows), values
