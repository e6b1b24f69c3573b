"""The sparse matrix product on `tf.sparse`, with its own gradient."""

import tensorflow as tf

STRIP = 24  # columns; from 32 on, TensorFlow's CPU kernel takes a path three times slower
STRIPS = 8  # where the number of columns is not known when the graph is made


def sparse_matmul(rows, cols, values, x, num_rows):
    """The matrix of `values` [n] at (`rows`, `cols`) [n], times `x` [m, q]: `[num_rows, q]`.

    TensorFlow's own gradient for the values takes n products of two vectors as a batched matrix
    product; summing the product of the gathered rows is several times faster.
    """
    rows, cols = tf.cast(rows, tf.int64), tf.cast(cols, tf.int64)
    indices = tf.stack([rows, cols], axis=1)
    shape = tf.cast(tf.stack([num_rows, tf.shape(x)[0]]), tf.int64)

    @tf.custom_gradient
    def product(values, x):
        matrix = tf.SparseTensor(indices, values, shape)

        def grad(dy):
            dvalues = tf.reduce_sum(tf.gather(dy, rows) * tf.gather(x, cols), axis=1)
            return dvalues, _by_strips(matrix, dy, adjoint_a=True)

        return _by_strips(matrix, x), grad

    return product(values, x)


def _by_strips(matrix, x, adjoint_a=False):
    """`tf.sparse.sparse_dense_matmul`, some columns at a time."""
    q = x.shape[1]
    strips = STRIPS if q is None else -(-q // STRIP)
    if strips == 1:
        return tf.sparse.sparse_dense_matmul(matrix, x, adjoint_a=adjoint_a)
    q = tf.shape(x)[1] if q is None else q
    cuts = [q * i // strips for i in range(strips + 1)]
    products = [
        tf.sparse.sparse_dense_matmul(matrix, x[:, a:b], adjoint_a=adjoint_a)
        for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    return tf.concat(products, axis=1)


def compiles_with_xla():
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
