"""Layers with generated kernels where plain layers stand: masks, penalties, dtypes, LoRA, export.

Nothing here is of one backend: `make test-backends` runs it on all.
"""

import keras
import numpy as np
import pytest
from keras import ops

from hyperkeras import layers, models

L2 = keras.regularizers.L2(1.0)
MASKED = [
    lambda: layers.HyperDense(8, layers.KernelGenerator((1, 1, 4, 4), 3)),
    lambda: layers.PHMDense(8, 2),
    lambda: layers.MIPEncoding(),
]
makers = pytest.mark.parametrize("make", MASKED, ids=["hyper_dense", "phm_dense", "mip"])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def array(x):
    return ops.convert_to_numpy(x)


def penalized(**arguments):
    generator = layers.KernelGenerator((1, 1, 4, 4), 3)
    return layers.HyperDense(4, generator, kernel_regularizer=L2, **arguments)


def penalty(layer):
    return float(np.square(array(layer.kernel), dtype="float64").sum())


def total(losses):
    return sum(float(array(ops.cast(loss, "float32"))) for loss in losses)


# Masks


@makers
def test_padding_is_not_read_behind_the_layer(make):
    ids = np.array([[3, 4, 0, 0], [1, 2, 3, 5]])
    given = keras.Input((None,), dtype="int32")
    hidden = make()(keras.layers.Embedding(10, 8, mask_zero=True)(given))
    model = keras.Model(given, keras.layers.LSTM(3)(hidden))
    padded = model.predict(ids, verbose=0)[:1]
    np.testing.assert_allclose(padded, model.predict(ids[:1, :2], verbose=0), atol=1e-6)


@makers
def test_padded_targets_are_not_counted(make):
    x, y = normal(2, 4, 8), normal(2, 4, 8)
    x[0, 2:] = -1
    given = keras.Input((4, 8))
    hidden = keras.layers.Masking(-1)(given)
    model = keras.Model(given, keras.layers.Dense(8)(make()(hidden)))
    model.compile(loss="mse", optimizer="sgd")
    before = model.evaluate(x, y, verbose=0)
    y[0, 2:] = 1000
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), before, rtol=1e-5)


def test_a_frozen_model_keeps_the_masks_of_its_model():
    given, x = keras.Input((None, 8)), normal(2, 4, 8)
    x[0, 2:] = 0
    hidden = keras.layers.Masking()(given)
    model = keras.Model(given, keras.layers.LSTM(3)(MASKED[0]()(hidden)))
    y = models.freeze(model).predict(x, verbose=0)
    np.testing.assert_allclose(y, model.predict(x, verbose=0), atol=1e-6)
    np.testing.assert_allclose(y[:1], model.predict(x[:1, :2], verbose=0), atol=1e-6)


# Penalties of generated kernels


def test_a_penalty_is_there_before_the_first_call_and_a_number_after_training():
    layer = penalized()
    layer.build((None, 8))
    assert total(layer.losses) == pytest.approx(penalty(layer), rel=1e-5)
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(normal(4, 8), normal(4, 4), verbose=0)
    assert len(model.losses) == 1
    assert total(model.losses) == pytest.approx(penalty(layer), rel=1e-5)


def siamese(layer):
    a, b = keras.Input((8,)), keras.Input((8,))
    return keras.Model([a, b], keras.layers.Subtract()([layer(a), layer(b)]))


def over_time(layer):
    given = keras.Input((3, 8))
    return keras.Model(given, keras.layers.TimeDistributed(layer)(given))


def a_cell(layer):
    """A recurrent cell that calls the layer in each step."""

    class Cell(keras.layers.Layer):
        state_size = output_size = 4

        def __init__(self):
            super().__init__()
            self.layer = layer

        def build(self, input_shape):
            self.layer.build(input_shape)

        def call(self, inputs, states):
            state = self.layer(inputs) + states[0]
            return state, [state]

    given = keras.Input((3, 8))
    return keras.Model(given, keras.layers.RNN(Cell())(given))


