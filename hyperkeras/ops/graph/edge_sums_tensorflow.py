"""Sums over edges on a processor, by the sparse matrix product.

TensorFlow sums segments of rows several times more slowly than it multiplies by a sparse matrix,
which also holds no messages. Each gradient is another of these functions, to any order.
"""

from typing import Any

import tensorflow as tf

from hyperkeras.ops.sparse.contraction_tensorflow import compiles_with_xla

STRIP = 24  # columns; from 32 on, TensorFlow's CPU kernel takes a path three times slower
FEW = 4  # columns, up to which it is quicker to sum each by itself


def suits(x: tf.Tensor) -> bool:
    """Whether these functions run on numbers like those of `x`, and are faster."""
    known = x.dtype in (tf.float32, tf.float64) and x.shape[-1] is not None
    return known and not (compiles_with_xla() or tf.config.list_logical_devices("GPU"))


def take(x: tf.Tensor, nodes: tf.Tensor) -> tf.Tensor:
    """Rows of `x` `[n, f]` at nodes `[e]`, or numbers of `[n]` at nodes of any shape."""

    @tf.custom_gradient
    def taken(x):
        return tf.gather(x, nodes), lambda upstream: sum_at(nodes, upstream, tf.shape(x)[0])

    return taken(x)


def sum_at(nodes: tf.Tensor, messages: tf.Tensor, n: Any) -> tf.Tensor:
    """Sums of messages `[e, f]` at each of n nodes `[n, f]`; or of numbers, as many as nodes."""

    @tf.custom_gradient
    def summed(messages):
        return _sums(nodes, messages, n), lambda upstream: take(upstream, nodes)

    return summed(messages)


def _sums(nodes, messages, n):
    if len(messages.shape) == len(nodes.shape):
        return tf.math.unsorted_segment_sum(messages, nodes, n)
    if messages.shape[1] <= FEW:
        columns = tf.unstack(messages, axis=1)
        return tf.stack([tf.math.unsorted_segment_sum(a, nodes, n) for a in columns], axis=1)
    places = tf.range(tf.shape(nodes, out_type=nodes.dtype)[0])
    ones = tf.ones_like(messages[:, 0])
    return _multiply(tf.stack([nodes, places], axis=1), ones, messages, n, False)


def max_at(nodes: tf.Tensor, messages: tf.Tensor, n: Any) -> tf.Tensor:
    """The largest of messages `[e, k]` at each of n nodes: `[n, k]`."""
    columns = tf.unstack(messages, axis=1)
    return tf.stack([tf.math.unsorted_segment_max(a, nodes, n) for a in columns], axis=1)


def propagate(
    edges: tf.Tensor, values: tf.Tensor, x: tf.Tensor, n: Any, backward: bool = False
) -> tf.Tensor:
    """Sums at each of n nodes i over edges (i, j), or j backward, of values times rows of `x`."""

    @tf.custom_gradient
    def product(values, x):
        def grad(dy):
            ends = (x, dy) if backward else (dy, x)
            return products(edges, *ends), propagate(
                edges, values, dy, tf.shape(x)[0], not backward
            )

        return _multiply(edges, values, x, n, backward), grad

    return product(values, x)


def products(edges: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Products of row i of `a` with row j of `b` for each edge (i, j): `[e]`."""

    @tf.custom_gradient
    def product(a, b):
        def grad(upstream):
            da = propagate(edges, upstream, b, tf.shape(a)[0])
            return da, propagate(edges, upstream, a, tf.shape(b)[0], backward=True)

        pairs = tf.gather(a, edges[:, 0]) * tf.gather(b, edges[:, 1])
        return tf.reduce_sum(pairs, axis=-1), grad

    return product(a, b)


def _multiply(edges, values, x, n, backward):
    """The matrix of `values` at `edges`, or its transpose, times `x`: `[n, f]`."""
    sides = [tf.shape(x)[0], n] if backward else [n, tf.shape(x)[0]]
    shape = tf.cast(tf.stack(sides), tf.int64)
    matrix, f = tf.SparseTensor(tf.cast(edges, tf.int64), values, shape), x.shape[1]
    strips = [x[:, a : a + STRIP] for a in range(0, f, STRIP)] if f > STRIP else [x]
    y = [tf.sparse.sparse_dense_matmul(matrix, strip, adjoint_a=backward) for strip in strips]
    return y[0] if len(y) == 1 else tf.concat(y, axis=1)
