"""Sparse layers on graphs: what they promise beyond the catalogue, and the baselines'."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from baselines import graph_networks
from hyperkeras import layers, ops
from hyperkeras.ops.graph import edge_sums, message_passing

rng = np.random.default_rng(0)
N = 7
X = rng.normal(size=(N, 3)).astype("float32")
EDGES = np.argwhere(rng.random((N, N)) < 0.35).astype("int32")
EDGES = EDGES[EDGES[:, 0] != 5]  # node 5 reads none
DRAWN = dict(global_samples=2, local_samples=2, region=3)


def moved(layer):
    """Built, with weights that have left their start."""
    layer.build((None, 3))
    there = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(weight + there.normal(size=weight.shape))
    return layer


def conv(**options):
    return moved(layers.SparseGraphConv(4, 2, 1, **DRAWN, **options))


def transform(output="nodes", **options):
    return moved(layers.SparseGraphTransform(2, 4, output, **DRAWN, **options))


def matrix(edges, values, n=N):
    found = np.zeros((n, n))
    np.add.at(found, tuple(np.array(edges).T), np.array(values))
    return found


both = pytest.mark.parametrize("make", [conv, transform])


# Operations


def test_propagate_is_the_product_with_the_matrix():
    values = rng.normal(size=len(EDGES)).astype("float32")
    np.testing.assert_allclose(
        ops.propagate(EDGES, values, X), matrix(EDGES, values) @ X, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        ops.propagate(EDGES, None, X), matrix(EDGES, np.ones(len(EDGES))) @ X, rtol=1e-4, atol=1e-5
    )


def test_a_union_has_padding_for_a_graph_of_its_own():
    x = np.arange(6, dtype="float32").reshape(2, 3, 1)
    edges = np.array([[[0, 1], [2, 2]], [[1, 0], [-1, -1]]])
    union, joined, graph = ops.disjoint_union(x, edges)
    np.testing.assert_array_equal(union[:, 0], [0, 1, 2, 3, 4, 5, 0])
    np.testing.assert_array_equal(joined, [[0, 1], [2, 2], [4, 3], [6, 6]])
    np.testing.assert_array_equal(graph, [0, 0, 0, 1, 1, 1, 2])
    mask = np.array([[True, True, False], [True, True, True]])
    _, joined, graph = ops.disjoint_union(x, edges, mask)
    np.testing.assert_array_equal(joined, [[0, 1], [6, 6], [4, 3], [6, 6]])
    np.testing.assert_array_equal(graph, [0, 0, 2, 1, 1, 1, 2])


def test_candidates_lie_beside_the_means_and_in_their_graph():
    n, t, k = 40, 60, 2
    positions, means = (rng.random((m, k)).astype("float32") for m in (n, t))
    graph, at = rng.integers(0, 3, n), rng.integers(0, 3, t)
    found = np.array(
        ops.candidate_nodes(positions, means, graph.astype("int32"), at.astype("int32"), 5, 6, 4, 1)
    )
    assert found.shape == (2 + 5 + 6, t, k)
    np.testing.assert_array_equal(graph[found], np.broadcast_to(at[:, None], found.shape))
    for i, m in np.ndindex(t, k):
        here = np.flatnonzero(graph == at[i])
        here = here[np.argsort(positions[here, m])]
        below = max((positions[here, m] <= means[i, m]).sum() - 1, 0)
        above = min(below + 1, len(here) - 1)
        assert found[:2, i, m].tolist() == [here[below], here[above]]
        places = [here.tolist().index(node) for node in found[7:, i, m]]
        assert max(places) - min(places) < 4 and abs(np.mean(places) - below) <= 4
    assert len(np.unique(found[2:7])) > n // 2


def test_proportions_are_gaussian_and_count_copies_once():
    positions = np.array([[0.1], [0.2], [0.9]], "float32")
    columns = [np.array([0, 1, 1, 0])[:, None, None], np.array([2, 2, 2, 1])[:, None, None]]
    means, sigma = (np.array([[0.15]], "float32"), np.array([[0.7]], "float32")), 0.1
    found = ops.candidate_proportions(columns, positions, means, np.array([[sigma]], "float32"))
    pairs = [(0, 2), (1, 2), (0, 1)]
    distances = [((positions[list(pair)] - np.ravel(means)[:, None]) ** 2).sum() for pair in pairs]
    near = {pair: (1, d) for pair, d in zip(pairs, distances, strict=True)}
    expected = reference.gaussian_proportions(near, sigma, True)
    np.testing.assert_allclose(found[2], 0)
    for place, pair in ((0, (0, 2)), (1, (1, 2)), (3, (0, 1))):
        np.testing.assert_allclose(found[place, 0, 0], expected[pair], rtol=1e-4)


def test_equally_near_neighbors_share():
    edges = np.array([[0, 1], [0, 2], [0, 3], [1, 0]])
    positions = np.array([[0.5], [0.25], [0.75], [0.9]], "float32")
    proportions = ops.neighbor_proportions(
        edges, positions, np.full((4, 1), 0.5, "float32"), 1, None, True
    )
    np.testing.assert_array_equal(proportions[:, 0], [0.5, 0.5, 0, 1])


@pytest.mark.parametrize("which", ["neighbors", "candidates", "messages"])
def test_gradients_of_proportions_are_those_of_finite_differences(which):
    there = np.random.default_rng(2)
    p, mu, sigma = there.random((4, 2)), there.random((4, 2)), 0.1 + there.random((4, 2))
    edges = np.array([[0, 1], [0, 2], [0, 3], [1, 0], [1, 1], [2, 3]])
    columns = [there.integers(0, 4, (3, 4, 2)) for _ in range(2)]

    def function(p, mu, sigma):
        if which == "neighbors":
            q = ops.neighbor_proportions(edges, p, mu, sigma, mass=np.arange(1.0, 7))
        elif which == "messages":
            q = ops.propagate(edges[:4], p[:, 0], mu * sigma)
        else:
            q = ops.candidate_proportions(columns, p, [mu, mu * mu], sigma)
        return tf.reduce_sum(q * np.sin(np.arange(np.prod(q.shape))).reshape(q.shape))

    given = [tf.constant(a, "float64") for a in (p, mu, sigma)]
    with tf.GradientTape() as tape:
        tape.watch(given)
        y = function(*given)
    for place, gradient in enumerate(tape.gradient(y, given)):
        for i in ((0, 0), (1, 1), (2, 0)):
            step = np.zeros((4, 2))
            step[i] = 1e-6
            ends = [
                function(*(a + sign * step if m == place else a for m, a in enumerate(given)))
                for sign in (1, -1)
            ]
            gradient = tf.convert_to_tensor(gradient)
            np.testing.assert_allclose(gradient[i], (ends[0] - ends[1]) / 2e-6, atol=1e-6)


@pytest.mark.parametrize("f", [3, 30])  # 30 are multiplied in strips
def test_sums_over_edges_are_those_of_segments_to_the_second_order(f, monkeypatch):
    there = np.random.default_rng(3)
    given = [tf.constant(there.normal(size=size)) for size in (len(EDGES), (N, f), (N, f))]
    given.append(tf.constant(there.normal(size=(len(EDGES), 5))))
    signature = [tf.TensorSpec([None] * (len(a.shape) - 1) + a.shape[-1:], a.dtype) for a in given]
    signature[0] = tf.TensorSpec([None], tf.float64)
    i, j = (tf.constant(EDGES[:, end]) for end in (0, 1))

    def function(values, x, y, messages):
        n = tf.shape(x)[0]
        both = edge_sums.take(x, i) * edge_sums.take(y, j)
        products = tf.tanh(tf.reduce_sum(ops.propagate(EDGES, values, x) * y))
        few, many = (edge_sums.sum_at(j, m, n) for m in (messages[:, :2], messages))
        highest = edge_sums.max_at(i, messages, n)[
            :5
        ]  # nothing is left out, nothing differentiated
        whole = tf.reduce_sum(tf.sin(few)) + tf.reduce_sum(many**3 * y[:, :1])
        return products + tf.reduce_sum(both**3) + whole + tf.reduce_sum(highest * messages[:5])

    def orders():
        @tf.function(input_signature=signature)
        def derive(*given):
            with tf.GradientTape() as outer:
                outer.watch(given)
                with tf.GradientTape() as inner:
                    inner.watch(given)
                    y = function(*given)
                first = inner.gradient(y, given)
                whole = tf.add_n([tf.reduce_sum(tf.sin(tf.convert_to_tensor(a))) for a in first])
            return y, first, outer.gradient(whole, given)

        return [tf.convert_to_tensor(a) for a in tf.nest.flatten(derive(*given))]

    assert edge_sums.processor_path(given[1]) or tf.config.list_logical_devices("GPU")
    found = orders()
    monkeypatch.setattr(edge_sums, "processor_path", lambda x: None)
    monkeypatch.setattr(message_passing, "processor_path", lambda x: None)
    for a, b in zip(found, orders(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# Layers


@both
def test_permuted_nodes_give_permuted_outputs(make):
    layer, order = make(), rng.permutation(N)
    y = np.array(layer(X, EDGES))
    edges = np.argsort(order)[rng.permutation(EDGES)].astype("int32")
    np.testing.assert_allclose(layer(X[order], edges), y[order], atol=1e-5)


@both
@pytest.mark.parametrize("training", [False, True])
def test_edge_values_are_those_of_the_reference(make, training):
    layer = make()
    layer.global_samples = layer.local_samples = 0
    values = rng.normal(size=len(EDGES)).astype("float32")
    values[3] = 0
    expected = reference.graph_output(layer, X, EDGES, training, values)
    found = layer(X, EDGES, edge_values=values, training=training)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    if make is conv:  # no value, no edge
        kept = np.delete(EDGES, 3, axis=0), np.delete(values, 3)
        again = layer(X, kept[0], edge_values=kept[1], training=training)
        np.testing.assert_allclose(again, found, atol=1e-5)


@both
def test_unions_and_batches_are_their_graphs_one_by_one(make):
    layer, small = make(), EDGES[(EDGES < 4).all(1)]
    alone = [np.array(layer(X, EDGES)), np.array(layer(X[:4] + 1, small))]
    union = np.concatenate([X, X[:4] + 1]), np.concatenate([EDGES, small + N])
    graph = np.repeat([0, 1], [N, 4]).astype("int32")
    found = layer(*union, node_graph=graph)
    np.testing.assert_allclose(found, np.concatenate(alone), atol=1e-5)
    batch = np.full((2, N, 3), 9, "float32")  # padded with what must not be read
    batch[0], batch[1, :4] = X, X[:4] + 1
    edges = np.full((2, len(EDGES) + 1, 2), -1, "int32")
    edges[0, :-1], edges[1, : len(small)] = EDGES, small
    mask = np.ones((2, N), bool)
    mask[1, 4:] = False
    found = np.array(layer(batch, edges, mask=mask))
    assert found.shape[:2] == (2, N)
    np.testing.assert_allclose(found[0], alone[0], atol=1e-5)
    np.testing.assert_allclose(found[1, :4], alone[1], atol=1e-5)


@both
def test_graphs_without_edges_and_nodes_without_neighbors(make):
    layer = make()
    none = np.zeros((0, 2), "int32")
    for training in (False, True):
        assert np.isfinite(layer(X, none, training=training)).all()
        assert np.isfinite(layer(X[:1], np.array([[0, 0]]), training=training)).all()
    if make is transform:
        np.testing.assert_array_equal(layer(X, none), np.zeros((N, 3)))
    else:
        lonely = np.array(layers.SparseGraphConv(2, 1)(X, none))
        assert np.isfinite(lonely).all()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(X, EDGES, training=True) ** 2)
        for gradient in tape.gradient(loss, layer.trainable_weights):
            assert np.isfinite(gradient).all()


@both
def test_a_sparse_tensor_is_an_edge_list_with_values(make):
    layer = make()
    values = rng.normal(size=len(EDGES)).astype("float32")
    adjacency = tf.sparse.SparseTensor(EDGES.astype("int64"), values, (N, N))
    np.testing.assert_allclose(layer(X, adjacency), layer(X, EDGES, edge_values=values), atol=1e-6)


def test_with_no_shift_a_graph_stays_what_it_is():
    layer = layers.SparseGraphTransform(2, 4)
    layer.build((None, 3))
    layer.head_kernel.assign(np.zeros((4, 8)))
    x = np.repeat(X[:1], N, axis=0)  # all nodes in one place: an edge's own ends come first
    for nodes in (X, x):
        edges, values = layer(nodes, EDGES)
        np.testing.assert_array_equal(np.array(edges)[::2], EDGES)
        np.testing.assert_array_equal(values, np.ones(2 * len(EDGES)))


def test_edges_out_times_features_are_nodes_out():
    edges_out, nodes_out = transform("edges"), transform("nodes")
    for weight, like in zip(nodes_out.trainable_weights, edges_out.trainable_weights, strict=True):
        weight.assign(like)
    for training in (False, True):
        for layer in (edges_out, nodes_out):
            layer.seed_generator.state.assign([1, 0])
        edges, values = edges_out(X, EDGES, training=training)
        assert edges.shape == (len(EDGES) * 2 * (9 if training else 1), 2)
        np.testing.assert_allclose(
            ops.propagate(edges, values, X), nodes_out(X, EDGES, training=training), atol=1e-4
        )
    assert matrix(edges, values)[5].any()  # edges move: this node read none before


def test_edges_of_a_batch_keep_their_padding():
    layer = transform("edges")
    edges, values = layer(X, EDGES)
    padded = np.concatenate([EDGES, [[-1, -1]]]).astype("int32")
    found, weights = layer(np.stack([X, X]), np.stack([padded, padded]))
    for graph in (0, 1):
        np.testing.assert_array_equal(found[graph, :-2], edges)
        np.testing.assert_allclose(weights[graph, :-2], values, atol=1e-5)
    np.testing.assert_array_equal(found[:, -2:], np.full((2, 2, 2), -1))
    np.testing.assert_array_equal(weights[:, -2:], np.zeros((2, 2)))


def test_a_model_of_both_is_saved_and_loaded(tmp_path):
    x, edges = keras.Input((N, 3)), keras.Input((None, 2), dtype="int32")
    wired, values = layers.SparseGraphTransform()(x, edges)
    y = layers.SparseGraphConv(2, 1, 1, activation="relu")(x, wired, edge_values=values)
    model = keras.Model([x, edges], y)
    model.compile("adam", "mse")
    given = [np.stack([X] * 4), np.stack([EDGES] * 4)]
    model.fit(given, np.zeros((4, N, 2)), batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(given), model(given), atol=1e-6)


@pytest.mark.parametrize("layer", [layers.SparseGraphConv(2), layers.SparseGraphTransform()])
def test_bad_graphs_are_named(layer):
    for arguments, said in (
        ((X, np.array([[0, N]])), f"from 0 to {N - 1}. Received: {N}"),
        ((X, np.array([[-1, 0]])), "Received: -1"),
        ((X, EDGES.T), "`edges`"),
        ((X, EDGES[None]), "`edges`"),
        ((X[None], EDGES[None], np.zeros(N, "int32")), "node_graph"),
    ):
        with pytest.raises(ValueError, match=said):
            layer(*arguments)


def test_bad_arguments_are_named():
    for make, said in (
        (lambda: layers.SparseGraphConv(2, 0, 0), "at least 1"),
        (lambda: layers.SparseGraphConv(0), "units=0"),
        (lambda: layers.SparseGraphConv(2, region=0), "region=0"),
        (lambda: layers.SparseGraphTransform(output="graph"), "output='graph'"),
        (lambda: layers.SparseGraphTransform(0), "num_tuples=0"),
    ):
        with pytest.raises(ValueError, match=said):
            make()


def test_a_neighborhood_is_learned():
    """Of four neighbors each node is to read one, which its own and their features tell."""
    n, there = 400, np.random.default_rng(0)
    edges = np.stack([np.repeat(np.arange(n), 4), there.integers(0, n, 4 * n)], axis=1)
    edges = edges.astype("int32")
    x = there.uniform(-1, 1, (n, 3)).astype("float32")
    key, wanted, told = x.T
    seen = edges[:, 1].reshape(n, 4)
    y = told[seen[np.arange(n), np.abs(key[seen] - wanted[:, None]).argmin(axis=1)]]
    layer = layers.SparseGraphConv(1, 1, sigma_scale=0.05)
    layer.build((None, 3))
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(layer.trainable_weights)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((layer(x, edges, training=True)[:, 0] - y) ** 2)
        gradients = tape.gradient(loss, layer.trainable_weights)
        optimizer.apply_gradients(zip(gradients, layer.trainable_weights, strict=True))

    for _ in range(300):
        step()
    error = np.mean((np.array(layer(x, edges))[:, 0] - y) ** 2)
    assert error < 0.2 * np.var(y)


def test_soft_proportions_stay_at_inference():
    layer = moved(layers.SparseGraphConv(4, 2, rounded=False))
    np.testing.assert_array_equal(layer(X, EDGES), layer(X, EDGES, training=True))
    anywhere = layers.SparseGraphConv(2, 1, 1, rounded=False, **DRAWN)
    np.testing.assert_array_equal(anywhere(X, EDGES), anywhere(X, EDGES))  # nothing is drawn


def test_tuples_that_start_at_zero_are_means_over_the_neighbors():
    layer = layers.SparseGraphConv(
        4, 2, sigma_scale=1e6, tuple_initializer="zeros", rounded=False, use_bias=False
    )
    read = np.array(layer(X, EDGES))
    a = matrix(EDGES, np.ones(len(EDGES)))
    mean = a @ X / np.maximum(a.sum(axis=1, keepdims=True), 1)
    expected = np.concatenate([X, mean, mean], axis=1) @ layer.kernel.numpy()
    np.testing.assert_allclose(read, expected, rtol=1e-4, atol=1e-5)


# Baselines


def test_gcn_and_gin_are_their_equations():
    a = matrix(EDGES, np.ones(len(EDGES)))
    for layer in (graph_networks.GCNConv(4), graph_networks.GINConv(4)):
        y, w = moved_baseline(layer)
        if isinstance(layer, graph_networks.GCNConv):
            whole = a + np.eye(N)
            rows, columns = whole.sum(1) ** -0.5, whole.sum(0) ** -0.5
            expected = (whole * rows[:, None] * columns) @ X @ w[0] + w[1]
        else:
            hidden = np.maximum(((1 + w[0]) * X + a @ X) @ w[1] + w[2], 0)
            expected = hidden @ w[3] + w[4]
        np.testing.assert_allclose(y, expected, atol=1e-4)
        order = rng.permutation(N)
        edges = np.argsort(order)[EDGES].astype("int32")
        np.testing.assert_allclose(layer(X[order], edges), np.array(y)[order], atol=1e-4)
        assert layer.compute_output_shape(X.shape, EDGES.shape) == y.shape
        twin = type(layer).from_config(layer.get_config())
        assert twin.get_config() == layer.get_config()


def moved_baseline(layer):
    layer(X, EDGES)
    for weight in layer.trainable_weights:
        weight.assign(weight + rng.normal(size=weight.shape))
    return layer(X, EDGES), [weight.numpy() for weight in layer.trainable_weights]


def test_colors_tell_apart_what_weisfeiler_and_leman_do():
    def cycles(*lengths):
        edges, first = [], 0
        for length in lengths:
            edges += [(first + i, first + (i + 1) % length) for i in range(length)]
            first += length
        edges = np.array(edges)
        return np.concatenate([edges, edges[:, ::-1]])

    def colors(edges, n=6):
        return sorted(np.array(graph_networks.wl_colors(edges, np.ones(n, "int32"))).tolist())

    path = np.array([[i, i + 1] for i in range(5)])
    both_ways = np.concatenate([path, path[:, ::-1]])
    assert colors(cycles(6)) == colors(cycles(3, 3))  # both regular: 1-WL is blind
    assert len(set(colors(both_ways))) == 3  # ends, next to ends, middle
    assert len(set(colors(path))) == 6
    order = rng.permutation(6)
    assert colors(order[path]) == colors(path)
    assert colors(path) != colors(path[[0, 1, 2, 3, 3]] * [1, 1])
