"""Rounds of messages on graphs, and layers whose matrices are generated."""

import numpy as np

from baselines.graph_networks import GINConv
from reproductions.networks import graph_rounds

EDGES = np.array([[0, 1], [1, 2], [3, 0], [3, 2], [2, 2]], "int32")
X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


class Keep:
    """A cell without memory: its new state is its input."""

    units, state_size = 2, [2, 1]

    def __call__(self, inputs, states):
        return inputs, [inputs, states[1]]


def test_rounds_add_what_is_sent_both_ways():
    rounds = graph_rounds.GatedRounds(Keep(), 3, ways=2)
    found = rounds(X, [EDGES, EDGES[:, ::-1]])
    a = np.zeros((4, 4))
    a[tuple(EDGES.T)] = 1
    kernel, bias = (np.array(w, "float64") for w in rounds.start.weights)
    there, back = (np.array(send.kernel, "float64") for send in rounds.send)
    h = X @ kernel + bias
    for state in found:
        h = a @ h @ there + a.T @ h @ back
        np.testing.assert_allclose(state, h, rtol=1e-4, atol=1e-5)


def test_a_generated_layer_is_gin_with_the_generated_matrices():
    generator = graph_rounds.generator(5)
    one, two = (graph_rounds.GeneratedGINConv(generator) for _ in range(2))
    x = np.random.default_rng(1).normal(size=(4, graph_rounds.WIDTH)).astype("float32")
    one(x, EDGES), two(x, EDGES)
    assert one.hidden.generator is two.out.generator
    one.epsilon.assign(0.3)
    plain = GINConv(graph_rounds.WIDTH)
    plain(x, EDGES)
    plain.set_weights([one.epsilon, *one.hidden.plain_weights(), *one.out.plain_weights()])
    np.testing.assert_allclose(one(x, EDGES), plain(x, EDGES), rtol=1e-4, atol=1e-4)
    assert np.abs(np.array(one(x, EDGES)) - np.array(two(x, EDGES))).max() > 0.1
    assert graph_rounds.generated([one, two]) == 4 * graph_rounds.WIDTH**2
