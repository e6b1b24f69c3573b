"""The fast ways through the sparse operations give what the plain ones give, to any derivative."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from hyperkeras import ops
from hyperkeras.layers import FreeSource, SparseHyperlayer
from hyperkeras.ops.sparse import compilation, duplicates
from hyperkeras.ops.sparse.dense_weights import apply_weights, dense_weights
from hyperkeras.ops.sparse.duplicates import linear_keys
from hyperkeras.ops.sparse.neighbors import read_neighbors
from hyperkeras.ops.sparse.sampling import draw_numbers, sample_columns, window_dims
from hyperkeras.ops.sparse.weighted_gather import read, read_drawn

rng = np.random.default_rng(0)
SIZE, B, K = (6, 9), 3, 5


def compile_all(monkeypatch, worth=0):
    monkeypatch.setattr(compilation, "WORTH", worth)


def problem(carried=(), integers=False):
    means = rng.uniform(-0.7, 1.2, size=(B, K, 2)) * (np.array(SIZE) - 1)  # some lie outside
    if integers:
        means = np.round(means)
    sigmas, values = rng.uniform(0.2, 3, size=(B, K, 2)), rng.normal(size=(B, K))
    return means, sigmas, values, rng.normal(size=(B, *SIZE, *carried))


def results(f, arrays, upstream):
    """Value, gradients, and how a gradient's sum of squares changes with each array."""
    arrays = [tf.constant(a) for a in arrays]
    with tf.GradientTape() as outer:
        outer.watch(arrays)
        with tf.GradientTape() as tape:
            tape.watch(arrays)
            y = f(*arrays)
            loss = tf.reduce_sum(upstream * y**2)
        first = tape.gradient(loss, arrays)
        norm = sum(tf.reduce_sum(g**2) for g in first)
    return [y, *first, *outer.gradient(norm, arrays)]


def assert_same(one, other, atol=1e-9):
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=atol)


@pytest.mark.parametrize("worth", [2**30, 0], ids=("plain", "compiled"))
@pytest.mark.parametrize("carried", [(), (2,)])
@pytest.mark.parametrize("integers", [False, True])
def test_neighbors_alone_give_what_read_gives(carried, integers, worth, monkeypatch):
    arrays, upstream = problem(carried, integers), rng.normal(size=(B, K, *carried))
    columns = [np.array(c) for c in sample_columns(arrays[0], SIZE, 0, 0, None, 1)]
    expected = results(lambda *a: read(columns, *a), arrays, upstream)
    compile_all(monkeypatch, worth)
    found = results(lambda *a: read_neighbors(*a, carried_axes=len(carried)), arrays, upstream)
    assert_same(found, expected)


def test_neighbors_of_a_signal_and_of_a_volume():
    for size in ((7,), (3, 4, 5)):
        means = rng.uniform(size=(2, 4, len(size))) * (np.array(size) - 1)
        sigmas, values = rng.uniform(0.2, 3, size=means.shape), rng.normal(size=(2, 4))
        x = rng.normal(size=(2, *size))
        columns = [np.array(c) for c in sample_columns(means, size, 0, 0, None, 1)]
        expected = read(columns, *(tf.constant(a) for a in (means, sigmas, values, x)))
        found = read_neighbors(*(tf.constant(a) for a in (means, sigmas, values, x)))
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_drawn_tuples_are_read_as_those_of_their_columns():
    arrays, upstream = problem((2,)), rng.normal(size=(B, K, 2))
    settings = (2, 3, window_dims(3, SIZE))
    numbers = draw_numbers(arrays[0], SIZE, *settings, 1)
    columns = sample_columns(tf.constant(arrays[0]), SIZE, *settings, 1)
    expected = results(lambda *a: read(columns, *a), arrays, upstream)
    found = results(lambda *a: read_drawn(numbers, *a, *settings), arrays, upstream)
    assert_same(found, expected)


