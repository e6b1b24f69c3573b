"""Every layer of the catalogue, through every test that a Keras layer must pass."""

import inspect
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from catalogue import ABSTRACT, CASES, MODEL_CASES, NO_SAMPLING

from hyperkeras import layers

# Cases are compared without samples, also layers whose keys then don't learn.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* is trained with num_samples=0")
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

LOAD_AND_SAVE_AGAIN = """
import json, sys
import keras, numpy as np
import hyperkeras
for name in json.loads(sys.argv[2]):
    model = keras.models.load_model(f"{sys.argv[1]}/{name}.keras")
    x = np.load(f"{sys.argv[1]}/{name}.x.npy")
    np.save(f"{sys.argv[1]}/{name}.y.npy", model(x))
    model.save(f"{sys.argv[1]}/{name}.again.keras")
"""


def parts(layer):
    """The layer, and the layers that it is made of."""
    if isinstance(layer, keras.Model):  # around a layer of several inputs
        return [one for one in layer.layers if type(one).__name__ in layers.__all__]
    named = (getattr(layer, name, None) for name in ("source", "cell", "generator"))
    return [layer, *(part for part in named if part is not None)]


def moved(layer, input_shape):
    """The layer with weights that have left their start, where some keep others from gradients."""
    layer.build((None, *input_shape))
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(weight + rng.normal(size=weight.shape, scale=0.1))
    return layer


def test_every_public_layer_is_in_the_catalogue():
    covered = {name for case in [*CASES, *MODEL_CASES] for name in case.covers}
    assert set(layers.__all__) == covered & set(layers.__all__) | ABSTRACT


@cases
@pytest.mark.parametrize("training", [False, True])
def test_values_equal_the_reference(case, training, policy):
    policy("float64")
    layer, x = moved(case.make(NO_SAMPLING), case.input_shape), case.input(dtype="float64")
    y = layer(x, training=training)
    assert y.dtype == "float64"
    np.testing.assert_allclose(y, reference.layer_output(layer, x, training), atol=1e-10)


@cases
def test_shapes_and_parameter_count(case):
    layer, x = case.make(), case.input()
    assert layer(x).shape == layer.compute_output_shape(x.shape) == (3, *case.output_shape)
    assert layer.count_params() == case.parameters
    symbolic = case.make()(keras.Input(case.input_shape))
    assert symbolic.shape == (None, *case.output_shape)


@cases
def test_batches_of_none_one_and_unknown_size(case):
    layer, x = case.make(), case.input()
    whole = layer(x)
    unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, *case.input_shape))])
    traced = unknown.get_concrete_function()
    assert tuple(traced.output_shapes) == (None, *case.output_shape)
    np.testing.assert_allclose(traced(x), whole, atol=1e-6)
    np.testing.assert_allclose(layer(x[:1]), whole[:1], atol=1e-6)
    assert np.isfinite(layer(x[:1], training=True)).all()
    if {"HyperConv2D", "PHMConv2D"} & set(case.covers):
        return  # TensorFlow's own convolution of no image has a wrong shape
    for training in (False, True):
        assert layer(x[:0], training=training).shape == (0, *case.output_shape)


@cases
def test_eager_graph_and_xla_agree(case):
    """Outputs at inference and in training, and gradients: one program for all, to compile once."""
    layer, x = case.make(NO_SAMPLING), tf.constant(case.input())
    layer.build(x.shape)

    def results(x):
        with tf.GradientTape() as tape:
            y = layer(x, training=True)
            loss = tf.reduce_sum(y**2)
        return [layer(x, training=False), y], tape.gradient(loss, layer.trainable_weights)

    outputs, gradients = results(x)
    for jit in (False, True):
        compiled = tf.function(results, jit_compile=jit)(x)
        for a, b in zip(compiled[0], outputs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        for a, b in zip(compiled[1], gradients, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@cases
def test_every_weight_gets_a_gradient(case):
    layer, x = moved(case.make(), case.input_shape), case.input(batch=8)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=True) ** 2)
    for weight, gradient in zip(
        layer.trainable_weights, tape.gradient(loss, layer.trainable_weights), strict=True
    ):
        assert np.isfinite(gradient).all(), weight.path
        assert np.any(gradient), weight.path


@cases
def test_same_seed_same_numbers(case):
    outputs = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        layer = case.make()
        outputs.append([np.array(layer(case.input(), training=True)) for _ in range(2)])
    np.testing.assert_array_equal(outputs[0], outputs[1])
    if case.draws:
        assert np.any(outputs[0][0] != outputs[0][1])  # and each call draws anew


@cases
def test_weights_of_equal_shape_start_different(case):
    """A Keras initializer without a seed gives the same numbers each time that it is called."""
    layer = case.make()
    layer.build((None, *case.input_shape))
    random = [w for w in layer.trainable_weights if np.unique(w).size > max(2, np.size(w) // 2)]
    for k, weight in enumerate(random):
        for other in random[:k]:
            if weight.shape == other.shape:
                assert np.any(np.abs(weight - other) > 1e-6), (weight.path, other.path)


@cases
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_mixed_precision(case, half, policy):
    policy(f"mixed_{half}")
    layer, x = case.make(), case.input()
    for training in (False, True):
        y = layer(x, training=training)
        assert y.dtype == half
        assert np.isfinite(np.array(y, "float32")).all()
    assert {w.dtype for w in layer.trainable_weights} <= {"float32"}
    if hasattr(layer, "source"):
        assert layer.source(x)[0].dtype == "float32"  # half precision can't hold an index


@cases
def test_config_names_the_arguments_of_init(case):
    for layer in parts(case.make()):
        base = set(keras.layers.Layer().get_config())
        arguments = set(inspect.signature(type(layer)).parameters) - {"args", "kwargs"}
        assert set(layer.get_config()) - base == arguments
        json.dumps(layer.get_config())
        twin = type(layer).from_config(layer.get_config())
        assert twin.get_config() == layer.get_config()


@cases
def test_clones(case):
    model = keras.Sequential([keras.Input(case.input_shape), case.make()])
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    np.testing.assert_allclose(twin(case.input()), model(case.input()), atol=1e-6)


def test_saves_and_loads_in_a_fresh_process(tmp_path):
    expected = {}
    for case in CASES:
        model = keras.Sequential([keras.Input(case.input_shape), case.make()])
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        x, rng = case.input(), np.random.default_rng(1)
        for weight in model.trainable_weights:  # they leave their start
            weight.assign(weight + rng.normal(size=weight.shape, scale=0.1))
        expected[case.name] = np.array(model(x))
        np.save(tmp_path / f"{case.name}.x.npy", x)
        model.save(tmp_path / f"{case.name}.keras")
    subprocess.run(
        [sys.executable, "-c", LOAD_AND_SAVE_AGAIN, str(tmp_path), json.dumps(list(expected))],
        check=True,
    )
    for case in CASES:
        loaded = np.load(tmp_path / f"{case.name}.y.npy")
        np.testing.assert_allclose(loaded, expected[case.name], atol=1e-6, err_msg=case.name)
        again = keras.models.load_model(tmp_path / f"{case.name}.again.keras")
        np.testing.assert_allclose(again(case.input()), expected[case.name], atol=1e-6)
