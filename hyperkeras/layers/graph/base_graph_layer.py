"""Base class of the layers on graphs."""

from typing import Any, Unpack

import keras
from keras import ops

from hyperkeras.annotations import Config, Initializer, LayerArguments, Shape, Tensor
from hyperkeras.keras_internals import is_exporting, mask_of
from hyperkeras.ops.argument_validation import (
    check_int,
    check_int_or_none,
    check_number,
    concrete_or_none,
)
from hyperkeras.ops.graph.message_passing import disjoint_union
from hyperkeras.ops.sparse.index_space import scale_sigmas


class GraphLayer(keras.layers.Layer):
    """Base class of the layers whose index tuples are pairs of nodes with learned positions.

    They read edge lists: of one graph, of a disjoint union of graphs, or of a batch of graphs.

    Args:
        sigma_scale: Float ≥ 0, factor on all variances, between positions in [0, 1].
        global_samples: Integer ≥ 0, how many nodes are drawn from the whole graph for each tuple
            in training (default 0).
        local_samples: Integer ≥ 0, how many nodes are drawn from a window around each tuple in
            training (default 0).
        region: Integer, how many places wide the window is. None (default) for the whole graph.
        seed: Integer, the seed of the draws. None (default) for a random one.
    """

    def __init__(
        self,
        sigma_scale: float,
        global_samples: int = 0,
        local_samples: int = 0,
        region: int | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.sigma_scale = check_number("sigma_scale", sigma_scale, 0)
        self.global_samples = check_int("global_samples", global_samples, 0)
        self.local_samples = check_int("local_samples", local_samples, 0)
        self.region = check_int_or_none("region", region, 1)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def add_float32_weight(
        self, name: str, shape: tuple[int, ...], initializer: Initializer
    ) -> Tensor:
        """A weight that half precision doesn't reach: it could not tell positions apart."""
        return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False)

    def features(self, x_shape: Shape) -> int:
        """The number of a node's features, checked."""
        if len(x_shape) not in (2, 3) or x_shape[-1] is None:
            raise ValueError(
                f"Expected `x` of layer '{self.name}' to be node features [n, f], or of a batch of "
                f"graphs [b, n, f], with f known. Received: shape {tuple(x_shape)}"
            )
        return x_shape[-1]

    def variances(self, raw: Tensor) -> Tensor:
        """Raw sigmas as variances, between positions in [0, 1]."""
        return scale_sigmas(raw, (1,))[..., 0] * self.sigma_scale

    def union(
        self,
        x: Tensor,
        edges: Tensor,
        node_graph: Tensor | None,
        edge_values: Tensor | None,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """One graph of all: features [n, f], edges [e, 2], graphs [n] or None, values [e]."""
        mask = mask_of(x) if mask is None else mask
        x = ops.cast(ops.convert_to_tensor(x, sparse=False), self.variable_dtype)
        if hasattr(edges, "dense_shape"):  # a tf.SparseTensor is an edge list with values
            edges, edge_values = edges.indices, edges.values
        edges = ops.cast(edges, "int32")
        self._check(x, edges, node_graph, edge_values, mask)
        if len(x.shape) == 3 and len(edges.shape) == 2:  # one graph with a batch of signals
            edges = _for_each_signal(edges, x)
            edge_values = None if edge_values is None else _for_each_signal(edge_values, x)
        if edge_values is not None:
            edge_values = ops.reshape(ops.cast(edge_values, self.variable_dtype), (-1,))
        if len(x.shape) == 3:
            x, edges, node_graph = disjoint_union(x, edges, mask)
        node_graph = None if node_graph is None else ops.cast(node_graph, "int32")
        return x, edges, node_graph, edge_values

    def split(self, y: Tensor, like: Tensor) -> Tensor:
        """Node features of the union, in rows as the batch `like` has them."""
        if len(like.shape) == 2:
            return y
        b, n, _ = ops.shape(like)
        return ops.reshape(y[:-1], (b, n, y.shape[-1]))

    def _check(
        self,
        x: Tensor,
        edges: Tensor,
        node_graph: Tensor | None,
        edge_values: Tensor | None,
        mask: Tensor | None,
    ) -> None:
        shapes = {"x": x.shape, "edges": edges.shape}
        rank, edge_rank = len(x.shape), len(edges.shape)
        fits = (rank, edge_rank) in ((2, 2), (3, 3), (3, 2)) and edges.shape[-1] == 2
        for name, value, expected in (
            ("node_graph", node_graph, 1),
            ("edge_values", edge_values, edge_rank - 1),
            ("mask", mask, 2),
        ):
            if value is not None:
                shapes[name] = value.shape
                fits = fits and len(value.shape) == expected
        if (rank == 3 and node_graph is not None) or (rank == 2 and mask is not None):
            fits = False
        if not fits:
            told = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
            raise ValueError(
                f"Expected the arguments of layer '{self.name}' to be `x` [n, f], `edges` [e, 2], "
                "and if given `node_graph` [n] and `edge_values` [e]; or a batch of graphs, `x` "
                "[b, n, f], `edges` [b, e, 2] or [e, 2] for all, and if given `edge_values` [b, e] "
                f"or [e] likewise and a mask [b, n]. Received: shapes {told}"
            )
        _check_ends(x, edges)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "sigma_scale": self.sigma_scale,
            "global_samples": self.global_samples,
            "local_samples": self.local_samples,
            "region": self.region,
            "seed": self.seed,
        }


def _for_each_signal(edges: Tensor, x: Tensor) -> Tensor:
    """Edges `[e, ...]` of one graph, once for each of the signals `x` [b, n, f]."""
    return ops.broadcast_to(edges, (ops.shape(x)[0], *ops.shape(edges)))


def _check_ends(x: Any, edges: Any) -> None:
    """Ends of edges must be nodes, where they can be seen; −1 pads a batch."""
    ends = None if is_exporting() else concrete_or_none(edges)
    if ends is None:
        return
    n, least = x.shape[-2], -1 if len(x.shape) == 3 else 0
    wrong = ends[(ends < least) | (ends >= n)]
    if wrong.size:
        raise ValueError(
            f"Expected the `edges` to be pairs of nodes from 0 to {n - 1}"
            f"{', or −1 for padding' if least else ''}. Received: {wrong[0]}"
        )
