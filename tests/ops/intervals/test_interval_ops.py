"""Interval arithmetic, against NumPy in float64 and against points drawn inside the boxes."""

import itertools

import hypothesis
import numpy as np
from gradients import array
from hypothesis import strategies as st
from keras import ops

from hyperkeras import ops as hyper

rng = np.random.default_rng(0)
seeds = st.integers(0, 2**32 - 1)
# Of boxes of inputs or weights: of any sign, of one sign, and without extent.
KINDS = ("any", "positive", "negative", "point")
kinds = st.sampled_from(KINDS)
fast = hypothesis.settings(max_examples=40, deadline=None, database=None)


def box(random, kind, *shape):
    """Lower and upper bounds, float64."""
    a, b = random.normal(size=(2, *shape))
    a, b = {"positive": (abs(a), abs(b)), "negative": (-abs(a), -abs(b))}.get(kind, (a, b))
    return (a, a) if kind == "point" else (np.minimum(a, b), np.maximum(a, b))


def inside(random, bounds):
    """A point in a box."""
    lower, upper = bounds
    return lower + random.uniform(size=lower.shape) * (upper - lower)


def corners(x, kernel):
    """The exact bounds of a dense layer: of each product the least and the most of four corners."""
    products = np.stack([a[..., None] * k for a, k in itertools.product(x, kernel)])
    return products.min(0).sum(-2), products.max(0).sum(-2)


def test_a_dense_layer_has_the_bounds_of_all_corners():
    for x_kind, kernel_kind in itertools.product(KINDS, KINDS):
        x, kernel = box(rng, x_kind, 3, 5), box(rng, kernel_kind, 5, 2)
        bias = box(rng, "any", 2)
        exact = [e + b for e, b in zip(corners(x, kernel), bias, strict=True)]
        found = [array(y) for y in hyper.interval_dense(x, kernel, bias)]
        if "any" not in (x_kind, kernel_kind) or "point" in (x_kind, kernel_kind):
            np.testing.assert_allclose(found, exact, atol=1e-12)
        assert (found[0] <= exact[0] + 1e-12).all() and (found[1] >= exact[1] - 1e-12).all()
        # At most twice as wide around the exact center where both may have either sign.
        assert (found[1] - found[0] <= 2 * (exact[1] - exact[0]) + 1e-12).all()


def test_a_point_may_be_one_tensor():
    x, kernel = box(rng, "any", 3, 5), box(rng, "any", 5, 2)
    for one, other in ((x[0], kernel), (x, kernel[0]), (x[0], kernel[0])):
        pairs = [a if isinstance(a, tuple) else (a, a) for a in (one, other)]
        found = [array(y) for y in hyper.interval_dense(one, other)]
        np.testing.assert_allclose(found, corners(*pairs), atol=1e-12)


@fast
@hypothesis.given(seeds, kinds, kinds, st.sampled_from(["valid", "same"]), st.integers(1, 2))
def test_a_convolution_of_points_inside_stays_inside(seed, x_kind, kernel_kind, padding, strides):
    random = np.random.default_rng(seed)
    x, kernel = box(random, x_kind, 2, 4, 3, 2), box(random, kernel_kind, 2, 3, 2, 3)
    bias = box(random, "any", 3)
    lower, upper = (array(y) for y in hyper.interval_conv(x, kernel, bias, strides, padding))
    for _ in range(5):
        a, k, b = (
            low + random.uniform(size=low.shape) * (up - low) for low, up in (x, kernel, bias)
        )
        y = array(ops.conv(a, k, strides, padding, "channels_last")) + b
        assert (y >= lower - 1e-9).all() and (y <= upper + 1e-9).all()


@fast
@hypothesis.given(seeds)
def test_a_monotone_function_of_points_inside_stays_inside(seed):
    random = np.random.default_rng(seed)
    x, y = box(random, "any", 2, 4, 4, 1), box(random, "any", 2, 4, 4, 1)
    functions = (
        lambda a, b: ops.relu(a) + ops.tanh(b),
        lambda a, b: ops.max_pool(ops.add(a, b), 2, data_format="channels_last"),
        lambda a, b: ops.average_pool(a, 2, data_format="channels_last"),
    )
    inside = [low + random.uniform(size=low.shape) * (up - low) for low, up in (x, y)]
    for function in functions:
        lower, upper = (array(z) for z in hyper.interval_monotone(function, x, y))
        z = array(function(*(ops.convert_to_tensor(a) for a in inside)))
        assert (lower <= z + 1e-9).all() and (z <= upper + 1e-9).all()
        np.testing.assert_allclose(
            lower, array(function(*(ops.convert_to_tensor(a[0]) for a in (x, y))))
        )


@fast
@hypothesis.given(seeds)
def test_the_worst_logits_have_the_largest_loss(seed):
    random = np.random.default_rng(seed)
    lower, upper = box(random, "any", 4, 3)
    targets = np.eye(3)[random.integers(0, 3, 4)]

    def loss(z):
        return np.log(np.exp(z).sum(-1)) - (z * targets).sum(-1)

    worst = array(hyper.worst_case_logits(lower, upper, targets))
    assert ((worst == lower) == (targets == 1)).all()
    for _ in range(20):
        assert (loss(inside(random, (lower, upper))) <= loss(worst) + 1e-12).all()


def test_boxes_of_embeddings():
    e, v = rng.normal(size=(2, 3, 5))
    center, radius = (array(a) for a in hyper.embedding_box(e, 2.0, v))
    np.testing.assert_array_equal(center, e)
    np.testing.assert_allclose(radius, 2 * np.exp(v) / np.exp(v).sum(-1, keepdims=True))
    center, radius = (array(a) for a in hyper.embedding_box(e, 2.0))
    np.testing.assert_allclose(center, 2.0 / 10 * np.cos(e))
    np.testing.assert_allclose(radius, np.full((3, 5), 2.0 / 5))


@fast
@hypothesis.given(seeds, st.floats(0.01, 100), st.integers(1, 9))
def test_nested_boxes_always_meet(seed, epsilon, size):
    embeddings = np.random.default_rng(seed).normal(size=(6, size), scale=10)
    center, radius = (array(a) for a in hyper.embedding_box(embeddings, epsilon))
    lower, upper = (array(a) for a in hyper.common_box(center - radius, center + radius))
    cube = epsilon / 2 / size
    assert (lower <= -cube * (1 - 1e-6)).all() and (upper >= cube * (1 - 1e-6)).all()
    assert (center - radius <= lower).all() and (upper <= center + radius).all()


def test_boxes_that_do_not_meet_have_a_point_between_them():
    lower, upper = np.array([[0.0, 0], [2, 1]]), np.array([[1.0, 3], [5, 2]])
    found = [array(a) for a in hyper.common_box(lower, upper)]
    np.testing.assert_array_equal(found, [[1.5, 1], [1.5, 2]])
