"""Conditions of any size, nested, of one row, and without effect; and exports, on every backend."""

import warnings

import keras
import numpy as np
import pytest
from gradients import array
from keras import layers

from hyperkeras.models import Hypernetwork

rng = np.random.default_rng(0)
BACKEND = keras.backend.backend()


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def target():
    return keras.Sequential([keras.Input((5,)), layers.Dense(3)])


def body(activation="tanh", **arguments):
    return keras.Sequential([keras.Input((4,)), layers.Dense(7, activation, **arguments)])


def test_conditions_of_any_length():
    recurrent = keras.Sequential([keras.Input((None, 4)), layers.GRU(6)])
    for network in (recurrent, layers.GRU(6)):
        model = Hypernetwork(target(), network, per_sample=True)
        x = normal(2, 5)
        for length in (7, 2):
            condition = normal(2, length, 4)
            y = np.einsum("bi,bio->bo", x, array(model.generate(condition)[0])) if length < 7 else 0
            z = array(model([condition, x]))
            assert z.shape == (2, 3)
        bias = array(model.generate(condition)[1])
        np.testing.assert_allclose(z, y + bias, atol=1e-5)


def test_a_body_whose_features_change_in_number_is_refused():
    flat = layers.Flatten()
    model = Hypernetwork(target(), flat, per_sample=True)
    model([normal(2, 3, 2), normal(2, 5)])
    with pytest.raises(ValueError, match="to give 6 features"):
        model([normal(2, 4, 2), normal(2, 5)])


@pytest.mark.parametrize("kind", [dict, list])
def test_nested_conditions_are_saved(kind, tmp_path):
    a, b = keras.Input((4,), name="a"), keras.Input((2, 2), name="b")
    features = layers.Concatenate()([a, layers.Flatten()(b)])
    both = keras.Model({"a": a, "b": b} if kind is dict else [a, b], features)
    model = Hypernetwork(target(), both)
    values = {"a": normal(1, 4), "b": normal(1, 2, 2)}
    condition, x = values if kind is dict else list(values.values()), normal(6, 5)
    y = array(model([condition, x]))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded([condition, x])), y, atol=1e-6)
    np.testing.assert_allclose(array(model.materialize(condition)(x)), y, atol=1e-6)
    other = keras.tree.map_structure(lambda v: np.concatenate([v] * 5 + [v + 1]), condition)
    with pytest.raises(ValueError, match="rows that differ"):
        model([other, x])


def test_one_row_of_condition_in_fit_and_predict():
    model, condition, x = Hypernetwork(target(), body()), normal(1, 4), normal(6, 5)
    y = array(model([condition, x]))
    np.testing.assert_allclose(model.predict([condition, x], batch_size=4, verbose=0), y, atol=1e-5)
    model.compile("sgd", "mse")
    values = [condition, x], normal(6, 3)
    model.fit(*values, batch_size=4, validation_data=values, verbose=0)
    assert np.isfinite(model.evaluate(*values, verbose=0))


def test_warns_where_weights_do_not_depend_on_the_condition():
    inputs, y = [normal(6, 4), normal(6, 5)], normal(6, 3)
    dead = body("relu", bias_initializer=keras.initializers.Constant(-100.0))
    model = Hypernetwork(target(), dead, per_sample=True)
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="do not depend on the condition: its body"):
        model.fit(inputs, y, verbose=0)
    with pytest.warns(UserWarning, match="do not depend on the condition: its body"):
        model.fit(iter_batches(inputs, y), steps_per_epoch=2, shuffle=False, verbose=0)
    stuck = Hypernetwork(target(), body(), per_sample=True, residual=True)
    stuck.compile(keras.optimizers.SGD(0.0), "mse")
    with pytest.warns(UserWarning, match="its head gives them the same"):
        stuck.fit(inputs, y, verbose=0)
    well = Hypernetwork(target(), body(), per_sample=True, residual=True)
    well.compile("sgd", "mse")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The weights that")
        well.fit(inputs, y, verbose=0)
        well.fit(iter_batches(inputs, y), steps_per_epoch=2, shuffle=False, verbose=0)


def iter_batches(inputs, y):
    """A generator, of which training takes as many batches as it is told to."""
    while True:
        yield tuple(inputs), y


def test_mixed_precision_does_not_round_generated_weights():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = Hypernetwork(target(), body(), residual=True)
    base = np.float32(1.0001221)  # rounded to 1 in half precision
    model([normal(1, 4), normal(2, 5)])
    model.base.assign(np.full(model.num_generated, base))
    model.target.layers[0].kernel.regularizer = keras.regularizers.L2(1.0)
    model([normal(1, 4), normal(2, 5)])
    np.testing.assert_allclose(float(array(model.losses[0])), 15 * base**2, rtol=1e-6)
    np.testing.assert_array_equal(array(model.generate(normal(1, 4))[0]), np.full((1, 5, 3), base))


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.filterwarnings("ignore")  # of exporters
@pytest.mark.skipif(BACKEND == "jax", reason="Keras exports JAX's models by way of TensorFlow")
def test_exports_run_as_the_model(per_sample, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = Hypernetwork(target(), body(), per_sample=per_sample)
    inputs = [np.repeat(normal(1, 4), 3, axis=0), normal(3, 5)]
    y = array(model(inputs))
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    given = {i.name: a for i, a in zip(session.get_inputs(), inputs, strict=True)}
    np.testing.assert_allclose(session.run(None, given)[0], y, atol=1e-5)
    if BACKEND == "torch":
        import torch

        given = tuple(torch.from_numpy(a) for a in inputs)
        program = torch.export.export(model, (list(given),))
        np.testing.assert_allclose(array(program.module()(list(given))), y, atol=1e-5)