@pytest.mark.parametrize("around", [siamese, over_time, a_cell])
def test_a_penalty_is_counted_once_as_a_variables_is(around):
    layer = penalized(use_bias=False)
    model = around(layer)
    model.compile(keras.optimizers.SGD(1e-3), lambda y, p: 0.0 * ops.sum(p))
    x = [normal(2, *given.shape[1:]) for given in model.inputs]
    x = x if len(x) > 1 else x[0]
    y, before = np.zeros((2, *model.output_shape[1:])), penalty(layer)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(before, rel=1e-4)
    assert total(model.losses) == pytest.approx(before, rel=1e-4)
    embeddings, kernel = array(layer.embeddings), array(layer.kernel)
    assert float(model.train_on_batch(x, y)) == pytest.approx(before, rel=1e-4)
    # The generator has no bias yet, so that kernels are linear in the embeddings, and the
    # gradient's part along them is twice the penalty.
    step = (embeddings - array(layer.embeddings)) / 1e-3
    assert (step * embeddings).sum() == pytest.approx(2 * np.square(kernel).sum(), rel=1e-2)


def test_a_penalty_under_half_precision_is_not_rounded():
    keras.config.set_dtype_policy("mixed_float16")
    layer = layers.HyperDense(
        64, layers.KernelGenerator((1, 1, 64, 64), 8), kernel_regularizer=keras.regularizers.L2(1e4)
    )
    layer.build((None, 64))
    kernel = array(layer.kernel).astype("float64")
    assert total(layer.losses) == pytest.approx(1e4 * np.square(kernel).sum(), rel=1e-3)


def test_a_layer_that_is_not_trained_adds_no_penalty():
    for layer in (penalized(), keras.layers.Dense(4, kernel_regularizer=L2)):
        layer.build((None, 8))
        layer.trainable = False
        assert layer.losses == []


# Dtypes


@pytest.mark.parametrize("own", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"])
@pytest.mark.parametrize("of_generator", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("dims", [1, 2])
def test_a_layer_has_its_own_dtype_beside_a_shared_generator(own, of_generator, dims):
    if own == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has float64 only where its user switches it on")
    if dims == 1:
        generator = layers.KernelGenerator((1, 1, 4, 4), 3, dtype=of_generator)
        make, x = layers.HyperDense, normal(2, 8)
    else:
        generator = layers.KernelGenerator((3, 3, 2, 4), 3, dtype=of_generator)
        make, x = lambda *a, **k: layers.HyperConv2D(a[0], 3, *a[1:], **k), normal(2, 4, 4, 2)
    plain = make(4, generator)(x)
    layer = make(4, generator, dtype=own, kernel_regularizer=L2)
    layer.build(x.shape)
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    assert y.shape == plain.shape
    kernel = array(ops.cast(layer.kernel, "float32"))
    expected = array(ops.conv(x, kernel, padding="same") if dims == 2 else x @ kernel)
    np.testing.assert_allclose(array(ops.cast(y, "float32")), expected, atol=0.1)
    assert np.isfinite(total(layer.losses))


# What can't work is refused


@pytest.mark.parametrize("dims", [1, 2])
def test_lora_is_refused_by_name(dims):
    if dims == 1:
        layer = layers.HyperDense(4, layers.KernelGenerator((1, 1, 4, 4), 3), name="mine")
    else:
        layer = layers.HyperConv2D(4, 3, layers.KernelGenerator((3, 3, 2, 4), 3), name="mine")
    with pytest.raises(ValueError, match="'mine' can't enable LoRA, because its kernel"):
        layer.enable_lora(2)


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: layers.HyperDense(4, layers.KernelGenerator((1, 1, 4, 4), 3)), (2, 8)),
        (lambda: layers.HyperConv2D(4, 3, layers.KernelGenerator((3, 3, 2, 4), 3)), (2, 4, 4, 2)),
        (lambda: layers.PHMDense(4, 2), (2, 8)),
        (lambda: layers.PHMConv2D(4, 3, 2), (2, 4, 4, 2)),
    ],
    ids=["hyper_dense", "hyper_conv2d", "phm_dense", "phm_conv2d"],
)
def test_spectral_normalization_of_a_computed_kernel_is_refused_by_name(make, shape):
    layer = make()
    with pytest.raises(ValueError, match=f"'{layer.name}' can't stand in a SpectralNormalization"):
        keras.layers.SpectralNormalization(layer)(normal(*shape), training=True)
