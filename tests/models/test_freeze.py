"""Copies for inference: of models with generated kernels, and of hypernetworks."""

import keras
import numpy as np
import pytest
from gradients import array
from keras import layers, ops

from hyperkeras.layers import HyperDense, KernelGenerator
from hyperkeras.models import ContinualHypernetwork, Hypernetwork, freeze

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def body():
    return keras.Sequential([keras.Input((4,)), layers.Dense(7, "tanh")])


def hyper_dense(name):
    return HyperDense(4, KernelGenerator((1, 1, 4, 4), embedding_dim=3), name=name)


def test_a_model_with_operations_and_frozen_parts_is_frozen():
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), hyper_dense("c"), layers.Dense(4)], name="inner")
    x = ops.relu(hyper_dense("a")(inputs)) * 2.0 + hyper_dense("b")(inputs)
    model = keras.Model(inputs, inner(ops.concatenate([x[:, :2], x[:, 2:]], axis=-1)))
    model.get_layer("a").trainable = False
    inner.trainable = False
    frozen, x = freeze(model), normal(3, 4)
    np.testing.assert_allclose(array(frozen(x)), array(model(x)), atol=1e-6)
    flags = {layer.name: layer.trainable for layer in frozen.layers}
    assert flags["b"] and not flags["a"] and not flags["inner"]
    assert len(frozen.trainable_weights) == 2
    model.trainable = False
    assert not freeze(model).trainable


@pytest.mark.parametrize("arguments", [{}, {"per_sample": True, "residual": True}])
def test_a_hypernetwork_is_frozen_as_a_plain_model(arguments, tmp_path):
    parts = [layers.Dense(6, kernel_constraint="non_neg"), layers.BatchNormalization()]
    target = keras.Sequential([keras.Input((5,)), *parts, layers.Dense(3)])
    target.layers[0].trainable = False
    model = Hypernetwork(target, body(), **arguments)
    condition, x = normal(1, 4), normal(1, 5)
    model([condition, x], training=True)
    expected, shown = array(model([condition, x])), []
    for plain in (model.materialize(condition), freeze(model, condition)):
        np.testing.assert_allclose(array(plain(x)), expected, atol=1e-6)
        assert type(plain) is keras.Sequential and plain.count_params() == target.count_params()
        assert not plain.layers[0].trainable
        plain.save(tmp_path / "plain.keras")
        loaded = keras.models.load_model(tmp_path / "plain.keras")
        np.testing.assert_allclose(array(loaded(x)), expected, atol=1e-6)
    model.head.bias.assign(array(model.head.bias.value) + 1)
    np.testing.assert_allclose(array(plain(x)), expected, atol=1e-6)  # a snapshot
    model.summary(print_fn=shown.append)
    assert "(DenseHead)" in shown[0] and f"{model.count_params():,}" in shown[0]


def test_lora_is_merged_into_a_plain_model():
    given = keras.Input((4, 6))
    attention = layers.MultiHeadAttention(2, 3)
    target = keras.Model(given, layers.Dense(2)(attention(given, given)))
    attention.query_dense.enable_lora(2, lora_alpha=3)
    target.layers[-1].enable_lora(1)
    model = Hypernetwork(target, body(), select=lambda v: "lora" in v.name)
    condition, x = normal(1, 4), normal(3, 4, 6)
    expected = array(model([condition, x]))
    plain = model.materialize(condition)
    np.testing.assert_allclose(array(plain(x)), expected, atol=1e-5)
    assert not any("lora" in weight.name for weight in plain.weights)


def test_bad_arguments():
    model = Hypernetwork(keras.Sequential([keras.Input((5,)), layers.Dense(3)]), body())
    model([normal(1, 4), normal(2, 5)])
    with pytest.raises(ValueError, match="`condition` to have one row"):
        model.materialize(normal(2, 4))
    with pytest.raises(ValueError, match=r"`condition`, expected one of shape \[1"):
        freeze(model)
    with pytest.raises(ValueError, match="None for a model that takes none"):
        freeze(keras.Sequential([keras.Input((5,)), layers.Dense(3)]), normal(1, 4))


def test_generated_weights_are_no_parameters_of_a_torch_module():
    if keras.backend.backend() != "torch":
        pytest.skip("PyTorch's parameters()")
    for kind in (Hypernetwork, lambda *a: ContinualHypernetwork(*a, normal(2, 4))):
        model = kind(keras.Sequential([keras.Input((5,)), layers.Dense(3)]), body())
        model([normal(1, 4), normal(2, 5)])
        outer = keras.Sequential([model])
        generated = {id(variable.value) for variable in model.generated_weights}
        for module in (model, outer):
            assert not generated & {id(parameter) for parameter in module.parameters()}
        listed = {id(parameter) for parameter in outer.parameters()}
        assert {id(variable.value) for variable in model.trainable_variables} <= listed
