"""The fast path on TensorFlow beyond training: further derivatives, exports, debugging."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from hyperkeras import layers
from hyperkeras.ops.rnn.on_tensorflow import chunked_loop_tensorflow

B, T, X, N = 2, 2, 3, 3
LAYERS = {
    "layer_norm_lstm": lambda **arguments: layers.LayerNormLSTM(N, **arguments),
    "hyper_lstm": lambda **arguments: layers.HyperLSTM(N, 2, 2, **arguments),
    "hyper_rnn": lambda **arguments: layers.HyperRNN(N, 2, 2, **arguments),
}
every = pytest.mark.parametrize("name", LAYERS)


def pair(name, dtype="float64", **arguments):
    """The same layer on the fast path, and step by step."""
    pair = [LAYERS[name](use_xla=xla, dtype=dtype, **arguments) for xla in (True, False)]
    for layer in pair:
        layer.build((None, T, X))
        rng = np.random.default_rng(1)
        for weight in layer.trainable_weights:
            weight.assign(rng.normal(size=weight.shape, scale=0.5))
    return pair


def inputs(seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(B, T, X)))


def of_gradient(layer, x, compiled):
    """The gradient of a function of a gradient: of a gradient penalty, for one."""

    def run(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(layer(x) ** 2)
            penalty = tf.reduce_sum(inner.gradient(loss, x) ** 2)
        return outer.gradient(penalty, [x, *(w.value for w in layer.trainable_weights)])

    return (tf.function(run) if compiled else run)(x)


def forward_mode(layer, x, compiled):
    """The derivative along a direction, and that of the gradient."""
    with tf.autodiff.ForwardAccumulator(x, inputs(1)) as accumulator:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        gradient = tape.gradient(loss, x)
    return accumulator.jvp(loss), accumulator.jvp(gradient)


@pytest.mark.parametrize(
    "name, derive, compiled",
    [
        ("layer_norm_lstm", of_gradient, True),
        ("hyper_lstm", of_gradient, False),
        ("hyper_rnn", of_gradient, False),
        ("layer_norm_lstm", forward_mode, False),
    ],
)
def test_further_derivatives_equal_those_of_the_cell(name, derive, compiled):
    fast, slow = (derive(layer, inputs(), compiled) for layer in pair(name))
    for a, b in zip(fast, slow, strict=True):
        assert np.any(b)
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


def test_checked_numerics_leave_the_fast_path_as_it_was():
    fast, slow = pair("layer_norm_lstm", recurrent_dropout=0.5)
    tf.debugging.enable_check_numerics()
    try:
        assert not fast.takes_fast_path(T)
        np.testing.assert_allclose(fast(inputs()), slow(inputs()), rtol=1e-10)
        assert of_gradient(fast, inputs(), compiled=False) is not None
    finally:
        tf.debugging.disable_check_numerics()
    assert fast.takes_fast_path(T)
    np.testing.assert_allclose(fast(inputs()), slow(inputs()), rtol=1e-10)


def test_a_gradient_under_checked_numerics_is_that_of_a_call_before():
    found = []
    for layer in pair("layer_norm_lstm"):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs()) ** 2)
        tf.debugging.enable_check_numerics()
        try:
            found.append(tape.gradient(loss, layer.trainable_weights))
        finally:
            tf.debugging.disable_check_numerics()
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


# Exports, which `tests/conformance/test_exports.py` runs in every format


@every
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_an_exported_layer_needs_no_xla(name, tmp_path):
    layer, _ = pair(name, "float32", return_sequences=True)
    model = keras.Sequential([keras.Input((T, X)), layer])
    x = np.array(inputs(), "float32")
    y = model.predict(x, verbose=0)
    model.export(str(tmp_path / "model"), format="tf_saved_model", verbose=False)
    assert layer.takes_fast_path(T)  # but not while it was exported
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(loaded.serve(x), y, atol=2e-6)
    graph = loaded.serve.concrete_functions[0].graph.as_graph_def()
    assert not any(f.attr["_XlaMustCompile"].b for f in graph.library.function)


# Lengths


@every
def test_all_lengths_are_compiled_once(name, monkeypatch):
    monkeypatch.setattr(chunked_loop_tensorflow, "CHUNK", 4)
    module = importlib.import_module(f"hyperkeras.ops.rnn.on_tensorflow.{name}_tensorflow")
    recurrence, (fast, slow) = module._recurrence, pair(name, return_sequences=True)
    functions = (recurrence.compiled_forward, recurrence.compiled_backward)
    before = [function.experimental_get_tracing_count() for function in functions]
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 2, size=(B, 12)).astype(bool)
    for steps in (9, 12, 3, 1):  # three chunks, of which one is not full, and a single one
        x, found = tf.constant(rng.normal(size=(B, steps, X))), []
        for layer in (fast, slow):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, mask=mask[:, :steps], training=True)
                loss = tf.reduce_sum(y * np.arange(1.0, N + 1))
            found.append([y, *tape.gradient(loss, [x, *layer.trainable_weights])])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    after = [function.experimental_get_tracing_count() for function in functions]
    assert max(b - a for a, b in zip(before, after, strict=True)) <= 1


@pytest.mark.parametrize("steps", [None, 9])
def test_chunks_in_a_graph(steps, monkeypatch):
    monkeypatch.setattr(chunked_loop_tensorflow, "CHUNK", 4)
    fast, slow = pair("layer_norm_lstm", return_sequences=True, return_state=True)

    def derive(layer, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, h, c = layer(x, training=True)
            loss = tf.reduce_sum(y**2) + tf.reduce_sum(h * c)
        return [y, h, c, *tape.gradient(loss, [x, *(w.value for w in layer.trainable_weights)])]

    signature = [tf.TensorSpec((B, steps, X), "float64")]
    run = tf.function(lambda x: derive(fast, x), input_signature=signature)
    for length in (9,) if steps else (1, 4, 9):
        x = tf.constant(np.random.default_rng(length).normal(size=(B, length, X)))
        for a, b in zip(run(x), derive(slow, x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_an_unknown_length_within_a_graph_and_xla(monkeypatch):
    monkeypatch.setattr(chunked_loop_tensorflow, "CHUNK", 4)
    fast, slow = pair("layer_norm_lstm", return_sequences=True)
    signature = [tf.TensorSpec((B, None, X), "float64")]
    for compiled in (False, True):
        run = tf.function(fast, input_signature=signature, jit_compile=compiled)
        for steps in (1, 9):
            x = tf.constant(np.random.default_rng(steps).normal(size=(B, steps, X)))
            np.testing.assert_allclose(run(x), slow(x), rtol=1e-8, atol=1e-10)
