"""Every layer of the catalogue, through what Keras's own layers keep to, on any backend."""

import inspect

import keras
import numpy as np
import pytest
from catalogue import ABSTRACT, CASES, NO_SAMPLING, TENSORFLOW_ONLY
from gradients import array, slopes_of

from hyperkeras import layers

BACKEND = keras.backend.backend()
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


def parameter(case, *more, name=None):
    """A case, skipped on a backend that can't run it."""
    reason = TENSORFLOW_ONLY.get(case.name)
    marks = [pytest.mark.skip(reason=reason)] if reason and BACKEND != "tensorflow" else []
    return pytest.param(case, *more, id=name or case.name, marks=marks)


def of_new_layers():
    """The cases that cover a layer or source which no case before them covers."""
    seen = set()
    for case in CASES:
        if not seen.issuperset(case.covers):
            seen.update(case.covers)
            yield case


# JAX compiles each operation of each shape, which for all cases takes minutes.
chosen = of_new_layers() if BACKEND == "jax" else CASES
cases = pytest.mark.parametrize("case", [parameter(case) for case in chosen])


def by_layer(names):
    """One case for each layer of `names`."""
    chosen = {}
    for case in CASES:
        for name in set(case.covers) & set(names):
            chosen.setdefault(name, case)
    return [parameter(chosen[name], name, name=name) for name in sorted(chosen)]


class Traced(keras.Operation):
    """A layer's `call` as Keras traces it, whatever `compute_output_shape` says."""

    def __init__(self, layer, **options):
        super().__init__()
        self.layer, self.options = layer, options

    def call(self, x):
        return self.layer.call(x, **self.options)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="`tests/test_conformance.py` traces a graph")
@cases
def test_a_traced_shape_is_the_one_that_is_computed(case):
    layer, shape = case.make(), (None, *case.input_shape)
    layer.build(shape)
    assert tuple(layer.compute_output_shape(shape)) == (None, *case.output_shape)
    traced = Traced(layer).compute_output_spec(keras.KerasTensor(shape))
    assert tuple(traced.shape) == (None, *case.output_shape)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="`tests/test_conformance.py` has batches")
@pytest.mark.parametrize("training", [False, True])
@cases
def test_an_empty_batch_gives_an_empty_batch(case, training):
    layer, x = case.make(), case.input()[:0]
    layer.build((None, *case.input_shape))
    if BACKEND == "jax":  # to trace finds what fails, without compiling
        takes = {"training": training} if layer._call_has_training_arg else {}
        y = Traced(layer, **takes).compute_output_spec(keras.KerasTensor(x.shape))
    else:
        y = layer(x, training=training)
    assert tuple(y.shape) == (0, *case.output_shape)


def given_to(layer):
    """The ids of the layers among a layer's arguments, and of those inside them."""
    arguments = (getattr(layer, name, None) for name in layer.get_config())
    parts = [one for one in arguments if isinstance(one, keras.layers.Layer)]
    return {id(part) for one in parts for part in one._flatten_layers()}


@pytest.fixture
def double():
    """Double precision, which JAX has to be told of."""
    if BACKEND != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


@cases
def test_a_layer_hands_its_dtype_to_those_that_it_makes(case, double):
    made = case.make(NO_SAMPLING)
    parts = made.layers if isinstance(made, keras.Model) else [made]
    parts = [one for one in parts if type(one).__name__ in layers.__all__]
    assert parts and not ABSTRACT & {type(one).__name__ for one in parts}
    for one in parts:
        layer = type(one).from_config({**one.get_config(), "dtype": "float64"})
        if layer is not made and not isinstance(made, keras.Model):
            layer.build((None, *case.input_shape))
        inside = [part for part in layer._flatten_layers() if id(part) not in given_to(layer)]
        assert {part.variable_dtype for part in inside} == {"float64"}


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
    assert keras.backend.standardize_dtype(y.dtype) == "float32"
    expected = array(layer(x.astype("float32")))
    np.testing.assert_allclose(array(y), expected, rtol=1e-5, atol=1e-5)


def regularizers_of(name):
    arguments = inspect.signature(getattr(layers, name)).parameters
    return [key for key in arguments if key.endswith("_regularizer")]


