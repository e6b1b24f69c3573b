"""What goes in and out of the recurrent layers, on the backend that KERAS_BACKEND names."""

import inspect
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from hyperkeras import layers

B, T, X, N, M, E = 2, 3, 5, 4, 3, 2
LAYERS = {
    "layer_norm_lstm": lambda **arguments: layers.LayerNormLSTM(N, **arguments),
    "hyper_lstm": lambda **arguments: layers.HyperLSTM(N, M, E, **arguments),
    "hyper_rnn": lambda **arguments: layers.HyperRNN(N, M, E, **arguments),
}
CELLS = {
    "layer_norm_lstm": lambda **arguments: layers.LayerNormLSTMCell(N, **arguments),
    "hyper_lstm": lambda **arguments: layers.HyperLSTMCell(N, M, E, **arguments),
    "hyper_rnn": lambda **arguments: layers.HyperRNNCell(N, M, E, **arguments),
}
every = pytest.mark.parametrize("name", LAYERS)
with_dropout = pytest.mark.parametrize("name", ["layer_norm_lstm", "hyper_lstm"])
trainings = pytest.mark.parametrize("training", [False, True])


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def zeros(*sizes):
    return [np.zeros((B, n), "float32") for n in sizes]


# Integers


@every
@pytest.mark.parametrize("dtype", ["uint8", "bool"])
def test_integers_are_taken_as_floats(name, dtype):
    x = np.random.default_rng(0).integers(0, 200, size=(B, T, X)).astype(dtype)
    layer, cell = LAYERS[name](), CELLS[name]()
    expected = layer(x.astype("float32"))
    np.testing.assert_allclose(array(layer(x)), array(expected), atol=1e-6)
    expected, _ = cell(x[:, 0].astype("float32"), cell.get_initial_state(B))
    y, states = cell(x[:, 0], [np.zeros((B, n), "int32") for n in cell.state_size])
    for a, b in ((y, expected), (states[0], expected)):
        np.testing.assert_allclose(array(a), array(b), atol=1e-6)


@every
def test_integers_are_taken_by_a_model_in_half_precision(name):
    given = keras.Input((T, X), dtype="int32")
    model = keras.Model(given, LAYERS[name](dtype="mixed_bfloat16")(given))
    y = model.predict(np.ones((B, T, X), "int32"), verbose=0)
    assert np.isfinite(y.astype("float32")).all()


# Wrong sizes


@every
@trainings
@pytest.mark.parametrize("features", [X - 1, X + N, X + N + M])
def test_other_features_than_built_for_are_refused(name, training, features):
    dropout = {} if name == "hyper_rnn" else {"recurrent_dropout": 0.5}
    layer, cell = LAYERS[name](**dropout, dropout=0.5), CELLS[name](**dropout)
    layer.build((None, T, X))
    cell.build((None, X))
    wrapped = keras.layers.RNN(cell)
    x = np.zeros((B, T, features), "float32")
    arguments = {} if name == "hyper_rnn" else {"training": training}
    for call in (
        lambda: layer(x, training=training),
        lambda: cell(x[:, 0], cell.get_initial_state(B), **arguments),
        lambda: wrapped(x),
    ):
        with pytest.raises(ValueError, match=f"value {X}, but received input with shape"):
            call()


@every
@pytest.mark.parametrize("sizes", [[N], [N, N, N], [N, M, M, M], [M, N], [N + 1, N + 1]])
def test_states_of_another_number_or_size_are_named(name, sizes):
    layer, cell = LAYERS[name](), CELLS[name]()
    x = np.zeros((B, T, X), "float32")
    names = ", ".join(
        f"{s} \\[b, {n}\\]" for s, n in zip(cell.state_names, cell.state_size, strict=True)
    )
    expected = rf"expected a list of {len(cell.state_size)} tensors: {names}. Received: .*"
    for argument, call in {
        "initial_state": lambda: layer(x, initial_state=zeros(*sizes)),
        "states": lambda: cell(x[:, 0], zeros(*sizes)),
    }.items():
        message = f"invalid value for `{argument}`, {expected}{sizes[0]}\\)"
        with pytest.raises(ValueError, match=message):
            call()


