"""Convolutions with a learned dilation: what they are at inference, and that they learn."""

import keras
import numpy as np
import pytest

from hyperkeras import layers, models

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def set_dilation(layer, d):
    share = (d - 1) / (layer.source.max_dilation - 1)
    layer.source.raw_dilation.assign(np.log(share / (1 - share)))


@pytest.mark.parametrize(
    "cls, shape, kernel_size, options",
    [
        (layers.DilatedConv1D, (12, 2), 5, {}),
        (layers.DilatedConv1D, (12, 2), 4, {"padding": "causal"}),
        (layers.DilatedConv2D, (9, 8, 2), (3, 5), {"use_bias": False}),
    ],
)
def test_rounded_it_is_a_convolution(cls, shape, kernel_size, options):
    layer = cls(4, kernel_size, 5, activation="relu", bias_initializer="normal", **options)
    model, x = keras.Sequential([keras.Input(shape), layer]), normal(3, *shape)
    for d in (1.01, 2.0, 2.45, 3.6, 4.99):  # a kernel's far points lie 2 d away, not round(2 d)
        set_dilation(layer, d)
        np.testing.assert_allclose(float(layer.dilation), d, rtol=1e-5)
        plain = models.freeze(model)
        assert plain.layers[-1].dilation_rate == (round(d),) * (len(shape) - 1)
        assert type(plain.layers[-1]).__module__.startswith("keras.")
        np.testing.assert_allclose(plain(x), model(x), atol=1e-5)


def test_channels_first_is_channels_last_moved():
    options = dict(filters=3, kernel_size=3, max_dilation=3, initial_dilation=2.3)
    last = layers.DilatedConv2D(**options)
    first = layers.DilatedConv2D(**options, data_format="channels_first")
    x = normal(2, 5, 4, 2)
    expected = last(x, training=True)
    moved = np.moveaxis(x, -1, 1)
    first.build(moved.shape)
    first.set_weights(last.get_weights())
    assert first.compute_output_shape(moved.shape) == (2, 3, 5, 4)
    found = np.moveaxis(np.array(first(moved, training=True)), 1, -1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_between_whole_dilations_it_interpolates():
    """Of a straight line the neighbors' mean is the line itself, where the shares are even."""
    source = layers.DilationSource(3, 4, 2.5)
    layer = layers.SparseHyperlayer(
        (4, 3),
        source,
        chunk_size=1,
        template=np.pad(np.indices((4, 3)).reshape(2, -1).T, [(0, 0), (0, 1)]),
        learned_columns=(2,),
    )
    line = np.arange(12, dtype="float32")[None]
    read = np.array(layer(line, training=True))[0]
    np.testing.assert_allclose(read, np.arange(4, 8)[:, None] + [-2.5, 0, 2.5], atol=1e-4)


def test_the_dilation_is_learned_with_the_kernel():
    keras.utils.set_random_seed(0)
    noise = np.random.default_rng(1).normal(size=(64, 44)) @ _blur(44, 1.5)
    x = noise[:, 8:36, None].astype("float32")
    teacher = keras.layers.Conv1D(4, 3, padding="same", dilation_rate=3)
    y = teacher(x)
    layer = layers.DilatedConv1D(4, 3, 6, local_samples=2, region=5, seed=1)
    model = keras.Sequential([keras.Input((28, 1)), layer])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(x, y, batch_size=32, epochs=100, verbose=0)
    assert round(float(layer.dilation)) == 3
    assert model.evaluate(x, y, verbose=0) < 0.05 * np.var(y)


def _blur(size, width):
    steps = np.arange(size)
    return np.exp(-(((steps[:, None] - steps) / width) ** 2) / 2)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: layers.DilatedConv1D(2, 4, 3), "`kernel_size`.*odd.*kernel_size=.*4"),
        (lambda: layers.DilatedConv2D(2, 3, 3, padding="causal"), "`padding`.*padding='causal'"),
        (lambda: layers.DilatedConv2D(2, (3,), 3), "`kernel_size`.*2 of them.*3"),
        (lambda: layers.DilatedConv1D(2, 3, 1), "`max_dilation`.*max_dilation=1"),
        (lambda: layers.DilatedConv1D(2, 3, 4, 5), "`initial_dilation`.*from 1 to max_dilation=4"),
        (lambda: layers.DilatedConv1D(2, 3, 4, region=0), "`region`.*region=0"),
        (lambda: layers.DilatedConv1D(2, 3, 4)(normal(2, 3)), "1 axes.*Received"),
        (lambda: layers.DilationSource((3, 3), 4).build((None, 9)), "knows no index space"),
    ],
)
def test_errors_name_the_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_source_serves_a_padded_input():
    source = layers.DilationSource((3, 3), 4)
    source.bind((8, 12))  # no output is left of 8 rows
    with pytest.raises(ValueError, match=r"padded by \[\(4, 4\), \(4, 4\)\].*size=\(8, 12\)"):
        source.build((None, 8, 12))
