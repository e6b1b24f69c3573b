"""Reading the graph of a Keras model."""

import keras
import numpy as np
import pytest
from gradients import array
from keras import layers

from hyperkeras import models


def block(inputs, first):
    """Two branches that are added, created in one order or the other."""
    names = ("left", "right") if first == "left" else ("right", "left")
    made = {name: layers.Dense(4, use_bias=False, name=name) for name in names}
    for name in names:
        made[name](inputs)
    return layers.Add(name="sum")([made["left"](inputs), layers.ReLU()(made["right"](inputs))])


def test_a_small_network_by_hand():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(inputs)
    x = layers.Add(name="skip")([x, layers.DepthwiseConv2D(3, padding="same", name="depth")(x)])
    dense = layers.Dense(6, name="twice")
    x = keras.ops.tanh(dense(dense(layers.GlobalAveragePooling2D(name="pool")(x))))
    inner = keras.Sequential([layers.Dense(2, activation="softmax", name="out")], name="inner")
    graph = models.computation_graph(keras.Model(inputs, inner(x)))
    assert graph.kinds == (
        *("Input", "Conv2D/kernel", "Conv2D/bias", "relu"),
        *("DepthwiseConv2D/kernel", "DepthwiseConv2D/bias", "Add", "GlobalAveragePooling2D"),
        *("Dense/kernel", "Dense/bias", "Repeated", "tanh"),
        *("Dense/kernel", "Dense/bias", "softmax"),
    )
    assert graph.layers[1:9] == ("stem",) * 3 + ("depth",) * 2 + ("skip", "pool", "twice")
    chain = [(u, u + 1) for u in range(14)]
    assert sorted(graph.edges) == sorted([*chain, (3, 6)])
    sizes = graph.sizes()
    assert sizes[[1, 4, 8, 9, 6]].tolist() == [
        [3, 3, 3, 6],
        [3, 3, 6, 1],
        [1, 1, 6, 6],
        [1, 1, 1, 6],
        [0, 0, 0, 0],
    ]


def test_shortest_paths_count_edges_up_to_a_limit():
    inputs = keras.Input((4,))
    x = layers.Dense(4, use_bias=False)(inputs)
    graph = models.computation_graph(keras.Model(inputs, layers.Add()([inputs, x])))
    # 0 → 1 → 2, and 0 → 2.
    np.testing.assert_array_equal(graph.distances(), [[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    chain = keras.Sequential([inputs, *(layers.Dense(4, use_bias=False) for _ in range(3))])
    lengths = models.computation_graph(chain).distances(2)
    np.testing.assert_array_equal(lengths[0], [0, 1, 2, 0])


def test_weights_that_select_leaves_out_are_no_nodes():
    network = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(2)])
    graph = models.computation_graph(network, lambda v: v.name == "kernel")
    assert graph.kinds == ("Input", "Dense/kernel", "Dense/kernel")
    assert graph.weights[1] is network.layers[0].kernel


def test_layers_inside_a_layer_are_a_chain_of_their_weights():
    inputs = keras.Input((5, 4))
    attention = layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)
    graph = models.computation_graph(keras.Model(inputs, attention))
    assert graph.kinds[1:] == ("EinsumDense/kernel", "EinsumDense/bias") * 4
    assert graph.edges == tuple((u, u + 1) for u in range(8))


def test_a_subclassed_model_is_refused_by_name():
    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="mine")
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    net = Net()
    net(np.ones((1, 3)))
    with pytest.raises(ValueError, match="subclassed model computes. Received: 'mine'"):
        models.computation_graph(net)
    with pytest.raises(ValueError, match="Received an invalid value for `model`"):
        models.computation_graph(keras.Sequential([layers.Dense(2)]))


def test_the_order_in_which_layers_are_made_changes_nothing():
    inputs = keras.Input((4,))
    ghn = models.GraphHypernetwork(units=8, seed=0)
    made = []
    for first in ("left", "right"):
        network = keras.Model(inputs, block(inputs, first))
        graph = models.computation_graph(network)
        order = [weight.path.split("/")[-2] for weight in graph.weights if weight is not None]
        made.append(dict(zip(order, ghn.generate(network), strict=True)))
    for name in ("left", "right"):
        np.testing.assert_allclose(array(made[0][name]), array(made[1][name]), atol=1e-6)