def test_what_is_compiled_answers_forward_mode(monkeypatch):
    means, *others = (tf.constant(a) for a in problem())
    along = tf.constant(rng.normal(size=means.shape))

    def slope():
        with tf.autodiff.ForwardAccumulator(means, along) as accumulator:
            y = read_neighbors(means, *others)
        return accumulator.jvp(y)

    expected = slope()
    compile_all(monkeypatch)
    np.testing.assert_allclose(slope(), expected, atol=1e-12)
    assert np.any(expected)


@pytest.mark.parametrize("outputs", [1, 2])
def test_weights_held_whole_equal_those_of_tuples(outputs):
    size, b, k = (3, 4, 5), 2, 6
    means = rng.uniform(size=(b, k, 3)) * (np.array(size) - 1)
    sigmas, values = rng.uniform(0.05, 3, size=means.shape), rng.normal(size=(b, k))
    tuples = np.array(ops.sample_tuples(means, size, 1, 2, 2, seed=1))
    x, target = rng.normal(size=(b, *size[outputs:], 2)), size[:outputs]

    def whole(means, sigmas, values, x):
        weights = dense_weights(tuples, means, sigmas, values, size, outputs)
        return apply_weights(weights, x, target, carried_axes=1)

    def by_tuples(means, sigmas, values, x):
        weights = ops.distribute(tuples, means, sigmas, values, size)
        return ops.contract(tuples, weights, x, target)

    arrays, upstream = (means, sigmas, values, x), rng.normal(size=(b, *target, 2))
    assert_same(*(results(f, arrays, upstream) for f in (whole, by_tuples)))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("sigma_scale", [0.1, 1e-6])
def test_a_small_layer_gives_what_its_tuples_give(shared, sigma_scale):
    found = []
    for whole in (True, False):
        keras.utils.set_random_seed(0)
        source = FreeSource(12, sigma_scale, shared=shared, values_initializer="normal")
        layer = SparseHyperlayer((8,), source, None, 3, 2, 2, seed=1, dtype="float64")
        x = tf.constant(np.random.default_rng(0).normal(size=(3, 9)))
        layer.build(x.shape)
        assert layer._holds_whole
        layer._holds_whole = whole
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y**2)
        found.append([y, *tape.gradient(loss, [*layer.trainable_weights, x])])
    assert_same(*found)


def test_a_large_or_a_cut_tensor_is_not_held_whole():
    for n, chunk in ((2000, None), (8, 4)):
        layer = SparseHyperlayer((n,), FreeSource(8), chunk)
        layer.build((None, n))
        assert not layer._holds_whole


def assert_copies(mask, tuples):
    for one, found in zip(tuples, np.array(mask), strict=True):
        np.testing.assert_array_equal(found, reference.duplicate_mask(one))


def keys_of(tuples, size):
    return linear_keys([tf.constant(tuples[..., j]) for j in range(len(size))], size)


@pytest.mark.parametrize("i", [40, 200])
def test_copies_are_found_in_a_table_of_which_all_slots_are_one(i, monkeypatch):
    """Round after round, tuples that differ meet in one slot: still each is compared in full."""
    tuples = rng.integers(0, 9, size=(3, i, 2))
    monkeypatch.setattr(duplicates, "_hash", lambda keys, *_: 0 * keras.ops.cast(keys[0], "int32"))
    assert_copies(duplicates.copies_by_table(*keys_of(tuples, (9, 9))), tuples)


@pytest.mark.parametrize("size", [(20, 30), (2**31 - 1,) * 3])
def test_copies_are_found_in_a_table_block_by_block(size, monkeypatch):
    tuples = rng.integers(0, 20, size=(7, 90, len(size)))
    monkeypatch.setattr(duplicates, "BLOCK", 200)
    assert_copies(duplicates.copies_by_table(*keys_of(tuples, size)), tuples)
    compile_all(monkeypatch)
    assert_copies(ops.duplicate_mask(tuples, size), tuples)
