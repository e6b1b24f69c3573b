"""The graph layers' part of the task `speed`: a random graph of n nodes and 10 n edges.

* `graph_conv`: a `SparseGraphConv` with two learned neighbors in the neighborhood and one in the
  whole graph, against a GCN layer;
* `graph_transform`: a `SparseGraphTransform` of every edge, times the node features, against the
  same.
"""

import numpy as np

MODELS = ("graph_conv", "graph_transform")
SIZES = {
    "smoke": (20,),
    "quick": (1000, 10000, 100000),
    "full": (10000, 100000, 300000, 1000000),
}


def configurations(preset, repeats):
    many = 100000  # nodes, from which on a step takes many seconds
    return [
        dict(size=n, edges=10 * n, features=8, repeats=repeats if n < many else min(repeats, 3))
        for n in SIZES[preset]
    ]


def build(model, contender, config):
    """Forward and backward, in training, as a function without arguments."""
    import tensorflow as tf

    from baselines.graph_networks import GCNConv
    from hyperkeras import layers

    n, f, rng = config["size"], config["features"], np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(n, f)).astype("float32"))
    edges = tf.constant(rng.integers(0, n, (config["edges"], 2), "int32"))
    options = dict(training=True)
    if contender == "other":
        layer, options = GCNConv(f), {}
    elif model == "graph_conv":
        layer = layers.SparseGraphConv(f, 2, 1, global_samples=1, local_samples=1, region=16)
    else:
        layer = layers.SparseGraphTransform(1, f, "nodes")
    layer.build(x.shape)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(layer(x, edges, **options) ** 2)
        return loss, tape.gradient(loss, layer.trainable_variables)

    return lambda: step()[0].numpy()
