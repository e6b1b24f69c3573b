"""Derivatives in x through generated weights, by the code of `docs/recipes.md`, on each backend."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from gradients import array, forward_derivative
from keras import layers, ops

from hyperkeras.models import Hypernetwork

PAGE = Path(__file__).parents[3] / "docs/recipes.md"


def documented():
    (code,) = re.findall(r"^(def derivative.*?)^```$", PAGE.read_text(), re.S | re.M)
    names = {"keras": keras}
    exec(compile(code, PAGE.name, "exec"), names)
    return names["derivative"]


def test_first_and_second_derivatives_go_through_generated_weights():
    rng, derivative = np.random.default_rng(0), documented()
    target = keras.Sequential([keras.Input((1,)), layers.Dense(5, "tanh"), layers.Dense(1)])
    body = keras.Sequential([keras.Input((2,)), layers.Dense(4, "tanh")])
    model = Hypernetwork(target, body, per_sample=True)
    condition = ops.convert_to_tensor(rng.normal(size=(6, 2)), "float32")
    x = ops.convert_to_tensor(rng.normal(size=(6, 1)), "float32")
    model([condition, x])

    def slope(x):
        return derivative(lambda x: model([condition, x]), x)[1]

    found = [ops.convert_to_numpy(ops.stop_gradient(part)) for part in derivative(slope, x)]
    w, b, v, _ = (
        ops.convert_to_numpy(ops.stop_gradient(weight)).astype("float64")
        for weight in model.generate(condition)
    )
    h = np.tanh(ops.convert_to_numpy(x) * w[:, 0] + b)
    first = ((1 - h**2) * w[:, 0] * v[..., 0]).sum(-1, keepdims=True)
    second = (-2 * h * (1 - h**2) * w[:, 0] ** 2 * v[..., 0]).sum(-1, keepdims=True)
    np.testing.assert_allclose(found[0], first, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], second, rtol=1e-4, atol=1e-5)


class Slope(keras.Model):
    """The derivative of a hypernetwork's output in x."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, inputs):
        condition, x = inputs
        return forward_derivative(lambda x: self.network([condition, x]), x)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # in torch.func.jvp
@pytest.mark.parametrize("last", [layers.Dense, layers.PReLU])  # in a product, mapped
def test_forward_derivatives_in_a_model_of_unknown_batch(last):
    rng = np.random.default_rng(0)
    parts = [layers.Dense(3, "tanh"), last(1) if last is layers.Dense else last()]
    target = keras.Sequential([keras.Input((1,)), *parts])
    body = keras.Sequential([keras.Input((2,)), layers.Dense(4, "tanh")])
    model = Slope(Hypernetwork(target, body, per_sample=True))
    y = model([keras.Input((2,)), keras.Input((1,))])
    assert tuple(y.shape) == (None, *target.output_shape[1:])
    condition = rng.normal(size=(5, 2)).astype("float32")
    x = rng.normal(size=(5, 1)).astype("float32")
    up, down = (array(model.network([condition, x + h])) for h in (1e-2, -1e-2))
    found = model.predict([condition, x], verbose=0)
    np.testing.assert_allclose(found, (up - down) / 2e-2, atol=2e-3)