# Traced shapes


@every
@pytest.mark.parametrize("batch, steps", [(B, T), (None, T), (None, None)])
def test_the_traced_shape_is_the_computed_one(name, batch, steps):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow has tensors of unknown shapes")
    import tensorflow as tf

    choices = [
        dict(return_sequences=True),
        dict(return_state=True),
        dict(return_sequences=True, return_state=True, go_backwards=True, dropout=0.5),
    ]
    if name == "hyper_lstm":
        choices += [dict(return_sequences=True, return_weight_changes=True)]
    for options, masked in itertools.product(choices, [False, True]):
        layer = LAYERS[name](**options)
        layer.build((batch, steps, X))

        def trace(x, mask, layer=layer, masked=masked):
            return layer(x, mask=mask if masked else None, training=True)

        signature = [tf.TensorSpec((batch, steps, X)), tf.TensorSpec((batch, steps), "bool")]
        traced = tf.function(trace, input_signature=signature).get_concrete_function()
        seen = [tuple(y.shape) for y in keras.tree.flatten(traced.structured_outputs)]
        expected = layer.compute_output_shape((batch, steps, X))
        expected = expected if isinstance(expected[0], tuple) else [expected]
        assert seen == [tuple(shape) for shape in expected], options


@every
def test_layers_behind_it_take_every_step(name):
    head = keras.layers.TimeDistributed(keras.layers.Dense(2))
    model = keras.Sequential([keras.Input((6, X)), LAYERS[name](return_sequences=True), head])
    assert model.predict(np.zeros((1, 6, X), "float32"), verbose=0).shape == (1, 6, 2)


# Like keras.layers.LSTM


@every
def test_arguments_are_properties(name):
    layer = LAYERS[name](kernel_initializer="he_normal", recurrent_regularizer="l2")
    arguments = set(inspect.signature(type(layer)).parameters) - {"kwargs"}
    for argument in arguments:
        assert hasattr(layer, argument), argument
        if hasattr(layer.cell, argument) and argument != "seed":
            assert getattr(layer, argument) is getattr(layer.cell, argument), argument
    assert layer.units == N
    assert isinstance(layer.kernel_initializer, keras.initializers.HeNormal)


def test_the_small_network_has_a_forget_bias_of_its_own():
    for make in (LAYERS["hyper_lstm"], CELLS["hyper_lstm"]):
        layer = make(forget_bias=0.5)
        cell = getattr(layer, "cell", layer)
        assert (cell.forget_bias, cell.hyper_cell.forget_bias) == (0.5, 1.0)
        layer = make(forget_bias=0.5, hyper_forget_bias=2.0)
        layer = type(layer).from_config(layer.get_config())
        cell = getattr(layer, "cell", layer)
        assert (cell.forget_bias, cell.hyper_cell.forget_bias) == (0.5, 2.0)


@pytest.mark.parametrize("return_state, merge_mode", [(False, "concat"), (True, None)])
def test_weight_changes_in_both_directions(return_state, merge_mode):
    layer = LAYERS["hyper_lstm"](
        return_sequences=True, return_state=return_state, return_weight_changes=True, use_xla=False
    )
    both = keras.layers.Bidirectional(layer, merge_mode=merge_mode)
    x = np.random.default_rng(0).normal(size=(B, T, X)).astype("float32")
    given = keras.Input((T, X))
    model = keras.Model(given, both(given))
    for w in both.weights:
        if "seed" not in w.path:
            w.assign(np.random.default_rng(1).normal(size=w.shape, scale=0.5))
    found = model.predict(x, verbose=0)
    forwards = both.forward_layer(x)
    backwards = both.backward_layer(x)
    outputs = [array(forwards[0]), array(backwards[0])[:, ::-1]]
    if merge_mode == "concat":
        outputs = [np.concatenate(outputs, axis=-1)]
    expected = [*outputs, *map(array, forwards[1:]), *map(array, backwards[1:])]
    assert [y.shape[1:] for y in found] == [y.shape[1:] for y in model.outputs]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
