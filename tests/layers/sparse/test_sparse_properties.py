"""What holds for every sparse layer: drawn shapes, chunks, templates and regions."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperkeras import layers, ops

some = settings(max_examples=15, deadline=None, derandomize=True, database=None)
sizes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)
dims = st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple)
seeds = st.integers(0, 2**31 - 1)


@st.composite
def chunks(draw):
    """Means in a tensor of any size, variances, and tuples drawn for them."""
    size, rng = draw(sizes), np.random.default_rng(draw(seeds))
    k, c = draw(st.integers(1, 4)), len(size)
    means = rng.uniform(size=(2, k, c)) * (np.array(size) - 1)
    region = draw(st.none() | st.integers(1, 9) | st.tuples(*[st.integers(1, 9)] * c))
    counts = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    tuples = np.array(ops.sample_tuples(means, size, *counts, region, seed=draw(seeds)))
    assert tuples.shape == (2, k * (2**c + sum(counts)), c)
    return size, means, rng.uniform(0.05, 3, size=(2, k, c)), tuples


@some
@given(chunks())
def test_tuples_stay_inside(chunk):
    size, *_, tuples = chunk
    assert (tuples >= 0).all() and (tuples < np.array(size)).all()


@some
@given(chunks())
def test_proportions_of_a_tuple_sum_to_one(chunk):
    size, means, sigmas, tuples = chunk
    q = np.array(ops.proportions(tuples, means, sigmas, size))
    assert (q >= 0).all()
    np.testing.assert_allclose(q.sum(1), 1, rtol=1e-9)
    assert not q[np.array(ops.duplicate_mask(tuples, size))].any()


@st.composite
def products(draw):
    """Arguments of `contract`, with tuples that occur more than once."""
    target, inputs = draw(dims), draw(dims)
    carried, batch = draw(st.just(()) | dims), draw(st.integers(1, 3))
    i, rng = draw(st.integers(1, 12)), np.random.default_rng(draw(seeds))
    shared = draw(st.booleans())
    tuples = rng.integers(
        0, target + inputs, size=(1 if shared else batch, i, len(target + inputs))
    )
    values = rng.normal(size=tuples.shape[:2])
    return tuples, values, rng.normal(size=(batch, *inputs, *carried)), target, inputs


def dense(tuples, values, x, target, inputs):
    """The tensor itself, and its einsum with x."""
    w = np.zeros((len(x), np.prod(target), np.prod(inputs)))
    for b in range(len(x)):
        at = b if len(tuples) > 1 else 0
        for one, value in zip(tuples[at], values[at], strict=True):
            row = np.ravel_multi_index(tuple(one[: len(target)]), target)
            w[b, row, np.ravel_multi_index(tuple(one[len(target) :]), inputs)] += value
    y = np.einsum("boj,bjc->boc", w, x.reshape(len(x), np.prod(inputs), -1))
    return y.reshape(len(x), *target, *x.shape[1 + len(inputs) :])


@some
@given(products())
def test_contract_equals_the_dense_einsum(product):
    *arguments, _ = product
    np.testing.assert_allclose(ops.contract(*arguments), dense(*product), atol=1e-12)


@some
@given(products(), seeds)
def test_gradients_of_contract_equal_finite_differences(product, seed):
    tuples, values, x, target, _ = product
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=np.shape(ops.contract(tuples, values, x, target)))

    def loss(values, x):
        return tf.reduce_sum(ops.contract(tuples, values, x, target) * weights)

    tensors = [tf.constant(values), tf.constant(x)]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y = loss(*tensors)
    for i, gradient in enumerate(tape.gradient(y, tensors)):
        direction, step = rng.normal(size=gradient.shape), 1e-4
        ends = []
        for sign in (1, -1):
            moved = [values, x]
            moved[i] = moved[i] + sign * step * direction
            ends.append(float(loss(*moved)))
        along = np.sum(np.array(gradient) * direction)
        np.testing.assert_allclose(along, (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-8)


@st.composite
def wirings(draw):
    """Arguments of a layer: dims, tuples, their chunks, and a template for some columns."""
    target, inputs, k = draw(dims), draw(dims), draw(st.integers(1, 6))
    chunk_size = draw(st.sampled_from([None, *(n for n in range(1, k + 1) if k % n == 0)]))
    more, rng = {}, np.random.default_rng(draw(seeds))
    if draw(st.booleans()):
        size = target + inputs
        columns = draw(st.sets(st.sampled_from(range(len(size))), min_size=1))
        template = rng.integers(0, size, size=(k, len(size)))
        more = {"template": template, "learned_columns": tuple(sorted(columns))}
    return target, inputs, k, {"chunk_size": chunk_size, **more}, rng


@pytest.fixture
def float64(seeded):
    keras.config.set_dtype_policy("float64")


@pytest.mark.parametrize("training", [False, True])
def test_layers_equal_the_reference(training, float64):
    @some
    @given(wirings())
    def check(wiring):
        target, inputs, k, arguments, rng = wiring
        layer = layers.SparseHyperlayer(target, layers.FreeSource(k), **arguments)
        x = rng.normal(size=(2, *inputs))
        y = layer(x, training=training)
        np.testing.assert_allclose(y, reference.layer_output(layer, x, training), atol=1e-10)

    check()
