"""The sparse matrix product on `tf.sparse`, with its own gradient."""

import itertools

import tensorflow as tf

from hyperkeras.annotations import Tensor

STRIP = 24  # columns; from 32 on, TensorFlow's CPU kernel takes a path three times slower
STRIPS = 8  # where the graph is made without knowing how many columns there are


def sparse_matmul(indices: Tensor, values: Tensor, x: Tensor, num_rows: int) -> Tensor:
    """`x` [q, m] times the transpose of the matrix of `values` [n] at `indices` [n, 2].

    Returns `[q, num_rows]`. The vectors of `x` are taken in strips, which run beside each other.
    TensorFlow's own gradient for the values takes n products of two vectors as a batched matrix
    product; summing the product of the gathered rows is several times faster.
    """
    indices = tf.cast(indices, tf.int64)
    shape = tf.cast(tf.stack([num_rows, tf.shape(x)[1]]), tf.int64)
    q = x.shape[0]
    strips = STRIPS if q is None else max(1, -(-q // STRIP))
    q = tf.shape(x)[0] if q is None else q
    cuts = [q * i // strips for i in range(strips + 1)]

    @tf.custom_gradient
    def product(values, x):
        matrix, columns = tf.SparseTensor(indices, values, shape), tf.transpose(x)  # [m, q]

        def multiply(columns, adjoint_a=False):
            products = (
                tf.sparse.sparse_dense_matmul(matrix, columns[:, a:b], adjoint_a)
                for a, b in itertools.pairwise(cuts)
            )
            return tf.concat([tf.transpose(y) for y in products], axis=0)

        def grad(dy):
            dy = tf.transpose(dy)  # [num_rows, q]
            pairs = tf.gather(dy, indices[:, 0]) * tf.gather(columns, indices[:, 1])  # [n, q]
            return tf.reduce_sum(pairs, axis=1), multiply(dy, adjoint_a=True)

        return multiply(columns), grad

    return product(values, x)


def compiles_with_xla() -> bool:
    """Whether the graph being traced is compiled by XLA, which has no sparse kernels."""
    if tf.executing_eagerly():
        return False
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = graph._get_control_flow_context()
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False
