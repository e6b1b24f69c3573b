"""Weights of each sample's own: a batch gives what its samples give one at a time."""

import concurrent.futures

import keras
import numpy as np
import pytest
from gradients import array, gradients
from keras import layers, ops
from per_sample_targets import (
    CONSTANT_INPUTS,
    INSIDE,
    KERAS_LAYERS,
    OUTSIDE_THE_BATCH,
    TRANSFORMERS,
    Scaled,
    model_of,
    normal,
)

from hyperkeras.layers import DenseHead
from hyperkeras.models import Hypernetwork


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def body(features=5):
    return keras.Sequential([keras.Input((4,)), layers.Dense(features, "tanh")])


def weighted_sum(weights):
    return lambda y: ops.sum(y * ops.convert_to_tensor(weights, y.dtype))


def sum_of(parts):
    """None where a glimpse without neighbors, say, has no gradient."""
    return sum(part for part in parts if part is not None)


def check(target, x, atol=1e-5, gradient=True, **arguments):
    """Values and gradients of a batch against those of its first and last sample by themselves."""
    model = Hypernetwork(target, body(), per_sample=True, **arguments)
    condition = normal(len(x), 4, seed=1)
    y = array(model([condition, x]))
    rows = [slice(0, 1), slice(len(x) - 1, len(x))]
    singly = np.concatenate([array(model([condition[r], x[r]])) for r in rows])
    np.testing.assert_allclose(y[[0, -1]], singly, atol=atol)
    assert np.ptp(y, axis=0).max() > 0
    if gradient:
        weights = normal(*y.shape, seed=2)
        weights[1:-1] = 0
        together = gradients(model, [condition, x], weighted_sum(weights))
        parts = [gradients(model, [condition[r], x[r]], weighted_sum(weights[r])) for r in rows]
        for g, *single in zip(together, *parts, strict=True):
            g, single = (0 if a is None else a for a in (g, sum_of(single)))
            np.testing.assert_allclose(g, single, atol=20 * atol)
    return model


@pytest.mark.parametrize("name", KERAS_LAYERS)
def test_layers_of_keras(name):
    make, shape, dtype = KERAS_LAYERS[name]
    x = normal(3, *shape)
    if dtype == "int32":
        x = np.random.default_rng(0).integers(1, 6, (3, *shape)).astype("int32")
    check(model_of(make(), shape, dtype), x, gradient=False)


@pytest.mark.parametrize("name", INSIDE)
def test_layers_inside_layers(name):
    make, shape = INSIDE[name]
    check(model_of(make(), shape), normal(3, *shape))


@pytest.mark.parametrize("name", OUTSIDE_THE_BATCH)
def test_weights_used_without_the_batch_axis(name):
    """With as many positions as samples too, where shapes alone tell nothing."""
    make, shape = OUTSIDE_THE_BATCH[name]
    for rows in (3, shape[0]):
        x = normal(rows, *shape)
        if name.startswith("tied"):
            x = np.random.default_rng(0).integers(0, 7, (rows, *shape)).astype("int32")
        check(model_of(make(), shape, x.dtype.name), x, gradient=rows == 3)


@pytest.mark.parametrize("name", CONSTANT_INPUTS)
def test_a_layer_that_never_sees_the_batch_is_named(name):
    make, shape = CONSTANT_INPUTS[name]
    model = Hypernetwork(model_of(make(), shape), body(), per_sample=True)
    with pytest.raises(ValueError, match="'culprit'"):
        model([normal(4, 4), normal(4, *shape)])


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name):
    x = np.random.default_rng(0).integers(0, 7, (3, 5)).astype("int32")
    x[2, 3:] = 0  # padding
    model = check(TRANSFORMERS[name](), x)
    inputs = [normal(3, 4, seed=1), x]
    first, second = (array(model(inputs, training=True)) for _ in range(2))
    assert np.isfinite(first).all() and np.abs(first - second).max() > 0


def test_a_sublayer_inside_a_mapped_layer_and_outside():
    shared = layers.Dense(4)
    inputs = keras.Input((4,))
    target = keras.Model(inputs, shared(Scaled(shared)(inputs)))
    check(target, normal(3, 4))


def test_each_sample_draws_noise_of_its_own_in_a_mapped_layer():
    target = model_of(Scaled(keras.Sequential([layers.Dense(50), layers.Dropout(0.5)])), (4,))
    model = Hypernetwork(target, body(), per_sample=True, head=DenseHead("bias_hyper"))
    inputs = [np.ones((3, 4), "float32"), np.ones((3, 4), "float32")]
    first, second = (array(model(inputs, training=True)) == 0 for _ in range(2))
    assert 0.3 < first.mean() < 0.7
    assert np.any(first[0] != first[1]) and np.any(first != second)


def test_losses_of_a_mapped_layer_are_averaged_over_the_samples():
    target = model_of(Scaled(layers.Dense(2, activity_regularizer="l2")), (4,))
    model = Hypernetwork(target, body(), per_sample=True)
    inputs = [normal(3, 4, seed=1), normal(3, 4)]
    model(inputs)
    together = float(array(sum(model.losses)))
    singly = []
    for i in range(3):
        model([a[i : i + 1] for a in inputs])
        singly.append(float(array(sum(model.losses))))
    assert together > 0
    np.testing.assert_allclose(together, np.mean(singly), rtol=1e-5)


def test_a_mapped_layer_with_moving_statistics_is_refused_in_training():
    target = model_of(
        Scaled(keras.Sequential([layers.Dense(2), layers.BatchNormalization()])), (4,)
    )
    model = check(target, normal(3, 4), gradient=False)
    with pytest.raises(ValueError, match="to update no state"):
        model([normal(3, 4), normal(3, 4)], training=True)


@pytest.mark.parametrize("name", ["conv_2d_transpose", "dense", "separable_conv_2d", "prelu"])
def test_an_empty_batch(name):
    make, shape, _ = KERAS_LAYERS[name]
    model = Hypernetwork(model_of(make(), shape), body(), per_sample=True)
    y = model([normal(2, 4), normal(2, *shape)])
    empty = model([normal(0, 4), normal(0, *shape)])
    assert tuple(empty.shape) == (0, *y.shape[1:])


def test_threads_share_a_target():
    target = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8), Scaled(layers.Dense(6)), layers.Dense(2)]
    )
    model = Hypernetwork(target, body(), per_sample=True)
    inputs = [(normal(3, 4, seed=i), normal(3, 4, seed=i + 50)) for i in range(12)]
    expected = [array(model(list(pair))) for pair in inputs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda pair: array(model(list(pair))), inputs * 2))
    for y, z in zip(results, expected * 2, strict=True):
        np.testing.assert_allclose(y, z, atol=1e-5)


def test_the_target_runs_as_ever_after_and_saves(tmp_path):
    target = model_of(layers.LSTM(3), (5, 4))
    x = normal(3, 5, 4)
    before = array(target(x))
    Hypernetwork(target, body(), per_sample=True)([normal(3, 4), x])
    np.testing.assert_array_equal(array(target(x)), before)
    target.save(tmp_path / "target.keras")
    again = keras.models.load_model(tmp_path / "target.keras")
    np.testing.assert_allclose(array(again(x)), before, atol=1e-6)
    clone = keras.models.clone_model(target)
    clone.set_weights(target.get_weights())
    np.testing.assert_allclose(array(clone(x)), before, atol=1e-6)
