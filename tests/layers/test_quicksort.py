"""Quicksort: its equations, what it does where the published code fails, its gradients."""

import itertools
import warnings

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from hyperkeras import ops
from hyperkeras.layers import Quicksort

rng = np.random.default_rng(0)
WAYS = [*itertools.product((3,), ("uniform", "logistic"), (False, True)), (None, "uniform", False)]


def drawn(b, n, z=3):
    x, keys = rng.normal(size=(b, n, z)), rng.normal(size=(b, n))
    return x.astype("float32"), keys.astype("float32")


def eye(b, n):
    return np.tile(np.eye(n, dtype="float32"), (b, 1, 1))


def by_order(x, keys):
    order = np.argsort(keys, axis=1, kind="stable")
    return np.take_along_axis(x, order[..., None], 1), np.take_along_axis(keys, order, 1)


def assert_all_close(found, expected, **tolerance):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


# The equations


@pytest.mark.parametrize("n", [1, 2, 5, 8, 11])
def test_buckets_are_halved_until_each_element_is_alone(n):
    buckets = [(0, n)]
    for depth in range((n - 1).bit_length() + 1):
        start, size = np.array(ops.bucket_bounds(n, depth))[0]
        expected = [(a, s) for a, s in buckets for _ in range(s)]
        assert list(zip(start, size, strict=True)) == expected
        buckets = [
            half for a, s in buckets for half in ((a, s // 2), (a + s // 2, s - s // 2)) if half[1]
        ]
    assert (size == 1).all()


def test_pivots_are_the_buckets_medians():
    _, keys = drawn(4, 8)
    for depth in range(3):
        bounds, buckets = ops.bucket_bounds(8, depth), keys.reshape(4, 2**depth, -1)
        expected = np.median(buckets, axis=2).repeat(8 // 2**depth, axis=1)
        np.testing.assert_allclose(ops.bucket_pivots(keys, bounds), expected, rtol=1e-5)
    odd = ops.bucket_pivots(np.array([[5.0, 1.0, 4.0]]), ops.bucket_bounds(3, 0))
    np.testing.assert_allclose(odd, [[2.5] * 3])  # one below, two above


def test_uniform_choices_are_balanced_and_each_as_likely():
    bounds = ops.bucket_bounds(4, 0)
    choices = np.array(ops.balanced_choices(rng.uniform(size=(1, 6000, 4)), bounds))[0]
    assert (choices.sum(1) == 2).all()
    _, counts = np.unique(choices, axis=0, return_counts=True)
    np.testing.assert_allclose(counts, 1000, atol=120)


def test_shares_are_probabilities_without_duplicates():
    logits = rng.normal(size=(1, 4)).astype("float32")
    choices = np.array([[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 1, 0]]], bool)
    bounds = ops.bucket_bounds(4, 0)
    o = 1 / (1 + np.exp(-logits[0]))
    p = np.where(choices[0], o, 1 - o).prod(1) * [1, 1, 0, 1]
    expected = np.repeat(p[:, None] / p.sum(), 4, axis=1)
    np.testing.assert_allclose(
        ops.choice_proportions(choices, logits, bounds)[0], expected, rtol=1e-4
    )


def test_shares_are_of_a_bucket_or_of_the_whole_vector():
    logits = rng.normal(size=(1, 4)).astype("float32")
    choices = np.array([[[0, 1, 0, 1], [0, 1, 1, 0]]], bool)  # the first bucket's are duplicates
    bounds = ops.bucket_bounds(4, 1)
    apart, joint = (
        np.array(ops.choice_proportions(choices, logits, bounds, joint))[0]
        for joint in (False, True)
    )
    o = 1 / (1 + np.exp(-logits[0]))
    p = np.where(choices[0], o, 1 - o)[:, 2:].prod(1)
    np.testing.assert_allclose(apart[:, :2], [[1, 1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(apart[:, 2], p / p.sum(), rtol=1e-4)
    np.testing.assert_allclose(joint, np.repeat((p / p.sum())[:, None], 4, axis=1), rtol=1e-4)


def test_shares_of_many_elements_do_not_underflow():
    logits = np.full((1, 400), 30.0, "float32")
    choices = rng.uniform(size=(1, 3, 400)).argsort(2) >= 200
    proportions = np.array(ops.choice_proportions(choices, logits, ops.bucket_bounds(400, 0)))
    np.testing.assert_allclose(proportions.sum(1), 1, rtol=1e-5)


def test_half_permutations_keep_the_order_within_halves():
    choices = np.array([[[1, 0, 0, 1, 0, 1, 1, 0]]], bool)
    whole, halves = (ops.bucket_bounds(8, depth) for depth in (0, 1))
    proportions = np.ones((1, 1, 8), "float32")
    moved = np.array(ops.half_permutation(choices, proportions, whole))[0] @ np.arange(8)
    np.testing.assert_array_equal(moved, [1, 2, 4, 7, 0, 3, 5, 6])
    moved = np.array(ops.half_permutation(choices, proportions, halves))[0] @ np.arange(8)
    np.testing.assert_array_equal(moved, [1, 2, 0, 3, 4, 7, 5, 6])


@pytest.mark.parametrize(
    "samples, n", [*((200, n) for n in (2, 3, 4)), *((None, n) for n in (1, 2, 3, 5, 6, 8, 9, 11))]
)
def test_with_all_choices_the_sort_is_the_exact_expectation(samples, n):
    _, keys = drawn(2, n)
    layer = Quicksort(samples, certainty=1.5, seed=0)
    matrix, soft = layer(eye(2, n), keys, training=True)
    for found, sums, k in zip(matrix, soft, keys, strict=True):
        expected = reference.quicksort_matrix(k, 1.5)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(sums, expected @ k, atol=1e-5)


def test_the_mean_half_permutation_is_finite_whatever_the_logits():
    logits = np.array([[1e4, -1e4, 0.0, 1e4, -1e4, 3.0, 3.0], [1e4] * 7], "float32")
    bounds, x = ops.bucket_bounds(7, 0), tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        matrix = ops.mean_half_permutation(x, bounds, 0)
        total = tf.reduce_sum(matrix * rng.normal(size=(7, 7)))
    matrix = np.array(matrix)
    assert_all_close((matrix.sum(1), matrix.sum(2)), np.ones((2, 2, 7)), atol=2e-3)
    np.testing.assert_allclose(matrix[0, 0, 1], 1, atol=2e-3)  # below for sure, and the first there
    assert np.isfinite(tape.gradient(total, x)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_mean_half_permutation_is_computed_in_float32(dtype):
    logits, bounds = tf.cast(rng.normal(size=(2, 9)), dtype), ops.bucket_bounds(9, 0)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        matrix = ops.mean_half_permutation(logits, bounds, 0)
    expected = ops.mean_half_permutation(tf.cast(logits, "float32"), bounds, 0)
    assert matrix.dtype == dtype
    np.testing.assert_allclose(tf.cast(matrix, "float32"), expected, atol=1e-2)
    assert np.isfinite(tf.cast(tape.gradient(matrix, logits), "float32")).all()


def test_log_odds_of_the_cauchy_sigmoid_are_exact_far_out():
    z = np.array([-1e30, -1e6, -2.0, -0.1, 0.0, 0.3, 5.0, 1e4, 1e30], "float32")
    wide = z.astype("float64")
    tails = [np.arctan2(1, -wide), np.arctan2(1, wide)]  # π o and π (1 − o)
    np.testing.assert_allclose(tails[0][2:7] / np.pi, 0.5 + np.arctan(wide[2:7]) / np.pi)
    x = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = ops.choice_logits(x, "cauchy")
    np.testing.assert_allclose(found, np.log(tails[0] / tails[1]), rtol=1e-5, atol=1e-6)
    slopes = (1 / tails[0] + 1 / tails[1]) / (1 + wide**2)
    np.testing.assert_allclose(tape.gradient(found, x), slopes, rtol=1e-5, atol=1e-15)
    assert ops.choice_logits(x) is x
    with pytest.raises(ValueError, match="`sigmoid`, expected one of 'logistic', 'cauchy'.*'tanh'"):
        ops.choice_logits(x, "tanh")


@pytest.mark.parametrize("sigmoid", reference.CHOICES)
def test_the_likelihood_is_that_of_the_right_choices(sigmoid):
    keys, choice = rng.normal(size=(2, 5)).astype("float32"), reference.CHOICES[sigmoid]

    def of(k):
        if len(k) == 1:
            return 0.0
        lower, ranked = len(k) // 2, np.sort(k)
        o = choice(2 * (k - (ranked[lower - 1] + ranked[lower]) / 2))
        own = np.log(1 - o[:lower]).sum() + np.log(o[lower:]).sum()
        return own + of(k[:lower]) + of(k[lower:])

    expected = [of(k) for k in keys.astype("float64")]
    found = ops.sort_log_likelihood(keys, 2.0, sigmoid=sigmoid)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    padded = np.concatenate([keys, np.full((2, 3), 7, "float32")], axis=1)
    found = ops.sort_log_likelihood(padded, 2.0, np.array([5, 5]), sigmoid=sigmoid)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.all(ops.sort_log_likelihood(np.sort(keys, 1), 1e5, sigmoid=sigmoid) > -1e-2)


@pytest.mark.parametrize("sigmoid", reference.CHOICES)
def test_the_likelihood_with_random_pivots_is_the_mean_over_all_runs(sigmoid):
    keys, choice = rng.normal(size=(2, 5)).astype("float32"), reference.CHOICES[sigmoid]

    def of(k):  # over all first pivots, and both parts' own runs
        if len(k) < 2:
            return 0.0
        total = 0.0
        for p in range(len(k)):
            below, above = (choice(2 * s * (k - k[p])) for s in (-1, 1))
            own = np.log(below[:p]).sum() + np.log(above[p + 1 :]).sum()
            total += own + of(k[:p]) + of(k[p + 1 :])
        return total / len(k)

    def found(keys, *lengths):
        return ops.sort_log_likelihood(keys, 2.0, *lengths, pivots="random", sigmoid=sigmoid)

    expected = [of(k) for k in keys.astype("float64")]
    np.testing.assert_allclose(found(keys), expected, rtol=1e-4)
    padded = np.concatenate([keys, np.full((2, 3), np.inf, "float32")], axis=1)
    expected[1] = of(keys[1, :4].astype("float64"))
    np.testing.assert_allclose(found(padded, np.array([5, 4])), expected, rtol=1e-4)
    np.testing.assert_array_equal(found(keys[:, :1]), 0)
    with pytest.raises(ValueError, match="`pivots`, expected one of 'median', 'random'.*'first'"):
        ops.sort_log_likelihood(keys, pivots="first")


# The layer


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("b", [1, 4])
def test_sorts_any_number_exactly_at_inference_and_where_certain(n, b):
    x, keys = drawn(b, n)
    assert_all_close(Quicksort(2)(x, keys), by_order(x, keys))
    keys = rng.permuted(np.tile(np.arange(n, dtype="float32"), (b, 1)), axis=1)
    for samples, proposals, joint in WAYS:
        sure = Quicksort(samples, 100.0, proposals, joint, seed=0)
        assert_all_close(sure(x, keys, training=True), by_order(x, keys), atol=1e-5)


def test_equal_keys_are_sorted_whole_and_in_place():
    x, _ = drawn(1, 6)
    keys = np.array([[1, 0, 1, 1, 0, 1]], "float32")
    assert_all_close(Quicksort()(x, keys), by_order(x, keys))
    for samples in (2, None):
        matrix, _ = Quicksort(samples, seed=0)(eye(1, 6), 0 * keys, training=True)
        assert_all_close((np.sum(matrix, 1), np.sum(matrix, 2)), np.ones((2, 1, 6)), atol=1e-5)


def test_soft_permutations_are_doubly_stochastic():
    _, keys = drawn(5, 11)
    for samples, proposals, joint in WAYS:
        layer = Quicksort(samples, 2.0, proposals, joint, seed=0)
        matrix = np.array(layer(eye(5, 11), keys, training=True)[0])
        assert (matrix >= 0).all() and ((matrix > 0.01) & (matrix < 0.99)).any()
        assert_all_close((matrix.sum(1), matrix.sum(2)), np.ones((2, 5, 11)), atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_targets_go_back_through_the_splits(training):
    x, keys = drawn(2, 6)
    targets, _ = drawn(2, 6)
    layer = Quicksort(2, 1.0, seed=3)
    y, ranked, elements, goals = layer(x, keys, targets, training=training)
    assert elements.shape == goals.shape == (2, 4, 6, 3)
    assert_all_close((elements[:, 0], elements[:, -1], goals[:, -1]), (x, y, targets))
    if not training:
        assert_all_close((y, ranked), by_order(x, keys), rtol=1e-6)
        order = np.argsort(keys, axis=1)[..., None]
        at_start = np.zeros_like(targets)
        np.put_along_axis(at_start, order, targets, axis=1)
        np.testing.assert_allclose(goals[:, 0], at_start, rtol=1e-6)
    # <P_d x_d, t> = <x_d, P_d' t>: what is sent back is the adjoint.
    sums = np.sum(np.array(elements) * np.array(goals), axis=(2, 3))
    np.testing.assert_allclose(sums, np.tile(sums[:, :1], (1, 4)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("samples, training", [(99, False), (99, True), (None, True)])
def test_masked_elements_come_last_and_change_nothing(samples, training):
    x, keys = drawn(3, 7)
    mask = np.array([[1, 1, 0, 1, 0, 1, 1], [1] * 7, [0, 0, 0, 1, 0, 0, 0]], bool)
    keys[~mask] = [np.inf, -np.inf, np.nan, 1e30, 0, -3, 2, 5]
    y, ranked = Quicksort(samples, 1.5, seed=0)(x, keys, mask=mask, training=training)
    for row, order, one, k, m in zip(y, ranked, x, keys, mask, strict=True):
        count = m.sum()
        # In training they are weighted sums, whose weights add up to 1 but for a rounding.
        np.testing.assert_allclose(row[count:], one[~m], rtol=4e-7 if training else 0)
        np.testing.assert_allclose(order[count:], k[~m], rtol=4e-7 if training else 0)
        if count <= 5 or samples is None:  # all choices are drawn
            alone = Quicksort(samples, 1.5, seed=0)(one[None, m], k[None, m], training=training)
            assert_all_close((row[None, :count], order[None, :count]), alone, atol=1e-4)


def test_a_mask_comes_with_its_elements_and_goes_on():
    x, keys = drawn(2, 3, 1)
    x[0, 1], keys[0, 1] = 0, -9
    masked = keras.layers.Masking()(x)
    y, _ = Quicksort()(masked, keys)
    assert not np.any(y[0, -1])
    np.testing.assert_array_equal(y._keras_mask, [[True, True, False], [True] * 3])


def gradients(layer, x, keys, weights):
    keys = tf.constant(keys)
    with tf.GradientTape() as tape:
        tape.watch(keys)
        y, _ = layer(x, keys, training=True)
        total = tf.reduce_sum(y * weights)
    return np.array(tape.gradient(total, keys))


@pytest.mark.parametrize("samples, n", [(200, 4), (None, 7)])
def test_gradients_are_those_of_finite_differences(samples, n):
    """With all choices nothing is left to chance."""
    x, keys = drawn(1, n)
    weights = rng.normal(size=(1, n, 3))
    found = gradients(Quicksort(samples, 1.5, seed=0), x, keys, weights)
    for i in range(n):
        step = 1e-6 * np.eye(n)[i]
        up, down = (
            np.sum(reference.quicksort_matrix(k, 1.5) @ x[0] * weights[0])
            for k in (keys[0] + step, keys[0] - step)
        )
        np.testing.assert_allclose(found[0, i], (up - down) / 2e-6, rtol=1e-2, atol=1e-3)


def test_more_samples_bring_the_gradient_nearer_to_the_exact_one():
    x, keys = drawn(1, 4)
    weights = rng.normal(size=(1, 4, 3))
    exact = gradients(Quicksort(None, 1.5), x, keys, weights)
    many = np.repeat(x, 500, 0), np.repeat(keys, 500, 0), weights
    errors = [
        np.square(gradients(Quicksort(s, 1.5, seed=0), *many) - exact).sum(1).mean()
        for s in (1, 4, 16)
    ]
    assert errors[0] > errors[1] > 2 * errors[2]


def test_without_samples_keys_get_no_gradient_and_a_warning():
    x, keys = drawn(2, 5)
    layer = Quicksort(name="sorter")
    with pytest.warns(UserWarning, match="'sorter'.*num_samples=0.*no gradient"):
        assert not np.any(gradients(layer, x, keys, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x, keys, training=True)  # said once
        layer(x, keys)


def test_a_functional_model_sorts_sets_with_targets():
    images, goal = keras.Input((5, 4)), keras.Input((5, 4))
    keys = keras.layers.Reshape((5,))(keras.layers.Dense(1)(images))
    outputs = Quicksort(2)(images, keys, targets=goal)
    assert [one.shape for one in outputs] == [(None, 5, 4), (None, 5), *2 * [(None, 4, 5, 4)]]
    model = keras.Model([images, goal], outputs)
    x, _ = drawn(2, 5, 4)
    assert [one.shape for one in model([x, x])] == [(2, *one.shape[1:]) for one in outputs]
    shapes = Quicksort().compute_output_shape((2, 5, 4), (2, 5), (2, 5, 4))
    assert list(shapes) == [(2, *one.shape[1:]) for one in outputs]


def test_half_precision_keeps_the_keys():
    x, keys = drawn(1, 4)
    keys = 1 + keys * 1e-4  # equal in float16
    y, ranked = Quicksort(dtype="mixed_float16")(x, keys)
    assert (y.dtype, ranked.dtype) == ("float16", "float32")
    assert_all_close((y, ranked), by_order(x, keys), rtol=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_keys_that_are_not_finite_are_named_in_eager_mode(training):
    x, keys = drawn(2, 3)
    keys[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"`keys` to be finite.*keys\[1, 2\]=nan, and 1"):
        Quicksort(1)(x, keys, training=training)
    tf.function(Quicksort(1))(x, keys)  # not seen where it is compiled


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Quicksort(-1), "`num_samples`.*num_samples=-1"),
        (lambda: Quicksort(certainty=0), "`certainty`.*above 0.*certainty=0"),
        (lambda: Quicksort(certainty=float("inf")), "`certainty`.*certainty=inf"),
        (lambda: Quicksort(certainty="high"), "`certainty`.*certainty='high'"),
        (lambda: Quicksort(sigmoid="tanh"), "`sigmoid`.*'cauchy'.*sigmoid='tanh'"),
        (lambda: Quicksort(proposals="normal"), "`proposals`.*'logistic'.*proposals='normal'"),
        (lambda: Quicksort()(*drawn(2, 3)[::-1]), r"`x` \[b, n, z\].*\(2, 3\), \(2, 3, 3\)"),
        (lambda: Quicksort()(drawn(2, 3)[0], drawn(2, 4)[1]), r"\(2, 3, 3\), \(2, 4\)"),
        (lambda: Quicksort()(*drawn(2, 3), drawn(2, 3, 4)[0]), r"`targets`.*\(2, 3, 4\)"),
        (lambda: Quicksort()(*drawn(2, 3), mask=np.ones((2, 2), bool)), r"`mask`.*\(2, 2\)"),
        (lambda: ops.bucket_bounds(0, 1), "`n`.*n=0"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
