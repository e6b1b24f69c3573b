"""Regularizers in hypernetworks, and the loss of finished tasks: of the generated weights, once."""

import gc

import keras
import numpy as np
import pytest
from gradients import array, gradients
from keras import layers, ops

from hyperkeras.layers import HyperDense, KernelGenerator
from hyperkeras.models import ContinualHypernetwork, Hypernetwork

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def body(inputs=4):
    return keras.Sequential([keras.Input((inputs,)), layers.Dense(7, "tanh")])


def hyper_target():
    """A layer whose generated kernel has a penalty, 0.5 times its sum of squares."""
    generator = KernelGenerator((1, 1, 4, 4), embedding_dim=3, name="generator")
    penalty = keras.regularizers.L2(0.5)
    layer = HyperDense(4, generator, use_bias=False, kernel_regularizer=penalty, name="layer")
    return keras.Sequential([keras.Input((4,)), layer])


def kernels_of(model, condition):
    """The kernel that the target's layer has under each row of condition."""
    layer, kernels = model.target.layers[0], []
    values = [array(value) for value in model.generate(condition)]
    kept = [array(weight) for weight in model.generated_weights]
    for row in zip(*values, strict=True):
        for weight, value in zip(model.generated_weights, row, strict=True):
            weight.assign(value)
        kernels.append(array(layer.kernel))
    for weight, value in zip(model.generated_weights, kept, strict=True):
        weight.assign(value)
    return np.stack(kernels)


def is_embedding(variable):
    return variable.name == "embeddings"


def is_generators(variable):
    return not is_embedding(variable)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("select", [None, is_embedding, is_generators])
def test_the_penalty_is_of_the_kernel_that_generated_weights_make(select, per_sample):
    model = Hypernetwork(hyper_target(), body(), select=select, per_sample=per_sample)
    condition, x = normal(3 if per_sample else 1, 4), normal(3, 4)
    y = array(model([condition, x]))
    kernels = kernels_of(model, condition)
    expected = 0.5 * np.square(kernels).sum((1, 2)).mean()
    np.testing.assert_allclose(
        y, np.einsum("bi,bio->bo", x, kernels + np.zeros((3, 1, 1))), atol=1e-5
    )
    np.testing.assert_allclose(float(array(sum(model.losses))), expected, rtol=1e-4)
    if per_sample:
        return
    inputs = keras.Input((4,)), keras.Input((4,))
    outer = keras.Model(inputs, model(list(inputs)))
    outer.compile("sgd", "mse", jit_compile=False)
    loss = outer.evaluate([np.repeat(condition, 3, 0), x], y, verbose=0)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_a_penalty_that_reads_generated_weights_trains_the_head():
    model = Hypernetwork(hyper_target(), body(), select=is_generators)
    inputs = [normal(1, 4), normal(3, 4)]
    model(inputs)
    made = gradients(model, inputs, lambda y: 0.0 * ops.sum(y) + sum(model.losses))
    by_name = dict(zip([id(v) for v in model.trainable_variables], made, strict=True))
    if keras.backend.backend() != "jax":  # where losses of a stateless call are not the layer's
        assert np.any(by_name[id(model.head.kernel)] != 0)
        assert np.any(by_name[id(model.target.layers[0].embeddings)] != 0)


def test_a_target_has_its_penalty_back_without_its_hypernetwork():
    target = hyper_target()
    expected = float(array(sum(target.losses)))
    model = Hypernetwork(target, body(), select=is_generators)
    assert expected > 0 and float(array(sum(target.losses))) == 0
    del model
    gc.collect()
    np.testing.assert_allclose(float(array(sum(target.losses))), expected)


def test_a_siamese_model_adds_the_loss_of_finished_tasks_once():
    target = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model = ContinualHypernetwork(target, layers.Embedding(2, 5), range(2), beta=0.5)
    task, a, b = keras.Input((), dtype="int32"), keras.Input((3,)), keras.Input((3,))
    outer = keras.Model([task, a, b], model([task, a]) - model([task, b]))
    inputs = [np.zeros(4, "int32"), normal(4, 3), normal(4, 3)]
    outer(inputs, training=True)
    before = array(model.generate_flat(np.array([0])))
    model.finish_task()
    model.head.kernel.assign(1.1 * array(model.head.kernel))
    after = array(model.generate_flat(np.array([0])))
    expected = 0.5 * np.square(after - before).sum()
    for _ in range(2):
        outer(inputs, training=True)
        np.testing.assert_allclose(float(array(sum(outer.losses))), expected, rtol=1e-4)
    outer.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    loss = outer.train_on_batch(inputs, array(outer(inputs)))
    np.testing.assert_allclose(loss, expected, rtol=1e-3)
    outer(inputs, training=False)
    assert not outer.losses
