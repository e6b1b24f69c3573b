"""Every layer and model on the backend that KERAS_BACKEND names, whichever it is.

Here stands what must hold on all of them; the conformance tests go further, on TensorFlow. From
the outcomes `tests/backends_table.py` writes the table of `docs/backends.md`.
"""

import os

import keras
import numpy as np
import pytest
import reference
from catalogue import CASES, MODEL_CASES, NO_SAMPLING, TENSORFLOW_ONLY

import hyperkeras

BACKEND = keras.backend.backend()
if BACKEND == "tensorflow" and "ALL_BACKENDS" not in os.environ:
    pytest.skip(
        "on TensorFlow the conformance tests say more; `make test-backends` runs these too",
        allow_module_level=True,
    )
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* is trained with num_samples=0")


def parameter(case):
    reason = TENSORFLOW_ONLY.get(case.name)
    marks = [pytest.mark.skip(reason=reason)] if reason and BACKEND != "tensorflow" else []
    return pytest.param(case, id=case.name, marks=marks)


cases = pytest.mark.parametrize("case", [parameter(case) for case in CASES])
models = pytest.mark.parametrize("case", [parameter(case) for case in MODEL_CASES])


def array(x):
    return np.array(keras.ops.convert_to_numpy(x), "float64")


def moved(layer, input_shape):
    """The layer with weights that have left their start, where some keep others from gradients."""
    layer.build((None, *input_shape))
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(array(weight) + rng.normal(size=weight.shape, scale=0.1))
    return layer


def predicted(layer, x):
    """The output at inference, compiled where the backend compiles: op by op takes JAX minutes."""
    return keras.Sequential([keras.Input(x.shape[1:]), layer]).predict(x, verbose=0)


def trained(layer, x, y, loss, rate):
    """The loss of a step of Keras's trainer, and over the rate how far each weight goes."""
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.compile(keras.optimizers.SGD(rate), loss)
    before = [array(w) for w in layer.trainable_weights]
    loss = float(model.train_on_batch(x, y))
    return loss, [
        (a - array(w)) / rate for a, w in zip(before, layer.trainable_weights, strict=True)
    ]


@cases
def test_values_and_saving(case, tmp_path):
    layer, x = moved(case.make(NO_SAMPLING), case.input_shape), case.input()
    y = predicted(layer, x)
    np.testing.assert_allclose(y, reference.layer_output(layer, x, False), rtol=1e-3, atol=1e-4)
    model = keras.Sequential([keras.Input(case.input_shape), layer])
    assert model.output_shape == (None, *case.output_shape)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), y, atol=1e-5)


@cases
def test_loss_and_gradient_in_training(case):
    layer, x = moved(case.make(NO_SAMPLING), case.input_shape), case.input()
    weights = layer.trainable_weights
    if not weights:
        return
    rng = np.random.default_rng(2)
    y = rng.normal(size=(3, *case.output_shape)).astype("float32")
    start = [array(w) for w in weights]
    along = [rng.normal(size=w.shape) for w in weights]
    values, step = [], 1e-4
    for sign in (0, 1, -1):
        for w, w0, d in zip(weights, start, along, strict=True):
            w.assign(w0 + sign * step * d)
        values.append(((reference.layer_output(layer, x, True) - y) ** 2).sum())
    for w, w0 in zip(weights, start, strict=True):
        w.assign(w0)
    loss, steps = trained(layer, x, y, lambda y, p: keras.ops.sum((p - y) ** 2), 1e-2)
    if "TopKSource" in case.covers:  # its regularizer is no part of the reference
        return
    np.testing.assert_allclose(loss, values[0], rtol=1e-3, atol=1e-3)
    slope = sum((g * d).sum() for g, d in zip(steps, along, strict=True))
    norm = np.sqrt(sum((g**2).sum() for g in steps))
    np.testing.assert_allclose(slope, (values[1] - values[2]) / 2 / step, atol=0.02 * norm)


@cases
def test_trains_with_draws_that_follow_the_seed(case):
    x, y = case.input(batch=8), np.ones((8, *case.output_shape), "float32")
    found = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        layer = moved(case.make(), case.input_shape)
        if not layer.trainable_weights:
            return
        found.append(trained(layer, x, y, "mse", 0.1))
    for weight, *steps in zip(layer.trainable_weights, found[0][1], found[1][1], strict=True):
        assert np.isfinite(steps[0]).all() and steps[0].any(), weight.path
        np.testing.assert_allclose(*steps, atol=1e-5)


@cases
def test_half_precision(case):
    keras.config.set_dtype_policy("mixed_bfloat16")
    layer = case.make()
    y = predicted(layer, case.input())
    assert keras.backend.standardize_dtype(y.dtype) in ("bfloat16", "float32")  # as NumPy has it
    assert np.isfinite(y.astype("float32")).all()


@models
def test_models(case, tmp_path):
    model, x, expected = case.make()
    y = model.predict(x, verbose=0)
    np.testing.assert_allclose(y, expected(model, x), rtol=1e-3, atol=1e-4)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = [array(w) for w in model.trainable_weights]
    assert np.isfinite(model.train_on_batch(x, np.ones_like(y))).all()
    assert any(np.any(array(w) != a) for w, a in zip(model.trainable_weights, before, strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, atol=1e-5)


def test_graph_hypernetwork(tmp_path):
    """Weights for a network that is not trained on: values, a step of training, and saving."""

    def network(*widths):
        hidden = [keras.layers.Dense(width, "tanh") for width in widths]
        return keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(2)])

    ghn = hyperkeras.models.GraphHypernetwork(
        hyperkeras.layers.GatedGraphEncoder(8), hyperkeras.layers.MatrixDecoder((4, 4), 1, (4, 4))
    )
    x, unseen = np.random.default_rng(0).normal(size=(8, 4)).astype("float32"), network(3)
    ghn.compile(keras.optimizers.Adam(0.1), "mse")
    ghn.build(None)
    before = [array(w) for w in ghn.trainable_variables]
    history = ghn.fit(x, x[:, :2], targets=[network(5), network(3, 6)], verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    changed = [np.any(array(w) != a) for w, a in zip(ghn.trainable_variables, before, strict=True)]
    assert np.mean(changed) > 0.5
    y = array(ghn.apply(unseen, x))
    first, first_bias, second, second_bias = (array(w) for w in ghn.generate(unseen))
    expected = np.tanh(x @ first + first_bias) @ second + second_bias
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)
    ghn.assign(unseen)
    np.testing.assert_allclose(array(unseen(x)), y, atol=1e-5)
    ghn.save(tmp_path / "ghn.keras")
    loaded = keras.models.load_model(tmp_path / "ghn.keras")
    np.testing.assert_allclose(array(loaded.apply(unseen, x)), y, atol=1e-5)
