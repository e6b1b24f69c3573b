"""What each source gives, beyond the values that the conformance tests compare."""

import keras
import numpy as np
import pytest

from hyperkeras.initializers import LogitUniform
from hyperkeras.layers import (
    AffineSource,
    BoxSource,
    DenseSource,
    FixedSource,
    FreeSource,
    TopKSource,
)

rng = np.random.default_rng(0)


def bound(source, size, x):
    source.bind(size)
    return [np.array(a) for a in source(x)]


def test_free_means_start_evenly_over_the_tensor():
    keras.utils.set_random_seed(0)
    means, _, _ = bound(FreeSource(4000), (10, 1000), np.zeros((1, 3), "float32"))
    for column, size in zip(means[0].T, (10, 1000), strict=True):
        counts, _ = np.histogram(column, bins=5, range=(0, size - 1))
        assert counts.min() > 700 and counts.max() < 900  # 800 each, give or take four deviations


def test_logit_uniform_keeps_its_margin_and_its_config():
    initializer = LogitUniform(margin=0.1, seed=3)
    u = 1 / (1 + np.exp(-np.array(initializer((1000,)))))
    assert 0.1 <= u.min() < 0.11 and 0.89 < u.max() <= 0.9
    assert LogitUniform.from_config(initializer.get_config()).get_config() == {
        "margin": 0.1,
        "seed": 3,
    }
    with pytest.raises(ValueError, match="`margin`.*0.5.*margin=0.7"):
        LogitUniform(margin=0.7)


def test_sigma_scale_and_min_sigma():
    _, sigmas, _ = bound(FreeSource(2, 0.5, 0.25), (4, 8), np.zeros((1, 1), "float32"))
    softplus = np.log1p(np.exp(2))
    np.testing.assert_allclose(sigmas[0, 0], 0.5 * (softplus + 0.25) * np.array([4, 8]), rtol=1e-6)


def test_the_network_of_a_dense_source_moves_the_wiring_with_the_input():
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(4)])
    x = rng.normal(size=(2, 3, 5)).astype("float32")
    source = DenseSource(6, network)
    means, sigmas, values = bound(source, (7, 9), x)
    assert means.shape == (2, 6, 2) and sigmas.shape == (2, 6, 2) and values.shape == (2, 6)
    assert (means[0] != means[1]).all() and (values[0] != values[1]).all()
    assert len(source.trainable_weights) == 4 + 4  # the network's, the head and three starts


def test_top_k_keeps_the_scores_of_highest_magnitude():
    source = TopKSource(3)
    x = rng.normal(size=(4, 2)).astype("float32")
    means, sigmas, values = bound(source, (2, 3), x)
    scores = (x @ np.array(source.head.kernel)).reshape(4, 2, 3)
    for one, tuples, weights in zip(scores, means.astype(int), values, strict=True):
        np.testing.assert_allclose(weights, one[tuple(tuples.T)], rtol=1e-5)
        assert np.abs(weights).min() >= np.sort(np.abs(one).ravel())[-3] - 1e-6
    assert not sigmas.any()


def test_boxes_start_in_the_middle_and_their_grid_is_evenly_spaced():
    x = rng.normal(size=(2, 8)).astype("float32")
    source = BoxSource((3, 4), num_glimpses=2)
    means, _, values = bound(source, (21, 41), x)
    middle = 1 / (1 + np.exp([1, -1, 1, -1])) * [20, 20, 40, 40]
    np.testing.assert_allclose(source.boxes(x), np.broadcast_to(middle, (2, 2, 4)), rtol=0.2)
    grid = means.reshape(2, 2, 3, 4, 2)
    np.testing.assert_allclose(grid[:, :, 0, 0], source.boxes(x)[..., 0::2], rtol=1e-5)
    rows, columns = np.diff(grid[..., 0], axis=2), np.diff(grid[..., 1], axis=3)
    np.testing.assert_allclose(rows, np.broadcast_to(rows[:, :, :1, :1], rows.shape), rtol=1e-3)
    np.testing.assert_allclose(columns, columns[:, :, :1, :1] + 0 * columns, rtol=1e-3)
    assert (values == 1).all()


def test_an_affine_grid_that_leaves_the_image_is_moved_onto_its_border():
    x = np.ones((1, 1), "float32")
    source = AffineSource(3)
    source.bind((11, 21))
    source.build(x.shape)
    shift = np.zeros((1, 6), "float32")
    shift[0, [0, 2]] = 0.5, 0.5  # twice the height, half of it down
    source.head.kernel.assign(shift)
    grid = np.array(source(x)[0]).reshape(3, 3, 2)
    np.testing.assert_allclose(grid[:, 0, 0], [2.5 - 2.5 + 2.5, 7.5, 10], atol=1e-5)
    np.testing.assert_allclose(grid[0, :, 1], [5, 10, 15], atol=1e-5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BoxSource(0), r"`grid_shape`.*\(0, 0\)"),
        (lambda: BoxSource((1, 2, 3, 4)), r"`grid_shape`.*one to three.*\(1, 2, 3, 4\)"),
        (lambda: AffineSource(3, num_glimpses=0), "`num_glimpses`.*num_glimpses=0"),
        (lambda: bound(BoxSource(3), (4, 5, 6), np.zeros((1, 2))), r"two learned columns.*\(4, 5"),
        (lambda: FixedSource([1, 2]), r"`tuples`.*shape \[k, c\].*\[1, 2\]"),
        (lambda: FixedSource([[0.5, 1]]), r"`tuples`.*integers"),
        (lambda: bound(FixedSource([[0, 1]]), (4, 5, 6), np.zeros((1, 2))), r"3 columns.*\(1, 2\)"),
        (lambda: bound(FixedSource([[0, 5]]), (4, 5), np.zeros((1, 2))), r"inside.*\[0 5\]"),
        (lambda: bound(FreeSource(3), (4, None), np.zeros((1, 2))), r"`size`.*\(4, None\)"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_dense_source_needs_features_of_known_size():
    source = DenseSource(3)
    source.bind((4, 5))
    with pytest.raises(ValueError, match=r"known dims.*\(2, None\)"):
        source.build((2, None))
