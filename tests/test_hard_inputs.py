"""Every layer of the catalogue, through inputs that nobody means to give it.

Half precision with full variables, float64, XLA, and batches of none and of one are the
conformance tests' matter.
"""

import functools

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from catalogue import CASES, NO_SAMPLING, SAMPLING

from hyperkeras import layers, ops

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* is trained with num_samples=0")
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
trainings = pytest.mark.parametrize("training", [False, True])
RECURRENT = [case for case in CASES if any(name.endswith("Cell") for name in case.covers)]
recurrent = pytest.mark.parametrize("case", RECURRENT, ids=lambda case: case.name)

# What they multiply the input by is made from the input without a bound, so that its square has
# to be a number, in the gradient its cube. Quicksort's mean moves keys by a matrix of the keys: for
# keys far apart its derivative is 0 but for rounding, which the square of the keys multiplies.
QUADRATIC = {
    "dense",
    "top_k",
    "graph_conv",
    "graph_conv_of_neighbors",
    "quicksort_mean",
    "quicksort_cauchy",
}


def fresh(case, sampling=SAMPLING):
    """The case's layer, with weights and draws to come that are the same each time."""
    keras.utils.set_random_seed(3)
    layer = case.make(sampling)
    layer.build((None, *case.input_shape))
    return layer


