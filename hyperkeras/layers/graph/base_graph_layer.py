"""What layers on graphs share: edge lists of one graph, of a union of graphs, or of a batch."""

import keras
from keras import ops

from hyperkeras.ops.argument_validation import check_int, check_number, concrete_or_none
from hyperkeras.ops.graph.message_passing import disjoint_union
from hyperkeras.ops.sparse.index_space import scale_sigmas


class GraphLayer(keras.layers.Layer):
    """Base of the layers whose index tuples are pairs of nodes with learned positions.

    Args:
        sigma_scale: Float ≥ 0. Factor on all variances; positions lie in [0, 1].
        global_samples: Integer ≥ 0, nodes a tuple drawn from its whole graph in training.
        local_samples: Integer ≥ 0, nodes a tuple drawn from a window around it in training.
        region: Integer: how many places wide the window is, or None for the whole graph.
        seed: Integer, or None for a random one.
    """

    def __init__(
        self, sigma_scale, global_samples=0, local_samples=0, region=None, seed=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.sigma_scale = check_number("sigma_scale", sigma_scale, 0)
        self.global_samples = check_int("global_samples", global_samples, 0)
        self.local_samples = check_int("local_samples", local_samples, 0)
        self.region = None if region is None else check_int("region", region, 1)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def add_float32_weight(self, name, shape, initializer):
        """A weight that half precision doesn't reach: it could not tell positions apart."""
        return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False)

    def features(self, x_shape):
        """The number of a node's features, checked."""
        if len(x_shape) not in (2, 3) or x_shape[-1] is None:
            raise ValueError(
                f"Expected `x` of layer '{self.name}' to be node features [n, f], or of a batch of "
                f"graphs [b, n, f], with f known. Received: shape {tuple(x_shape)}"
            )
        return x_shape[-1]

    def variances(self, raw):
        """Raw sigmas as variances, between positions in [0, 1]."""
        return scale_sigmas(raw, (1,))[..., 0] * self.sigma_scale

    def union(self, x, edges, node_graph, edge_values, mask):
        """One graph of all: features [n, f], edges [e, 2], graphs [n], values [e] or None."""
        if hasattr(edges, "dense_shape"):  # a tf.SparseTensor is an edge list with values
            edges, edge_values = edges.indices, edges.values
        edges = ops.cast(edges, "int32")
        self._check(x, edges, node_graph, edge_values, mask)
        if edge_values is not None:
            edge_values = ops.reshape(ops.cast(edge_values, self.variable_dtype), (-1,))
        if len(x.shape) == 3:
            x, edges, node_graph = disjoint_union(x, edges, mask)
        elif node_graph is None:
            node_graph = ops.zeros_like(x[:, 0], dtype="int32")
        return x, edges, ops.cast(node_graph, "int32"), edge_values

    def split(self, y, like):
        """Node features of the union, as rows of the batch that `like` is."""
        if len(like.shape) == 2:
            return y
        b, n, _ = ops.shape(like)
        return ops.reshape(y[:-1], (b, n, y.shape[-1]))

    def _check(self, x, edges, node_graph, edge_values, mask):
        shapes = {"x": x.shape, "edges": edges.shape}
        rank = len(x.shape)
        fits = rank in (2, 3) and len(edges.shape) == rank and edges.shape[-1] == 2
        for name, value, expected in (
            ("node_graph", node_graph, 1),
            ("edge_values", edge_values, rank - 1),
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
                "[b, n, f], `edges` [b, e, 2], and if given `edge_values` [b, e] and a mask "
                f"[b, n]. Received: shapes {told}"
            )
        _check_ends(x, edges)

    def get_config(self):
        return {
            **super().get_config(),
            "sigma_scale": self.sigma_scale,
            "global_samples": self.global_samples,
            "local_samples": self.local_samples,
            "region": self.region,
            "seed": self.seed,
        }


def _check_ends(x, edges):
    """Ends of edges must be nodes, where they can be seen; −1 pads a batch."""
    ends = concrete_or_none(edges)
    if ends is None:
        return
    n, least = x.shape[-2], -1 if len(x.shape) == 3 else 0
    wrong = ends[(ends < least) | (ends >= n)]
    if wrong.size:
        raise ValueError(
            f"Expected the `edges` to be pairs of nodes from 0 to {n - 1}"
            f"{', or −1 for padding' if least else ''}. Received: {wrong[0]}"
        )
