"""What people give the sparse family beside plain floats: integers, sparse tensors and others.

These hold on the backend that KERAS_BACKEND names.
"""

import keras
import numpy as np
import pytest
import reference
from keras import ops

from hyperkeras import layers

BACKEND = keras.backend.backend()


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


def array(x):
    return np.array(ops.convert_to_numpy(x), "float64")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def half_values(n):
    return layers.FreeSource(n, values_initializer=keras.initializers.Constant(0.5))


EDGES = np.array([[0, 1], [1, 2], [2, 0], [3, 3]])
LAYERS = {
    "sparse": (lambda: layers.SparseHyperlayer((2,), half_values(3), seed=0), (3,)),
    "dense source": (lambda: layers.SparseHyperlayer((2,), layers.DenseSource(3), seed=0), (3,)),
    "top k": (lambda: layers.SparseHyperlayer((2,), layers.TopKSource(3)), (3,)),
    "fixed": (lambda: layers.SparseHyperlayer((2,), layers.FixedSource([[0, 1], [1, 2]])), (3,)),
    "box": (lambda: layers.Glimpse(2, seed=0), (5, 4, 2)),
    "affine behind a convolution": (
        lambda: layers.Glimpse(2, keras.layers.Conv2D(2, 3), source="affine", seed=0),
        (5, 4, 2),
    ),
    "encoding": (lambda: layers.MIPEncoding(), (3,)),
}


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
@pytest.mark.parametrize("name", LAYERS)
def test_integers_are_cast_to_the_compute_dtype(name, dtype):
    make, shape = LAYERS[name]
    x = np.random.default_rng(0).integers(0, 255, size=(3, *shape)).astype(dtype)
    layer = make()
    expected = array(layer(x.astype("float32")))
    for training in (False, True):
        y = layer(x, training=training)
        assert keras.backend.standardize_dtype(y.dtype) == "float32"
        if not training:
            np.testing.assert_allclose(array(y), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_a_model_of_integers_trains(name, dtype="uint8"):
    make, shape = LAYERS[name]
    x = np.random.default_rng(0).integers(0, 255, size=(3, *shape)).astype(dtype)
    layer = make()
    model = keras.Sequential([keras.Input(shape, dtype=dtype), layer, keras.layers.Flatten()])
    assert model.compute_dtype == "float32" and model.predict(x, verbose=0).dtype == "float32"
    if layer.trainable_weights:
        model.compile(keras.optimizers.SGD(1e-3), "mse")
        before = [array(w) for w in layer.trainable_weights]
        few = np.random.default_rng(1).integers(0, 3, size=x.shape).astype(dtype)
        model.train_on_batch(few, np.zeros((3, model.output_shape[1])))
        assert any((array(w) != a).any() for w, a in zip(layer.weights, before, strict=False))


@pytest.mark.parametrize("kind", [layers.SparseGraphConv, layers.SparseGraphTransform])
def test_integers_on_graphs(kind):
    layer = kind(2, seed=0) if kind is layers.SparseGraphConv else kind(output="nodes", seed=0)
    x = np.random.default_rng(0).integers(0, 5, size=(4, 3))
    expected = array(layer(x.astype("float32"), EDGES))
    np.testing.assert_allclose(array(layer(x, EDGES)), expected, atol=1e-6)


def test_integers_are_sorted():
    x, keys = np.arange(6).reshape(1, 3, 2), np.array([[3, 1, 2]])
    for training in (False, True):
        y, ranked = layers.Quicksort(num_samples=None)(x, keys, training=training)
        assert keras.backend.standardize_dtype(ranked.dtype) == "float32"
    y, ranked = layers.Quicksort()(x, keys)
    np.testing.assert_array_equal(array(y)[0], [[2, 3], [4, 5], [0, 1]])


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a tf.SparseTensor")
@pytest.mark.parametrize("name", [name for name in LAYERS if len(LAYERS[name][1]) == 1])
def test_a_sparse_tensor_is_made_dense(name):
    import tensorflow as tf

    make, shape = LAYERS[name]
    layer, x = make(), normal(3, *shape) * [[1, 0, 1]]
    expected = array(layer(x))
    np.testing.assert_allclose(array(layer(tf.sparse.from_dense(x))), expected, atol=1e-6)
    given = keras.Input(shape, sparse=True)
    model = keras.Model(given, layer(given))
    np.testing.assert_allclose(array(model(tf.sparse.from_dense(x))), expected, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_float16_throughout_keeps_index_space_in_float32(name):
    make, shape = LAYERS[name]
    keras.config.set_dtype_policy("float16")
    layer = make()
    if not layer.built:
        layer.build((None, *shape))
    x = normal(3, *shape).astype("float16")
    if hasattr(layer, "source"):
        assert {keras.backend.standardize_dtype(a.dtype) for a in layer.source(x)} == {"float32"}
    for training in (False, True):
        y = layer(x, training=training)
        assert keras.backend.standardize_dtype(y.dtype) == "float16"
        assert np.isfinite(array(y)).all()


def test_a_mask_passes_the_encoding_as_it_passes_dense():
    ids = np.array([[3, 4, 0, 0], [1, 2, 3, 0]])
    given = keras.Input((4,), dtype="int32")
    hidden = keras.layers.Embedding(10, 3, mask_zero=True)(given)
    model = keras.Model(given, keras.layers.LSTM(2)(layers.MIPEncoding()(hidden)))
    padded = model.predict(ids, verbose=0)[:1]
    short = model.layers[-1](model.layers[2](model.layers[1](ids[:1, :2])))
    np.testing.assert_allclose(padded, array(short), atol=1e-5)


def test_the_mask_of_node_features_reaches_a_graph_layer():
    """Layers of several inputs are not given it as an argument."""
    x = np.where(np.arange(4)[None, :, None] < 3, normal(2, 4, 3), 0).astype("float32")
    edges = np.broadcast_to([[0, 1], [1, 3], [2, 0], [2, 3]], (2, 4, 2))
    layer = layers.SparseGraphConv(2, 2)
    mask = np.array([[True, True, True, False]] * 2)
    expected = array(layer(x, edges, mask=mask))
    assert np.abs(expected - array(layer(x, edges))).max() > 1e-3
    y = layer(keras.layers.Masking()(ops.convert_to_tensor(x)), edges)
    np.testing.assert_allclose(array(y), expected, atol=1e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's check of numerics")
def test_training_makes_no_number_that_is_not_finite():
    import tensorflow as tf

    samples = {"global_samples": 2, "local_samples": 3, "region": 3, "seed": 0}
    made = {
        "sparse": (layers.SparseHyperlayer((4,), layers.FreeSource(4), **samples), (normal(2, 5),)),
        "alone": (layers.Glimpse(2, **samples), (normal(2, 5, 4, 1),)),
        "graph": (layers.SparseGraphConv(2, 1, 1, **samples), (normal(4, 3), EDGES)),
        "transform": (
            layers.SparseGraphTransform(output="nodes", **samples),
            (normal(4, 3), EDGES),
        ),
        "sort": (layers.Quicksort(4, joint=True), (normal(1, 3, 2), normal(1, 3))),
    }
    tf.debugging.enable_check_numerics()
    try:
        for layer, arguments in made.values():
            arguments = [tf.convert_to_tensor(a) for a in arguments]
            with tf.GradientTape() as tape:
                tape.watch(arguments[0])
                y = layer(*arguments, training=True)
                loss = tf.reduce_sum((y[0] if isinstance(y, tuple) else y) ** 2)
            tape.gradient(loss, [*layer.trainable_weights, arguments[0]])
        mask = tf.constant([[True, False, True]])
        layers.Quicksort()(normal(1, 3, 2), normal(1, 3), mask=mask)
    finally:
        tf.debugging.disable_check_numerics()


def test_a_glimpse_is_placed_by_what_comes_from_outside():
    """Such as a recurrent network's state: the images then have no part in the place."""
    glimpse = layers.Glimpse(3, num_glimpses=2)
    images, state = normal(4, 8, 9, 1), normal(4, 5)
    outside = glimpse(images, state)
    assert outside.shape == (4, 2, 3, 3, 1) and glimpse.source.head.kernel.shape == (5, 8)
    means = array(glimpse.source(state)[0])
    places = np.round(means).astype(int).reshape(4, 2, 3, 3, 2)
    expected = images[np.arange(4)[:, None, None, None], places[..., 0], places[..., 1]]
    np.testing.assert_allclose(array(outside), expected, atol=1e-6)
    given = [keras.Input((8, 9, 1)), keras.Input((5,))]
    model = keras.Model(given, keras.layers.Flatten()(layers.Glimpse(3)(*given)))
    model.compile("sgd", "mse")
    assert np.isfinite(model.train_on_batch([images, state], np.ones((4, 9))))


def test_a_state_that_places_glimpses_is_saved(tmp_path):
    given = [keras.Input((8, 9, 1)), keras.Input((5,))]
    model = keras.Model(given, layers.Glimpse(3)(*given))
    x = [normal(4, 8, 9, 1), normal(4, 5)]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded(x)), array(model(x)), atol=1e-6)


@pytest.mark.parametrize("source", ["box", "affine"])
@pytest.mark.parametrize("size", [(3,), (2, 3, 2)])
def test_glimpses_of_signals_and_volumes(source, size):
    x = normal(2, *(7, 6, 5)[: len(size)], 2)
    layer = layers.Glimpse(size, num_glimpses=2, source=source)
    for training in (False, True):
        y = layer(x, training=training)
        assert y.shape == (2, 2, *size, 2) == layer.compute_output_shape(x.shape)
        expected = reference.layer_output(layer, x, training) if BACKEND == "tensorflow" else y
        np.testing.assert_allclose(array(y), array(expected), atol=1e-4)
    first = layers.Glimpse(size, num_glimpses=2, source=source, data_format="channels_first")
    front = np.moveaxis(x, -1, 1)
    first.build(front.shape)
    n = first.source.head.kernel.shape
    order = np.arange(n[0]).reshape(x.shape[1:])  # the head reads the pixels in another order
    first.source.head.kernel.assign(
        array(layer.source.head.kernel)[np.moveaxis(order, -1, 0).ravel()]
    )
    np.testing.assert_allclose(array(first(front)), np.moveaxis(array(layer(x)), -1, 2), atol=1e-5)


def test_one_edge_list_serves_a_batch_of_signals():
    x, values = normal(3, 4, 2), np.array([1.0, 0.5, -1.0, 2.0], "float32")
    each = np.broadcast_to(EDGES, (3, 4, 2)), np.broadcast_to(values, (3, 4))
    for layer in (
        layers.SparseGraphConv(2, 2, 1),
        layers.SparseGraphTransform(output="nodes"),
        layers.SparseGraphTransform(output="edges"),
    ):
        one = layer(x, EDGES, edge_values=values)
        all_edges = layer(x, each[0], edge_values=each[1])
        for a, b in zip(keras.tree.flatten(one), keras.tree.flatten(all_edges), strict=True):
            np.testing.assert_allclose(array(a), array(b), atol=1e-6)
    given = keras.Input((4, 2)), keras.Input(batch_shape=(4, 2), dtype="int32")
    assert layers.SparseGraphConv(2)(*given).shape == (None, 4, 2)


def test_fixed_wiring_is_a_sparse_matrix_with_learned_values():
    tuples = np.array([[0, 1], [2, 0], [0, 1], [1, 3]])
    layer = layers.SparseHyperlayer((3,), layers.FixedSource(tuples, "normal"), global_samples=2)
    x = normal(5, 4)
    layer.build(x.shape)
    (values,) = layer.trainable_weights
    matrix = np.zeros((3, 4))
    np.add.at(matrix, tuple(tuples.T), array(values))  # equal tuples add up
    for training in (False, True):
        np.testing.assert_allclose(array(layer(x, training=training)), x @ matrix.T, atol=1e-5)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(keras.optimizers.SGD(1.0), lambda y, p: ops.sum(p * y))
    upstream, before = normal(5, 3, seed=1), array(values)
    model.train_on_batch(x, upstream)
    expected = [(upstream[:, o] * x[:, j]).sum() for o, j in tuples]
    np.testing.assert_allclose(before - array(values), expected, rtol=1e-4, atol=1e-4)