def run(layer, x, training, weights=()):
    """Output, and the gradients of its sum for the input and for the weights."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        loss = tf.reduce_sum(y)
    dx, *dw = tape.gradient(loss, [x, *weights])
    return y.numpy(), dx.numpy(), [d for d in dw if d is not None]


def put_back(layer, state):
    """The draws to come as they were; nothing else may have moved."""
    for variable, before in zip(layer.variables, state, strict=True):
        if "seed_generator_state" in variable.path:
            variable.assign(before)
        else:
            np.testing.assert_array_equal(variable, before, err_msg=variable.path)


@cases
@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_huge_and_tiny_inputs_give_finite_numbers(case, scale):
    if case.name in QUADRATIC:
        scale = min(scale, 1e11)
    x, layer = (case.input() * scale).astype("float32"), fresh(case)
    if case not in RECURRENT:  # in training they differ by dropout alone, and compile for long
        assert np.isfinite(layer(x, training=False)).all()
    y, dx, dw = run(layer, x, True, layer.trainable_weights)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    assert len(dw) == len(layer.trainable_weights)
    assert all(np.isfinite(gradient).all() for gradient in dw)


@pytest.mark.parametrize(
    "case, training",
    # Recurrent layers differ in training by dropout alone, and take long to compile.
    [
        (case, training)
        for case in CASES
        for training in (False, True)
        if training or case not in RECURRENT
    ],
    ids=lambda one: getattr(one, "name", one),
)
def test_nan_stays_in_its_row_and_leaves_nothing_behind(case, training):
    layer, x, broken = fresh(case), case.input(), case.input()
    broken[1] = np.nan
    state = [variable.numpy() for variable in layer.variables]
    clean, clean_dx, _ = run(layer, x, training)
    put_back(layer, state)
    called = layer
    if "Quicksort" in case.covers:
        with pytest.raises(ValueError, match=r"`keys` to be finite numbers"):
            layer(broken, training=training)
        put_back(layer, state)
        called = tf.function(layer)  # where values can't be seen
    y, dx, _ = run(called, broken, training)
    np.testing.assert_allclose(y[[0, 2]], clean[[0, 2]], atol=1e-6)
    np.testing.assert_allclose(dx[[0, 2]], clean_dx[[0, 2]], atol=1e-5)
    assert np.isnan(y[1]).any()
    put_back(layer, state)
    np.testing.assert_array_equal(layer(x, training=training), clean)


@cases
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_of_variables_too(case, half, policy):
    if "HyperRNN" in case.covers and half == "bfloat16":
        pytest.skip("TensorFlow has no orthogonal bfloat16 matrices for Keras's SimpleRNNCell")
    policy(half)
    layer, x = case.make(), case.input()
    for training in (False, True):
        y = layer(x, training=training)
        assert y.dtype == half
        assert np.isfinite(np.array(y, "float32")).all()


# The smallest inputs


@recurrent
def test_sequences_of_one_step(case, policy):
    policy("float64")
    layer, x = case.make(NO_SAMPLING), case.input(dtype="float64")[:, :1]
    np.testing.assert_allclose(layer(x), reference.recurrent_output(layer, x), atol=1e-10)


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: layers.SparseHyperlayer((1,), layers.FreeSource(1), seed=1, **SAMPLING), (1,)),
        (lambda: layers.Glimpse(1, seed=1, **SAMPLING), (1, 1, 1)),
        (lambda: layers.Glimpse(2, source="affine", seed=1, **SAMPLING), (1, 1, 2)),
        (lambda: layers.HyperConv2D(2, 3, layers.KernelGenerator((3, 3, 1, 2), 3)), (1, 1, 1)),
        (lambda: layers.PHMConv2D(2, 3, 1, padding="same"), (1, 1, 1)),
        (lambda: layers.PHMDense(1, 1), (1,)),
        (lambda: layers.HyperDense(1, layers.KernelGenerator((1, 1, 1, 1), 1)), (1,)),
        (lambda: layers.MIPEncoding(), (1,)),
    ],
    ids=["sparse", "box", "affine", "conv", "phm_conv", "phm_dense", "dense", "mip"],
)
def test_one_number_or_one_pixel(make, shape, policy):
    policy("float64")
    layer, x = make(), np.random.default_rng(0).normal(size=(2, *shape))
    for training in (False, True):  # one cell: however often it is drawn, it counts once
        y = layer(x, training=training)
        np.testing.assert_allclose(y, reference.layer_output(layer, x, training), atol=1e-10)


@trainings
def test_sets_of_one_element(training):
    x, keys = np.ones((2, 1, 3), "float32"), np.array([[3.0], [-1.0]], "float32")
    for samples in (None, 2):
        moved, ranked = layers.Quicksort(samples)(x, keys, training=training)
        np.testing.assert_array_equal(moved, x)
        np.testing.assert_array_equal(ranked, keys)


@trainings
@pytest.mark.parametrize("kind", ["conv", "transform"])
def test_graphs_of_one_node_and_no_edges(kind, training):
    if kind == "conv":
        layer = layers.SparseGraphConv(2, 1, 1, seed=1, **SAMPLING)
    else:
        layer = layers.SparseGraphTransform(1, 2, "nodes", seed=1, **SAMPLING)
    x = np.ones((2, 1, 3), "float32")
    for edges in (
        np.zeros((2, 0, 2), "int32"),
        np.full((2, 1, 2), -1),
        np.zeros((2, 1, 2), "int32"),
    ):
        if not layer.built:
            layer.build(x.shape)
        y, dx, dw = run(functools.partial(layer, edges=edges), x, training, layer.trainable_weights)
        assert all(np.isfinite(one).all() for one in (y, dx, *dw))


# Masks that leave nothing


@recurrent
def test_a_sequence_masked_wholly_gives_zeros_and_touches_no_other(case):
    layer, x = fresh(case, NO_SAMPLING), tf.constant(case.input())
    mask = np.ones((3, 3), bool)
    mask[1] = False
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, mask=mask, training=True)
        loss = tf.reduce_sum(y**2)
    dx, *dw = tape.gradient(loss, [x, *layer.trainable_weights])
    np.testing.assert_array_equal(y[1], np.zeros(case.output_shape))
    np.testing.assert_array_equal(dx[1], np.zeros(case.input_shape))
    alone = layer(x, training=True)
    np.testing.assert_allclose(y.numpy()[[0, 2]], alone.numpy()[[0, 2]], atol=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in dw)


@trainings
def test_sets_masked_wholly_touch_no_other(training):
    rng = np.random.default_rng(0)
    x, keys = rng.normal(size=(2, 4, 3)).astype("float32"), rng.normal(size=(2, 4))
    mask = np.array([[True] * 4, [False] * 4])
    layer = layers.Quicksort(None)
    for one in keras.tree.flatten(layer(x, keys, mask=mask, training=training)):
        assert np.isfinite(one).all()
    both, _ = layer(x, keys, mask=mask, training=training)
    alone, _ = layer(x[:1], keys[:1], mask=mask[:1], training=training)
    np.testing.assert_allclose(both[:1], alone, atol=1e-6)


@trainings
@pytest.mark.parametrize("kind", ["conv", "transform"])
def test_graphs_masked_wholly_touch_no_other(kind, training):
    if kind == "conv":
        layer = layers.SparseGraphConv(2, 1, 1)
    else:
        layer = layers.SparseGraphTransform(1, 2, "nodes")
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    edges = np.stack([reference.GRAPH_EDGES] * 2)
    mask = np.array([[True] * 5, [False] * 5])
    y = layer(x, edges, mask=mask, training=training)
    assert np.isfinite(y).all()
    alone = layer(x[:1], edges[:1], mask=mask[:1], training=training)
    np.testing.assert_allclose(y[:1], alone, atol=1e-6)


# Large index spaces


def far_apart(size):
    """Raw means of a FreeSource whose neighbors' linear indices are alike modulo 2**32."""
    rows, columns = size
    wanted = np.array([[0.3, 5.4], [2**32 // columns + 0.3, 5.4], [rows - 1.2, columns - 1.2]])
    share = wanted / (np.array(size) - 1)
    return np.log(share) - np.log1p(-share)


@trainings
@pytest.mark.parametrize("chunk_size", [None, 1])
def test_index_spaces_beyond_32_bits(chunk_size, training, policy):
    policy("float64")
    size = (2**16, 2**17)  # 2**33 cells
    source = layers.FreeSource(3, sigma_scale=1e-6, shared=True)
    layer = layers.SparseHyperlayer(size[:1], source, chunk_size)
    layer.build((None, size[1]))
    source.means.assign(far_apart(size))
    x = np.random.default_rng(0).normal(size=(1, size[1]))
    means, sigmas, values = (one[0] for one in reference.source(source, x))
    expected = np.zeros(size[:1])
    chunks = [[0, 1, 2]] if chunk_size is None else [[0], [1], [2]]
    for chunk in chunks:
        if training:
            tuples = np.concatenate([reference.neighbors(means[k]) for k in chunk])
            weights = reference.proportions(tuples, means[chunk], sigmas[chunk]) @ values[chunk]
        else:
            tuples, weights = np.round(means[chunk]).astype(int), values[chunk]
        np.add.at(expected, tuples[:, 0], weights * x[0, tuples[:, 1]])
    assert np.count_nonzero(expected) >= 3
    np.testing.assert_allclose(layer(x, training=training)[0], expected, atol=1e-9)


def test_means_beyond_32_bits_are_brought_inside():
    means = np.array([[[1e10, -1e10], [3e38, -3e38], [np.inf, -np.inf]]], "float32")
    for size in ((7, 9), (2**31 - 1, 2**31 - 1)):
        tuples = np.array(ops.sample_tuples(means, size)[0])
        last = 6 if size[0] == 7 else 2**31 - 128  # the largest float32 below
        np.testing.assert_array_equal(tuples, [[last, 0]] * len(tuples))


def test_logits_of_any_size_give_doubly_stochastic_matrices():
    logits = np.random.default_rng(0).normal(size=(2, 7)).astype("float32")
    for scale in (1e-30, 1.0, 1e30, 1e34):
        for depth in range(3):
            bounds = ops.bucket_bounds(7, depth)
            p = np.array(ops.mean_half_permutation(logits * np.float32(scale), bounds, depth))
            np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
            np.testing.assert_allclose(p.sum(2), 1, atol=1e-5)
