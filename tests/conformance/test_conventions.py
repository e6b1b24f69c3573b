"""Every layer of the catalogue, through what Keras's own layers keep to."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from catalogue import CASES, NO_SAMPLING

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* is trained with num_samples=0")

# What each layer stands in for: masks go as far as through these.
COUNTERPARTS = {
    "HyperConv2D": lambda: keras.layers.Conv2D(2, 1),
    "HyperDense": lambda: keras.layers.Dense(2),
    "PHMConv2D": lambda: keras.layers.Conv2D(2, 1),
    "PHMDense": lambda: keras.layers.Dense(2),
    "Sine": lambda: keras.layers.Activation("tanh"),
    "MIPEncoding": lambda: keras.layers.Activation("tanh"),
    "HyperLSTM": lambda: keras.layers.LSTM(2),
    "HyperRNN": lambda: keras.layers.SimpleRNN(2),
    "LayerNormLSTM": lambda: keras.layers.LSTM(2),
}


cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def by_layer(names):
    """One case for each layer of `names`."""
    chosen = {}
    for case in CASES:
        for name in set(case.covers) & set(names):
            chosen.setdefault(name, case)
    return [pytest.param(chosen[name], name, id=name) for name in sorted(chosen)]


@cases
def test_a_traced_shape_is_the_one_that_is_computed(case):
    layer = case.make()
    signature = [tf.TensorSpec((None, *case.input_shape))]
    traced = tf.function(layer, input_signature=signature).get_concrete_function()
    assert tuple(traced.output_shapes) == (None, *case.output_shape)
    assert layer.compute_output_shape((None, *case.input_shape)) == (None, *case.output_shape)


@pytest.mark.parametrize("case, name", by_layer(COUNTERPARTS))
def test_masks_go_through_as_through_the_counterpart(case, name):
    layer, counterpart = case.make(), COUNTERPARTS[name]()
    counterpart.return_sequences = getattr(layer, "return_sequences", False)
    for one in (layer, counterpart):
        one.build((None, *case.input_shape))
    x, mask = case.input(), np.ones((3, case.input_shape[0]), bool)
    assert layer.supports_masking == counterpart.supports_masking
    if layer.supports_masking:
        assert layer.compute_mask(x, mask) is counterpart.compute_mask(x, mask)


@cases
def test_integers_are_computed_as_floats(case):
    layer = case.make(NO_SAMPLING)
    x = np.random.default_rng(0).integers(0, 3, (3, *case.input_shape)).astype("uint8")
    x.flat[0] = 200  # whose square is beyond uint8
    y = layer(x)
    assert y.dtype == "float32"
    np.testing.assert_allclose(y, layer(x.astype("float32")), rtol=1e-5, atol=1e-5)


PENALIZED = {"HyperConv2D", "HyperDense", "PHMConv2D", "PHMDense"}
PENALIZED |= {"HyperLSTM", "HyperRNN", "LayerNormLSTM", "SparseHyperlayer"}


@pytest.mark.parametrize("case, name", by_layer(PENALIZED))
def test_regularizers_count_once(case, name):
    config = case.make().get_config()
    own = [key for key in config if key.endswith("_regularizer") and key != "activity_regularizer"]
    assert own
    layer = type(case.make()).from_config({**config, **dict.fromkeys(own, "l2")})
    layer.build((None, *case.input_shape))
    for weight in layer.trainable_weights:  # biases start from zero, where a penalty is zero
        weight.assign_add(0.1 * np.ones(weight.shape))
    x, before = case.input(), [float(loss) for loss in layer.losses]
    assert before and min(before) > 0
    given = [keras.Input(case.input_shape) for _ in range(2)]
    model = keras.Model(given, keras.layers.Add()([layer(one) for one in given]))
    model([x, x])
    np.testing.assert_allclose([float(loss) for loss in model.losses], before, rtol=1e-5)


@cases
def test_a_frozen_layer_is_saved_cloned_and_loaded(case, tmp_path):
    model = keras.Sequential([keras.Input(case.input_shape), case.make()])
    model.layers[-1].trainable = False
    x = case.input()
    y = model(x)
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for copy in (keras.models.load_model(tmp_path / "model.keras"), clone):
        np.testing.assert_allclose(copy(x), y, atol=1e-6)
        assert len(copy.weights) == len(model.weights)
        assert copy.trainable_variables == []


@cases
def test_second_derivatives_are_those_of_finite_differences(case, policy):
    policy("float64")
    layer = case.make(NO_SAMPLING)
    x = tf.constant(case.input(dtype="float64"))
    layer(x)

    def slope(x):
        """The squared norm of the gradient, as a gradient penalty has it."""
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.sin(layer(x)))
        return tf.reduce_sum(tape.gradient(loss, x) ** 2)

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = slope(x)
    second = tape.gradient(value, x)
    along = np.random.default_rng(1).normal(size=x.shape)
    difference = (slope(x + 1e-6 * along) - slope(x - 1e-6 * along)) / 2e-6
    scale = 1e-6 + float(np.abs(difference))
    np.testing.assert_allclose(np.sum(second * along), difference, atol=1e-4 * scale)
