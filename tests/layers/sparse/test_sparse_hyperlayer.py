"""The sparse hyperlayer beyond conformance: chunks, templates, ranges, sampling, bad input."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from hyperkeras.layers import DenseSource, FreeSource, SparseHyperlayer, TopKSource

rng = np.random.default_rng(0)


class Given(keras.layers.Layer):
    """A source that gives what it is told: any Keras layer can be one."""

    def __init__(self, means, sigmas, values):
        super().__init__()
        self.given = [keras.ops.convert_to_tensor(a, "float32") for a in (means, sigmas, values)]

    def call(self, inputs):
        return tuple(self.given)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def gradients(layer, x, f=tf.reduce_sum, **arguments):
    with tf.GradientTape() as tape:
        loss = f(layer(x, training=True, **arguments))
    return [np.array(g) for g in tape.gradient(loss, layer.trainable_weights)]


def test_inference_rounds_half_to_even_and_draws_nothing():
    means = [[[0.5, 1.5], [2.5, 3.4], [1.0, 2.0]]]  # → (0, 2), (2, 3), (1, 2)
    layer = SparseHyperlayer(
        (4,), Given(means, np.ones((1, 3, 2)), [[2.0, 3.0, 5.0]]), global_samples=4
    )
    x = normal(2, 5)
    expected = np.zeros((2, 4))
    expected[:, 0], expected[:, 2], expected[:, 1] = 2 * x[:, 2], 3 * x[:, 3], 5 * x[:, 2]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-6)
    np.testing.assert_array_equal(layer(x), layer(x))


def test_any_keras_layer_may_be_the_source_and_batch_one_is_shared():
    means = rng.uniform(0, 3, size=(1, 4, 2))
    layer = SparseHyperlayer((4,), Given(means, np.ones((1, 4, 2)), np.ones((1, 4))))
    assert layer(normal(3, 4), training=True).shape == (3, 4)
    assert layer(normal(1, 4), training=True).shape == (1, 4)


def test_gradients_of_the_layer_equal_finite_differences():
    keras.utils.set_random_seed(0)
    source = FreeSource(5, dtype="float64")
    layer = SparseHyperlayer((4,), source, use_bias=True, dtype="float64")
    x = normal(3, 5).astype("float64")
    layer.build(x.shape)
    for weight, found in zip(
        layer.trainable_weights, gradients(layer, x, lambda y: tf.reduce_sum(y**2)), strict=True
    ):
        start, expected = weight.numpy(), np.zeros(weight.shape)
        for i in np.ndindex(*weight.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = start.copy()
                moved[i] += step
                weight.assign(moved)
                ends.append(float(tf.reduce_sum(layer(x, training=True) ** 2)))
            expected[i] = (ends[0] - ends[1]) / 2e-6
        weight.assign(start)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7, err_msg=weight.path)


def test_samples_share_values_as_the_reference_says():
    """With all cells sampled, drawn tuples or not, the weights are those of the whole tensor."""
    keras.utils.set_random_seed(1)
    layer = SparseHyperlayer((2,), FreeSource(3, dtype="float64"), None, 400, dtype="float64")
    x = normal(2, 3).astype("float64")
    y = layer(x, training=True)
    means, sigmas, values = (np.array(a)[0] for a in layer.source(x))
    cells = np.array([(o, j) for o in range(2) for j in range(3)])
    w = reference.dense(cells, reference.proportions(cells, means, sigmas) @ values, (2, 3))
    np.testing.assert_allclose(y, x @ w.T, atol=1e-10)


def test_tuples_of_a_template_share_nothing_with_other_rows():
    template = np.array([[o, 0] for o in (0, 1, 0, 1)])
    values = np.array([[1.0, 10.0, 100.0, 1000.0]])
    layer = SparseHyperlayer(
        (2,),
        Given(np.full((1, 4, 1), 1.5), np.ones((1, 4, 1)), values),
        template=template,
        learned_columns=(1,),
    )
    # All means coincide, at 1.5 of the input: had rows not been told apart, outputs would mix.
    y = layer(np.array([[0, 2, 4, 0]], "float32"), training=True)
    np.testing.assert_allclose(y, [[101 * 3, 1010 * 3]], rtol=1e-6)


@pytest.mark.parametrize("shared", [False, True])
def test_tuples_that_read_alone_give_what_the_matrix_gives(shared):
    """Both ways of a chunk of one: values and gradients of every weight and of the input."""
    found = []
    for alone in (True, False):
        keras.utils.set_random_seed(0)
        source = FreeSource(6, shared=shared, values_initializer="normal")
        layer = SparseHyperlayer(
            (4,),
            source,
            1,
            3,
            2,
            2,
            [[*row, 0] for row in ROWS],
            (1, 2),
            carried_axes=1,
            seed=1,
            dtype="float64",
        )
        x = tf.constant(np.random.default_rng(0).normal(size=(3, 5, 4, 2)))
        layer.build(x.shape)
        assert layer._reads_alone
        layer._reads_alone = alone
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y**2)
        found.append([y, *tape.gradient(loss, [*layer.trainable_weights, x])])
    assert np.abs(found[0][0]).min() > 0
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


def test_one_learned_column_needs_no_sequence():
    layer = SparseHyperlayer((2,), FreeSource(2), template=[[0, 0], [1, 0]], learned_columns=1)
    assert layer.learned_columns == (1,) and layer(normal(3, 4)).shape == (3, 2)


def test_template_entries_of_learned_columns_are_not_read():
    def output(entry):
        keras.utils.set_random_seed(0)
        template = np.array([[o, entry] for o in (0, 1)])
        layer = SparseHyperlayer((2,), FreeSource(2), template=template, learned_columns=(1,))
        return layer(np.ones((1, 4), "float32") * np.arange(4, dtype="float32"), training=True)

    np.testing.assert_array_equal(output(0), output(-99))


ROWS = [[o, 0] for o in (0, 1, 2, 3, 0, 1)]


@pytest.mark.parametrize("source", [FreeSource, DenseSource])
@pytest.mark.parametrize(
    "wiring",
    [dict(chunk_size=2), dict(chunk_size=1, template=ROWS, learned_columns=(1,))],
    ids=("pairs", "alone"),
)
def test_gradients_over_tuple_ranges_add_up_to_the_whole(source, wiring):
    """Exactly, where nothing is drawn and the loss is linear in the output."""
    keras.utils.set_random_seed(0)
    layer = SparseHyperlayer((4,), source(6), use_bias=True, **wiring)
    x = tf.Variable(normal(3, 5))
    upstream = normal(3, 4)
    layer.build(x.shape)

    def all_gradients(**arguments):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(upstream * layer(x, training=True, **arguments))
        found = tape.gradient(loss, [*layer.trainable_weights, x])
        return [np.array(gradient) for gradient in found]

    whole = all_gradients()
    parts = [all_gradients(tuple_range=r) for r in ((0, 2), (2, 6))]
    names = [w.path for w in layer.trainable_weights] + ["inputs"]
    for name, a, *rest in zip(names, whole, *parts, strict=True):
        # The source reads the input too: its share of the input's gradient also adds up.
        np.testing.assert_allclose(sum(rest), a, rtol=1e-4, atol=1e-5, err_msg=name)


def test_gradients_over_tuple_ranges_add_up_in_expectation():
    keras.utils.set_random_seed(0)
    source = FreeSource(4)
    layer = SparseHyperlayer((6,), source, 2, 1, 2, region=3, seed=0)
    x, upstream = normal(200, 6), normal(200, 6)  # each sample draws its own tuples

    layer.build(x.shape)

    def mean_gradients(ranges):
        @tf.function
        def draw():
            total = 0
            for r in ranges:
                with tf.GradientTape() as tape:
                    loss = tf.reduce_sum(upstream * layer(x, training=True, tuple_range=r))
                total += tape.gradient(loss, source.means.value)
            return total

        found = [draw().numpy() for _ in range(60)]
        return np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(len(found))

    whole, spread = mean_gradients([None])
    parts, spread_of_parts = mean_gradients([(0, 2), (2, 4)])
    assert (np.abs(whole - parts) < 5 * np.hypot(spread, spread_of_parts)).all()
    assert np.abs(whole).max() > 10 * spread.max()  # the test could tell them apart


def test_only_the_tuples_in_range_get_a_gradient():
    layer = SparseHyperlayer((4,), FreeSource(6), chunk_size=2)
    means, sigmas, values = gradients(layer, normal(3, 5), tuple_range=(2, 4))
    for gradient in (means, sigmas, values):
        assert gradient[2:4].any() and not gradient[:2].any() and not gradient[4:].any()


def test_learns_the_identity():
    keras.utils.set_random_seed(0)
    source = FreeSource(6, sigma_scale=0.1, fixed_values=True)
    layer = SparseHyperlayer((6,), source, global_samples=8, local_samples=4, region=4, seed=0)
    model = keras.Sequential([keras.Input((6,)), layer])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    x = normal(32000, 6)
    model.fit(x, x, batch_size=64, verbose=0)
    fresh = normal(100, 6)
    np.testing.assert_array_equal(model.predict(fresh, verbose=0), fresh)


def test_fit_leaves_xla_to_those_who_ask_for_it():
    model = keras.Sequential([keras.Input((5,)), SparseHyperlayer((4,), FreeSource(4))])
    model.compile("sgd", "mse")
    assert model.jit_compile is False


def test_the_scores_regularizer_adds_its_mean_over_the_batch():
    layer = SparseHyperlayer((3,), TopKSource(2, scores_regularizer=keras.regularizers.L1(0.1)))
    x = normal(4, 5)
    layer(x)
    source = layer.source
    scores = x @ np.array(source.head.kernel) + np.array(source.scores)
    np.testing.assert_allclose(layer.losses[0], 0.1 * np.abs(scores).sum() / 4, rtol=1e-5)


BAD = {
    "target_shape": (lambda: SparseHyperlayer((0,), FreeSource(2)), r"`target_shape`.*\(0,\)"),
    "source": (lambda: SparseHyperlayer((4,), "free"), "`source`.*'free'"),
    "chunk_size": (lambda: SparseHyperlayer((4,), FreeSource(2), 0), "`chunk_size`.*=0"),
    "global_samples": (
        lambda: SparseHyperlayer((4,), FreeSource(2), global_samples=1.5),
        "`global_samples`.*1.5",
    ),
    "region": (lambda: SparseHyperlayer((4,), FreeSource(2), region=-1), "`region`.*-1"),
    "template alone": (
        lambda: SparseHyperlayer((4,), FreeSource(1), template=[[0, 0]]),
        "`template` and `learned_columns`.*together",
    ),
    "template of floats": (
        lambda: SparseHyperlayer((4,), FreeSource(1), template=[[0.5, 0]], learned_columns=(1,)),
        "`template`.*integers.*float64",
    ),
    "learned_columns": (
        lambda: SparseHyperlayer((4,), FreeSource(1), template=[[0, 0]], learned_columns=(1, 1)),
        r"`learned_columns`.*\(1, 1\)",
    ),
    "learned_columns of another type": (
        lambda: SparseHyperlayer((4,), FreeSource(1), template=[[0, 0]], learned_columns=1.5),
        r"`learned_columns`.*1.5",
    ),
    "num_tuples": (lambda: FreeSource(0), "`num_tuples`.*num_tuples=0"),
    "sigma_scale": (lambda: FreeSource(2, sigma_scale=-0.1), "`sigma_scale`.*-0.1"),
    "network": (lambda: DenseSource(2, network=len), "`network`.*Keras layer.*len"),
}


@pytest.mark.parametrize("make, message", BAD.values(), ids=BAD)
def test_bad_arguments_are_named_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()


BAD_BUILD = {
    "chunk that does not divide": (
        lambda: SparseHyperlayer((4,), FreeSource(6), chunk_size=4),
        (3, 5),
        "`chunk_size` to divide.*chunk_size=4 for 6 tuples",
    ),
    "template rows": (
        lambda: SparseHyperlayer((4,), FreeSource(2), template=[[0, 0]], learned_columns=(1,)),
        (3, 5),
        r"`template`.*2 tuples.*\(1, 2\)",
    ),
    "template columns": (
        lambda: SparseHyperlayer((4,), FreeSource(1), template=[[0, 0]], learned_columns=(1,)),
        (3, 5, 5),
        r"`template` to have 3 columns.*\(1, 2\)",
    ),
    "template outside": (
        lambda: SparseHyperlayer((4,), FreeSource(1), template=[[4, 0]], learned_columns=(1,)),
        (3, 5),
        "fixed columns.*inside",
    ),
    "region": (
        lambda: SparseHyperlayer((4,), FreeSource(2), region=(1, 2, 3)),
        (3, 5),
        r"`region`.*2 integers.*\(1, 2, 3\)",
    ),
    "unknown dims": (
        lambda: SparseHyperlayer((4,), FreeSource(2)),
        (3, None),
        r"known dims.*\(3, None\)",
    ),
    "no input dims": (
        lambda: SparseHyperlayer((4,), FreeSource(2), carried_axes=1),
        (3, 5),
        r"carried_axes=1.*\(3, 5\)",
    ),
    "more scores than cells": (
        lambda: SparseHyperlayer((4,), TopKSource(21)),
        (3, 5),
        "`num_tuples`.*20.*num_tuples=21",
    ),
    "source's output": (
        lambda: SparseHyperlayer(
            (4,), Given(np.zeros((1, 6, 3)), np.zeros((1, 6, 3)), np.zeros((1, 6)))
        ),
        (3, 5),
        r"`source` to give means \[b, k, 2\]",
    ),
}


@pytest.mark.parametrize("make, shape, message", BAD_BUILD.values(), ids=BAD_BUILD)
def test_what_does_not_fit_together_is_named_at_build(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make().build(shape)


def test_an_input_of_another_shape_is_named():
    layer = SparseHyperlayer((4,), FreeSource(2))
    layer(normal(2, 5))
    with pytest.raises(ValueError, match="expected axis 1 of input shape to have value 5"):
        layer(normal(2, 6))
    with pytest.raises(ValueError, match="expected ndim=2, found ndim=3"):
        layer(normal(2, 5, 1))


@pytest.mark.parametrize("tuple_range", [(0, 3), (2, 2), (-2, 2), (0, 8), (4, 2), "ab", 3])
def test_a_range_that_cuts_a_chunk_is_named(tuple_range):
    layer = SparseHyperlayer((4,), FreeSource(6), chunk_size=2)
    with pytest.raises(ValueError, match="`tuple_range`.*multiples of the chunk size 2.*6"):
        layer(normal(2, 5), training=True, tuple_range=tuple_range)


def test_a_source_serves_one_index_space():
    source = FreeSource(2)
    with pytest.raises(ValueError, match="no index space yet"):
        source(normal(2, 5))
    SparseHyperlayer((4,), source)(normal(2, 5))
    with pytest.raises(ValueError, match=r"bound to size=\(4, 5\).*size=\(3, 5\)"):
        SparseHyperlayer((3,), source)(normal(2, 5))