# The scores of a `TopKSource` are of its input: their penalty is added in each call.
PENALIZED = {name for name in layers.__all__ if regularizers_of(name)} - ABSTRACT - {"TopKSource"}


@pytest.mark.parametrize("case, name", by_layer(PENALIZED))
def test_regularizers_count_once(case, name):
    made, kind = case.make(NO_SAMPLING), getattr(layers, name)
    config = (made if isinstance(made, kind) else made.cell).get_config()
    biased = {"use_bias": True} if "use_bias" in config else {}
    penalties = dict.fromkeys(regularizers_of(name), "l2")
    layer = kind.from_config({**config, **penalties, **biased})
    if not isinstance(made, kind):
        layer = keras.layers.RNN(layer)
    layer.build((None, *case.input_shape))
    for weight in layer.trainable_weights:  # biases start from zero, where a penalty is zero
        weight.assign(array(weight) + 0.1)
    x, before = case.input(), [float(array(loss)) for loss in layer.losses]
    assert len(before) >= len(regularizers_of(name)) and min(before) > 0
    given = [keras.Input(x.shape[1:]), keras.Input((1, *x.shape[1:]))]
    model = keras.Model(given, [layer(given[0]), keras.layers.TimeDistributed(layer)(given[1])])
    nothing = 2 * [lambda y, z: 0 * keras.ops.sum(z)]
    model.compile(loss=nothing, jit_compile=BACKEND == "jax")
    whole = model.test_on_batch([x, x[:, None]], 2 * [x])
    np.testing.assert_allclose(whole[0], sum(before), rtol=1e-4)
    after = [float(array(loss)) for loss in model.losses]
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_every_layer_with_a_regularizer_has_a_case():
    assert {param.values[1] for param in by_layer(PENALIZED)} == PENALIZED


@cases
def test_a_frozen_layer_is_saved_cloned_and_loaded(case, tmp_path):
    model = keras.Sequential([keras.Input(case.input_shape), case.make()])
    model.layers[-1].trainable = False
    x = case.input()
    y = array(model(x))
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for copy in (keras.models.load_model(tmp_path / "model.keras"), clone):
        np.testing.assert_allclose(array(copy(x)), y, atol=1e-6)
        assert len(copy.weights) == len(model.weights)
        assert copy.trainable_variables == []


QUANTIZABLE = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding)


@cases
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_a_quantized_model_is_saved_and_loaded(case, tmp_path):
    """A layer's own parts stay as they are: its configuration does not tell how to make them."""
    given = keras.Input(case.input_shape)
    model = keras.Model(given, keras.layers.Dense(4)(case.make(NO_SAMPLING)(given)))
    own = [part for part in model._flatten_layers() if isinstance(part, QUANTIZABLE)]
    if len(own) == 1:
        return  # nothing inside the layer
    x = case.input()
    y = array(model(x))
    model.quantize("int8")
    assert model.layers[-1].quantization_mode == "int8"
    z = array(model(x))
    np.testing.assert_allclose(z, y, atol=0.05 * np.abs(y).max())
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        array(keras.models.load_model(tmp_path / "model.keras")(x)), z, atol=1e-5
    )


# Keras takes float64 for float32 in `matmul` and others on PyTorch, in `sin` and others on JAX.
@cases
def test_second_derivatives_are_those_of_finite_differences(case, policy, double):
    policy("float64")
    layer = case.make(NO_SAMPLING)
    x = case.input(dtype="float64")
    if not layer.built:
        layer.build((None, *case.input_shape))
    along = np.random.default_rng(1).normal(size=x.shape)
    step = 1e-6 if BACKEND == "tensorflow" else 1e-3
    around = [x, *(x + sign * step * along for sign in (1, -1))]
    (slope, up, down), second = slopes_of(layer, around, along)
    difference = (up - down) / 2 / step
    assert slope > 0 or difference == 0
    rounding = 1e-10 if BACKEND == "tensorflow" else 1e-6 + 2e-3 * slope + 1e-2 * abs(difference)
    np.testing.assert_allclose(second, difference, atol=rounding + 1e-4 * abs(difference))
