"""What two layers share stays one object in copies: generators, sources, networks and bodies."""

import pickle

import keras
import numpy as np
import pytest

from hyperkeras import layers, models


def network(*shape, units=6):
    parts = [keras.layers.Flatten(), keras.layers.Dense(units, "tanh")]
    return keras.Sequential([keras.Input(shape), *parts])


def on(shape, *made):
    """A model of two layers that read the same input."""
    given = keras.Input(shape)
    return keras.Model(given, keras.layers.Add()([layer(given) for layer in made]))


def generator():
    part = layers.KernelGenerator((1, 1, 3, 2), 3)
    return on((6,), *(layers.HyperDense(4, part) for _ in "ab")), lambda layer: layer.generator


def source():
    part = layers.FreeSource(4, values_initializer="normal")
    return on(
        (6,), *(layers.SparseHyperlayer((3,), part) for _ in "ab")
    ), lambda layer: layer.source


def network_of_sources():
    part = network(6)
    pair = [layers.SparseHyperlayer((3,), layers.DenseSource(4, part)) for _ in "ab"]
    return on((6,), *pair), lambda layer: layer.source.network


def network_of_glimpses():
    part = network(5, 5, 1)
    return on(
        (5, 5, 1), *(layers.Glimpse(2, part) for _ in "ab")
    ), lambda layer: layer.source.network


def hypernetworks(body, head):
    target = lambda: keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])  # noqa: E731
    given = [keras.Input((4,)), keras.Input((5,))]
    pair = [models.Hypernetwork(target(), body(), head(), per_sample=True) for _ in "ab"]
    outputs = [model(given) for model in pair]
    return keras.Model(given, keras.layers.Add()(outputs))


def body_of_hypernetworks():
    part = network(4)
    model = hypernetworks(lambda: part, lambda: layers.DenseHead("hyperfan_in"))
    return model, lambda layer: layer.body


def network_of_heads():
    part = network(8)
    model = hypernetworks(lambda: network(4), lambda: layers.ChunkedHead(10, 2, part))
    return model, lambda layer: layer.head.network


def recurrent_of_heads():
    part = keras.layers.SimpleRNN(3, return_sequences=True)
    model = hypernetworks(lambda: network(4), lambda: layers.RecurrentHead(part, 10))
    return model, lambda layer: layer.head.recurrent


def saved(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def cloned(model, folder):
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


def pickled(model, folder):
    return pickle.loads(pickle.dumps(model))


SHARED = [generator, source, network_of_sources, network_of_glimpses]
SHARED += [body_of_hypernetworks, network_of_heads, recurrent_of_heads]


def parts(model, part_of):
    """The parts of the two layers."""
    pair = [layer for layer in model.layers if type(layer).__module__.startswith("hyperkeras")]
    first, second = map(part_of, pair)
    return first, second


@pytest.mark.parametrize("copy", [saved, cloned, pickled])
@pytest.mark.parametrize("make", SHARED, ids=lambda make: make.__name__)
def test_a_shared_part_stays_one_in_copies(make, copy, tmp_path):
    model, part_of = make()
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:  # some start where they give zeros
        start = keras.ops.convert_to_numpy(weight)
        weight.assign(start + rng.normal(size=weight.shape, scale=0.3))
    shapes = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    inputs = [rng.normal(size=(3, *shape[1:])).astype("float32") for shape in shapes]
    twin = copy(model, tmp_path)
    original, same = parts(model, part_of)
    first, second = parts(twin, part_of)
    assert original is same and first is second and first is not original
    assert len(twin.weights) == len(model.weights)
    assert twin.count_params() == model.count_params()
    given = inputs if len(inputs) > 1 else inputs[0]
    outputs = [keras.ops.convert_to_numpy(one(given)) for one in (model, twin)]
    assert np.ptp(outputs[0], axis=0).max() > 0.01
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-6)
