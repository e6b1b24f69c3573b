"""Hypernetworks inside `keras.ops.vectorized_map`: `vmap` of PyTorch and of JAX, TensorFlow's."""

import keras
import numpy as np
import pytest
from gradients import array
from keras import layers, ops
from per_sample_targets import CONVOLUTIONS, model_of, normal

from hyperkeras.models import Hypernetwork
from hyperkeras.models.hypernetworks.per_sample import mapping

BACKEND = keras.backend.backend()
# The others trace for long, and map a convolution as any operation. TensorFlow has no groups with
# a bias inside a map, for any layer, on some processors.
NAMES = CONVOLUTIONS if BACKEND == "torch" else ["conv_1d"]
SELECTIONS = {"all": None, "bias": lambda variable: variable.name == "bias", "last": ["last"]}


def model_around(name, select, per_sample):
    """A hypernetwork of a convolution, whose body reads an image."""
    make, shape = CONVOLUTIONS[name]
    target = keras.Sequential([*model_of(make(), shape).layers, layers.Dense(2, name="last")])
    target.build((None, *shape))
    body = keras.Sequential(
        [keras.Input((3, 3, 1)), layers.Conv2D(4, 2, activation="tanh"), layers.Flatten()]
    )
    return Hypernetwork(target, body, select=SELECTIONS[select], per_sample=per_sample), shape


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("select", SELECTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_samples_and_conditions_are_mapped(name, select, per_sample):
    """By x with a condition for all, and by conditions with an x for all."""
    model, shape = model_around(name, select, per_sample)
    conditions, x = normal(3, 3, 3, 1), normal(3, *shape, seed=1)
    first, one = (ops.convert_to_tensor(a[:1]) for a in (conditions, x))
    model([first, one])
    by_x = ops.vectorized_map(lambda row: model([first, row[None]])[0], ops.convert_to_tensor(x))
    by_condition = ops.vectorized_map(
        lambda row: model([row[None], one])[0], ops.convert_to_tensor(conditions)
    )
    for i in range(3):
        expected = array(model([first, x[i : i + 1]]))[0]
        np.testing.assert_allclose(array(by_x)[i], expected, atol=1e-5)
        expected = array(model([conditions[i : i + 1], one]))[0]
        np.testing.assert_allclose(array(by_condition)[i], expected, atol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="oneDNN is TensorFlow's")
def test_no_batch_of_one_is_broadcast():
    """With `[n, 1, m, k]` times `[1, k, o]` oneDNN leaves results unset (TensorFlow 117700)."""
    import tensorflow as tf

    model, shape = model_around("conv_1d", "all", per_sample=True)
    condition, x = tf.constant(normal(1, 3, 3, 1)), tf.constant(normal(3, *shape))
    model([condition, x[:1]])

    @tf.function
    def mapped(x):
        return tf.vectorized_map(lambda row: model([condition, row[None]])[0], x)

    operations = mapped.get_concrete_function(x).graph.get_operations()
    batches = [
        [tensor.shape[:-2].as_list() for tensor in operation.inputs]
        for operation in operations
        if operation.type.startswith("BatchMatMul")
    ]
    assert all(a == b for a, b in batches), batches
    assert any(operation.type == "MatMul" for operation in operations)


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch falls back to a loop")
@pytest.mark.parametrize("name", NAMES)
def test_convolutions_need_no_loop(name):
    make, shape = CONVOLUTIONS[name]
    target = model_of(make(), shape)
    body = keras.Sequential([keras.Input((4,)), layers.Dense(5, "tanh")])
    model = Hypernetwork(target, body, per_sample=True)
    model([normal(3, 4), normal(3, *shape)])
    assert not any(layer in mapping._looped for layer in target.layers)


def test_gradients_of_each_sample_on_pytorch():
    torch = pytest.importorskip("torch")
    if BACKEND != "torch":
        pytest.skip("torch.func is PyTorch's")
    model, shape = model_around("conv_2d", "all", per_sample=False)
    condition, x = torch.tensor(normal(1, 3, 3, 1)), torch.tensor(normal(3, *shape, seed=1))
    model([condition, x])

    def loss(condition, x):
        return model([condition, x[None]]).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(condition, x)
    for i in range(3):
        given = condition.clone().requires_grad_()
        (expected,) = torch.autograd.grad(loss(given, x[i]), given)
        np.testing.assert_allclose(array(found[i]), array(expected), rtol=1e-4, atol=1e-5)
