"""Kernels that a hypernetwork never makes, beside kernels that it makes."""

import keras
import numpy as np
import pytest
from gradients import array, gradients
from keras import layers, ops
from per_sample_targets import normal

from hyperkeras.layers import DenseHead
from hyperkeras.models import Hypernetwork

F, B = 3, 4


def network(features=F, head=None, **arguments):
    """A hypernetwork around two Dense layers that gain by factors, and one that does not."""
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(8, "tanh"), layers.Dense(6, use_bias=False), layers.Dense(2)]
    target = keras.Sequential([keras.Input((5,)), *hidden])
    body = keras.Sequential([keras.Input((4,)), layers.Dense(features, "tanh")])
    return Hypernetwork(target, body, head, per_sample=True, **arguments)


def inputs():
    return [normal(B, 4, seed=1), normal(B, 5, seed=2)]


def factors(model):
    condition, x = inputs()
    model([condition, x])
    _, found = model._pairs_per_sample(condition, x, None)
    return found


@pytest.mark.parametrize("head", [lambda: None, lambda: DenseHead(normalize=True)])
def test_values_and_gradients_equal_those_with_kernels(head, monkeypatch):
    found = []
    for factored in (True, False):
        model = network(head=head())
        if not factored:
            monkeypatch.setattr(type(model), "_can_factor", lambda *_: False)
        assert len(factors(model)) == 2 * factored
        y = array(model(inputs()))
        found.append([y, *gradients(model, inputs(), lambda y: ops.sum(y**2))])
    for a, b in zip(*found, strict=True):
        # In proportion to the largest, since sums of such numbers cancel.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * max(1, np.abs(b).max()))


def test_a_factored_kernel_is_the_generated_one():
    model = network()
    by_layer = factors(model)
    kernel = array(model.generate(inputs()[0])[0])
    made = by_layer[id(model.target.layers[0])]
    np.testing.assert_allclose(array(made.value()), kernel, atol=1e-6)
    x = normal(B, 7, 5, seed=3)
    np.testing.assert_allclose(array(made.times(x)), x @ kernel, atol=1e-5)


def test_where_kernels_are_read_they_are_made():
    assert not factors(network(features=8))  # more numbers than a kernel's
    assert not factors(network(residual=True))
    model = network()
    model.target.layers[0].kernel.regularizer = keras.regularizers.L2(1e-3)
    assert not factors(model)


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_other_precision(name, policy):
    """Under mixed precision kernels are made, in full precision."""
    plain = network()
    expected = array(plain(inputs()))
    policy(name)
    model = network()
    model(inputs())
    model.set_weights(plain.get_weights())  # numbers of another precision are drawn otherwise
    assert bool(factors(model)) == (not name.startswith("mixed"))
    y = model(inputs())
    assert keras.backend.standardize_dtype(y.dtype) == name.removeprefix("mixed_")
    np.testing.assert_allclose(array(ops.cast(y, "float32")), expected, atol=0.05)
