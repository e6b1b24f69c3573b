"""A transformation of graphs into graphs whose wiring is learned."""

from typing import Any, Unpack

import keras
from keras import ops

from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.keras_internals import is_exporting
from hyperkeras.layers.graph.base_graph_layer import GraphLayer
from hyperkeras.ops.argument_validation import check_choice, check_int
from hyperkeras.ops.graph.candidates import (
    at_nodes,
    candidate_nodes,
    nearest_candidates,
    proportions_at,
)
from hyperkeras.ops.graph.edge_sums import take
from hyperkeras.ops.graph.message_passing import exportable_propagate, propagate, propagate_pairs

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # each end below its mean or above


@keras.saving.register_keras_serializable(package="hyperkeras")
class SparseGraphTransform(GraphLayer):
    r"""Maps a graph to another graph on the same nodes: each edge moves, and gets a new value.

    .. math::
        A'_{st} = \sum_{(i, j)} \sum_k v_{ijk}\, q\big((s, t) \mid (i, j), k\big)

    This is the sparse adaptive hyperlayer with the adjacency matrix as its input and output. The
    matrices are never dense: there are k continuous tuples for each edge. Indices of nodes have no
    metric order, so each node gets positions instead. A small network of the two nodes of an edge
    gives where its ends move, their variance, and the value:

    .. math::
        p_j = \mathrm{sigmoid}(x_j P), \quad
        (\Delta_s, \Delta_t, \hat\sigma, \hat v) = \tanh(x_i S + x_j T + c)\, H + d, \\
        \mu = \mathrm{sigmoid}(x_i P + \Delta_s,\; x_j P + \Delta_t), \qquad
        v = a_{ij} (1 + \hat v)

    In training the candidates (s, t) of a tuple are the edge itself, the four pairs of nodes next
    to its means in the order of their positions, and drawn ones. Its value is divided among them in
    proportion to their Gaussian density. At inference each end is rounded to the nearest node,
    first of all the edge's own, and has the whole value. With Δ = 0 the graph stays what it is.

    Permuted nodes give the same graph, permuted. (Where nodes have the same position, and an end
    stands for another node than its own, any of them may be chosen.) Time and memory are linear in
    nodes and edges, except for a sort of the nodes.

    Args:
        num_tuples: Integer k ≥ 1, how many tuples an edge has (default 1).
        hidden_units: Integer, the width of the small network (default 16).
        output: `"edges"` (default), or `"nodes"` for the product of the new adjacency with `x`.
        sigma_scale: Float ≥ 0, factor on all variances, between positions in [0, 1]
            (default 0.02).
        global_samples: Integer ≥ 0, how many pairs are drawn from the whole graph for each tuple
            (default 0).
        local_samples: Integer ≥ 0, how many pairs are drawn near the means of each tuple
            (default 0).
        region: Integer, the width of the window that local samples are drawn from, in places. None
            (default) for the whole graph.
        seed: Integer, the seed of the draws. None (default) for a random one.

    Call arguments:
        x, edges, node_graph, edge_values, mask: See `SparseGraphConv`. Edge values are a.
        training: Boolean, whether a tuple is divided among candidates (default `False`).

    Output shape:
        With `"edges"`: edges `[e k c, 2]` and values `[e k c]`, for c = 5 + samples candidates in
        training and c = 1 at inference, those of an edge together. An edge that occurs more than
        once counts with the sum of its values. In a batch `[b, e k c, 2]` and `[b, e k c]`, where
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
        num_tuples: int = 1,
        hidden_units: int = 16,
        output: str = "edges",
        sigma_scale: float = 0.02,
        global_samples: int = 0,
        local_samples: int = 0,
        region: int | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(sigma_scale, global_samples, local_samples, region, seed, **kwargs)
        self.num_tuples = check_int("num_tuples", num_tuples, 1)
        self.hidden_units = check_int("hidden_units", hidden_units, 1)
        self.output_kind = check_choice("output", output, ("edges", "nodes"))

    def build(
        self,
        x_shape: Shape,
        edges_shape: Shape | None = None,
        node_graph_shape: Shape | None = None,
        edge_values_shape: Shape | None = None,
    ) -> None:
        f, k, h = self.features(x_shape), self.num_tuples, self.hidden_units
        small = keras.initializers.VarianceScaling(0.1, "fan_in")
        self.position_kernel = self.add_float32_weight("position_kernel", (f, k), "glorot_uniform")
        self.ends_kernel = self.add_float32_weight("ends_kernel", (f, 2 * h), "glorot_uniform")
        self.hidden_bias = self.add_float32_weight("hidden_bias", (h,), "zeros")
        self.head_kernel = self.add_float32_weight("head_kernel", (h, 4 * k), small)
        self.head_bias = self.add_float32_weight("head_bias", (4 * k,), "zeros")

    def call(
        self,
        x: Tensor,
        edges: Tensor,
        node_graph: Tensor | None = None,
        edge_values: Tensor | None = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Any:
        given = x
        x, edges, node_graph, edge_values = self.union(x, edges, node_graph, edge_values, mask)
        high = ops.cast(x, self.variable_dtype)
        logits = ops.matmul(high, self.position_kernel)  # [n, k]
        positions, means, sigmas, values = self._tuples(high, logits, edges)
        if edge_values is not None:
            values = values * edge_values[:, None]
        pairs, proportions = self._wire(edges, node_graph, positions, means, sigmas, training)
        parts = [values] if proportions is None else [q * values for q in proportions]
        if self.output_kind == "nodes":
            return self.split(ops.cast(_product(pairs, parts, high), self.compute_dtype), given)
        ends = [ops.stack(pair, axis=-1) for pair in pairs]  # [e, k, 2]
        moved = ops.reshape(ops.stack(ends, axis=2), (-1, 2))
        values = ops.cast(ops.reshape(ops.stack(parts, axis=-1), (-1,)), self.compute_dtype)
        return (moved, values) if len(given.shape) == 2 else _rows(moved, values, given)

    def _tuples(self, x, logits, edges):
        """Positions `[n, k]`; means of both ends, variances and values `[e, k]`."""
        i, j = edges[:, 0], edges[:, 1]
        sent, received = ops.split(ops.matmul(x, self.ends_kernel), 2, axis=-1)  # [n, h]
        hidden = take(sent, i) + take(received, j) + self.hidden_bias
        raw = ops.matmul(ops.tanh(hidden), self.head_kernel) + self.head_bias
        *shifts, sigmas, values = ops.split(raw, 4, axis=-1)
        means = [
            ops.sigmoid(take(logits, end) + shift)
            for end, shift in zip((i, j), shifts, strict=True)
        ]
        return ops.sigmoid(logits), means, self.variances(sigmas), 1 + values

    def _wire(self, edges, node_graph, positions, means, sigmas, training):
        """The candidates, c pairs of nodes `[e, k]`, and their proportions, or None for c = 1."""
        graph = None if node_graph is None else ops.take(node_graph, edges[:, 0], axis=0)
        samples = (self.global_samples, self.local_samples) if training else (0, 0)
        own, near = [], []
        for end, mean in zip((edges[:, 0], edges[:, 1]), means, strict=True):
            own.append(ops.broadcast_to(end[:, None], ops.shape(mean))[None])
            near.append(
                candidate_nodes(
                    positions, mean, node_graph, graph, *samples, self.region, self.seed_generator
                )
            )
        ends = [ops.concatenate(nodes, axis=0) for nodes in zip(own, near, strict=True)]
        if not training:
            nearest = [
                nearest_candidates(nodes, positions, mean)
                for nodes, mean in zip(ends, means, strict=True)
            ]
            return [tuple(nearest)], None
        squares = [
            ops.square(at_nodes(positions, nodes) - mean)
            for nodes, mean in zip(ends, means, strict=True)
        ]
        pairs, distances = _pairs(ends), [a + b for a, b in _pairs(squares)]
        return pairs, proportions_at(pairs, distances, sigmas)

    def compute_output_shape(self, x_shape: Shape, *args: Any, **kwargs: Any) -> Any:
        if self.output_kind == "nodes":
            return tuple(x_shape)
        return (*x_shape[:-2], None, 2), (*x_shape[:-2], None)

    def compute_output_spec(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        shape = self.compute_output_shape(x.shape)
        if self.output_kind == "nodes":
            return keras.KerasTensor(shape, dtype=self.compute_dtype)
        edges, values = shape
        return keras.KerasTensor(edges, "int32"), keras.KerasTensor(values, self.compute_dtype)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_tuples": self.num_tuples,
            "hidden_units": self.hidden_units,
            "output": self.output_kind,
        }


def _pairs(ends):
    """For each candidate what belongs to its two ends, from two times `[3 + samples, e, k]`.

    The edge itself, its corners, and what is drawn.
    """
    s, t = (ops.unstack(end) for end in ends)
    corners = [(s[1 + a], t[1 + b]) for a, b in CORNERS]
    return [(s[0], t[0]), *corners, *zip(s[3:], t[3:], strict=True)]


def _product(pairs, values, x):
    """The new adjacency times x, few candidates at a time: not all messages are held at once."""
    pairs = [[ops.reshape(end, (-1,)) for end in pair] for pair in pairs]
    values = [ops.reshape(w, (-1,)) for w in values]
    product = exportable_propagate if is_exporting() else propagate
    y: Tensor = 0.0
    if len(pairs) > len(CORNERS) and not is_exporting():  # which share their ends
        sources, targets = (pairs[1][0], pairs[3][0]), (pairs[1][1], pairs[2][1])
        y = propagate_pairs(sources, targets, (values[1:3], values[3:5]), x)
        pairs, values = pairs[:1] + pairs[5:], values[:1] + values[5:]
    for pair, w in zip(pairs, values, strict=True):
        y = y + product(ops.stack(pair, axis=-1), w, x)
    return y


def _rows(edges, values, x):
    """Edges of the union `[b e', 2]` with values, as rows of the batch, padding as −1."""
    b, n, _ = ops.shape(x)
    padded = edges[:, :1] == b * n
    values = ops.reshape(ops.where(padded[:, 0], 0, values), (b, -1))
    first = n * ops.arange(b, dtype="int32")[:, None, None]
    rows = ops.reshape(edges, (b, -1, 2)) - first
    return ops.where(ops.reshape(padded, (b, -1, 1)), -1, rows), values
