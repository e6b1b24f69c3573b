"""Published layers on graphs: GCN (Kipf & Welling 2017), GIN (Xu et al. 2019) and 1-WL colors.

A graph is an edge list `[e, 2]` of pairs (i, j): node i reads node j, as y = A x does. Batches are
disjoint unions. Everything is summed by segments; no matrix is made.
"""

import keras
from keras import ops

from baselines.checks import check_int

MODULUS = 32749  # a prime whose products with numbers below it fit 32 bits


def gather_sum(edges, x, weights=None):
    """Σ over edges (i, j) of w_ij x_j at each i: `[n, f]`."""
    sent = ops.take(x, edges[:, 1], axis=0)
    if weights is not None:
        sent = sent * weights[:, None]
    return ops.segment_sum(sent, edges[:, 0], num_segments=ops.shape(x)[0])


def gcn_weights(edges, num_nodes, dtype="float32"):
    r"""The entries of D^-½ (A + I) D^-½, at the edges `[e]` and on the added diagonal `[n]`.

    In a directed graph rows have their own degrees, and columns theirs.
    """
    ones = ops.ones_like(edges[:, 0], dtype=dtype)
    rows, columns = (
        ops.rsqrt(1 + ops.segment_sum(ones, edges[:, end], num_segments=num_nodes))
        for end in (0, 1)
    )
    weights = ops.take(rows, edges[:, 0], axis=0) * ops.take(columns, edges[:, 1], axis=0)
    return weights, rows * columns


class GraphLayer(keras.layers.Layer):
    """What the layers called on `(x [n, f], edges [e, 2])` share."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = check_int("units", units)

    def compute_output_shape(self, x_shape, *args, **kwargs):
        return (x_shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="baselines")
class GCNConv(GraphLayer):
    r"""Y = D^-½ (A + I) D^-½ X W + b (Kipf & Welling 2017, equation 2).

    Args:
        units: Integer, features out.

    References:
        - [Kipf & Welling, 2017](https://arxiv.org/abs/1609.02907)
    """

    def build(self, x_shape, edges_shape=None):
        self.kernel = self.add_weight(name="kernel", shape=(x_shape[-1], self.units))
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, x, edges):
        h = ops.matmul(x, self.kernel)
        weights, diagonal = gcn_weights(edges, ops.shape(x)[0], h.dtype)
        return gather_sum(edges, h, weights) + h * diagonal[:, None] + self.bias


@keras.saving.register_keras_serializable(package="baselines")
class GINConv(GraphLayer):
    r"""y_i = MLP((1 + ε) x_i + Σ_j x_j), ε learned (Xu et al. 2019, equation 4.1).

    Args:
        units: Integer, features out, and the hidden ones of the MLP of two layers.

    References:
        - [Xu et al., 2019](https://arxiv.org/abs/1810.00826)
    """

    def build(self, x_shape, edges_shape=None):
        self.epsilon = self.add_weight(name="epsilon", shape=(), initializer="zeros")
        self.hidden = keras.layers.Dense(self.units, activation="relu", dtype=self.dtype_policy)
        self.out = keras.layers.Dense(self.units, dtype=self.dtype_policy)
        self.hidden.build(x_shape)
        self.out.build((None, self.units))

    def call(self, x, edges):
        return self.out(self.hidden((1 + self.epsilon) * x + gather_sum(edges, x)))


def wl_colors(edges, colors, rounds=3):
    """Colors of the Weisfeiler-Leman test, hashed: integers `[n]` below `MODULUS`.

    In each round a node's color becomes a hash of its own, of the multiset of those that it reads
    and of those that read it; sums of scrambled colors stand for multisets, so unlike colors
    may meet, rarely.

    References:
        - [Shervashidze et al., 2011](https://jmlr.org/papers/v12/shervashidze11a.html)
    """
    n = ops.shape(colors)[0]
    colors = ops.cast(colors, "int32") % MODULUS
    for _ in range(rounds):
        combined = _scramble(colors, 7919)
        for a, b, factor in ((0, 1, 15485), (1, 0, 27644)):
            sent = ops.take(_scramble(colors, factor), edges[:, b], axis=0)
            summed = ops.segment_sum(sent, edges[:, a], num_segments=n) % MODULUS
            combined = combined + _scramble(summed, factor + 1)
        colors = combined % MODULUS
    return colors


def _scramble(x, factor):
    """A number below `MODULUS` that depends on x in no simple way."""
    for shift in (1, 2, 3):
        x = ((x + factor + shift) * ((x + shift) % 31013 + 1)) % MODULUS
        x = (x * factor + shift) % MODULUS
    return x
