"""One hypernetwork for many architectures."""

import contextlib

import keras
import numpy as np
import pytest
from gradients import array, gradients
from keras import layers, ops

from hyperkeras import models
from hyperkeras.layers import FlatEncoder, GatedGraphEncoder, MatrixDecoder
from hyperkeras.models.architectures import target_calls

rng = np.random.default_rng(0)


def mlp(*widths, name=None):
    hidden = [layers.Dense(width, "relu") for width in widths]
    return keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(3)], name=name)


def convolutional():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(5, 3, padding="same", activation="relu")(inputs)
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def ghn():
    return models.GraphHypernetwork(
        GatedGraphEncoder(8), MatrixDecoder((8, 8), hidden=(8, 8)), seed=1
    )


@pytest.fixture(scope="module")
def trained():
    """A hypernetwork trained on two networks, with its data and history."""
    network = models.GraphHypernetwork(
        GatedGraphEncoder(8), MatrixDecoder((8, 8), hidden=(16, 16)), seed=1
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    x = np.random.default_rng(0).normal(size=(128, 4)).astype("float32")
    y = x[:, :3].argmax(axis=1)
    targets = [mlp(8), mlp(6, 6)]
    history = network.fit(x, y, targets=targets, meta_batch_size=2, epochs=12, verbose=0)
    return network, x, y, history.history


def test_it_learns_and_serves_a_network_never_seen(trained):
    network, x, y, history = trained
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    scores = network.scores([mlp(7), mlp(3)], x, y)
    assert scores["accuracy"].shape == (2,) and scores["accuracy"][0] > 0.6  # chance: 1 / 3


def test_scores_are_those_of_the_assigned_network(trained):
    network, x, y, _ = trained
    target = mlp(7, 5)
    score = network.scores([target], x, y)["accuracy"][0]
    network.assign(target)
    assert score == pytest.approx(np.mean(np.argmax(array(target(x)), axis=-1) == y), abs=1e-6)


def test_a_loaded_one_makes_the_same_weights(trained, tmp_path):
    network, x, *_ = trained
    network.save(tmp_path / "ghn.keras")
    loaded = keras.models.load_model(tmp_path / "ghn.keras")
    target = mlp(5)
    expected = array(network.apply(target, x))
    np.testing.assert_array_equal(array(loaded.apply(target, x)), expected)


def test_apply_is_the_target_with_the_weights_written_into_it(ghn):
    target, x = convolutional(), rng.normal(size=(4, 6, 6, 2)).astype("float32")
    y, before = array(ghn.apply(target, x)), list(map(array, target.variables))
    y_training = array(ghn.apply(target, x, training=True))
    assert not np.allclose(y, y_training)  # dropout, and statistics of the batch
    for value, variable in zip(before, target.variables, strict=True):
        np.testing.assert_array_equal(value, array(variable))
    ghn.assign(target)
    np.testing.assert_allclose(array(target(x)), y, atol=1e-5)


def test_weights_have_the_variance_that_keeps_activations(ghn):
    target = keras.Sequential([keras.Input((64,)), layers.Dense(64, use_bias=False)])
    ghn = models.GraphHypernetwork(GatedGraphEncoder(32), MatrixDecoder((64, 64)), seed=0)
    (kernel,) = ghn.generate(target)
    assert 0.5 < np.var(array(kernel)) * 64 / 2 < 2


def test_graphs_of_a_batch_do_not_change_each_other(ghn):
    first, second = mlp(4), mlp(8, 4)
    alone = [ghn._tiles([first])[0], ghn._tiles([second])[0]]
    together = ghn._tiles([first, second])
    for one, other in zip([*alone[0], *alone[1]], [*together[0], *together[1]], strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-5)


def test_flat_codes_and_no_encoder(ghn):
    x = rng.normal(size=(2, 4)).astype("float32")
    for encoder in (FlatEncoder(8, max_nodes=9), None):
        network = models.GraphHypernetwork(encoder, MatrixDecoder((8, 8), hidden=(4, 4)))
        assert network.apply(mlp(5), x).shape == (2, 3)
    flat = models.GraphHypernetwork(FlatEncoder(8, max_nodes=4))
    with pytest.raises(ValueError, match="at most 4"):
        flat.apply(mlp(5), x)


def test_normalizations_scale_one_and_the_same_kernel():
    made = {}
    for normalize in ("fan_in", "frobenius", None):
        network = models.GraphHypernetwork(
            None, MatrixDecoder((8, 8)), normalize=normalize, units=8
        )
        network.build(None)
        if made:
            network.set_weights(made["weights"])
        made["weights"] = network.get_weights()
        made[normalize] = ops.convert_to_numpy(network.generate(mlp())[0])
    np.testing.assert_allclose(made["fan_in"], made[None] * (2 / 4) ** 0.5, rtol=1e-4)
    norm = np.linalg.norm(made[None])
    np.testing.assert_allclose(made["frobenius"], made[None] / norm, rtol=1e-4, atol=1e-6)


def test_all_of_its_weights_get_gradients(ghn):
    x = rng.normal(size=(4, 6, 6, 2)).astype("float32")
    with ghn._using([convolutional()], None):
        made = gradients(ghn, x, lambda y: ops.mean(ops.square(y)))
    for variable, gradient in zip(ghn.trainable_variables, made, strict=True):
        assert gradient is not None and np.isfinite(gradient).all(), variable.path


def test_a_compiled_step_of_the_optimizer_is_its_own(monkeypatch):
    x, targets, found = rng.normal(size=(12, 4)), [mlp(5), mlp(3)], []
    for compiled in (True, False):
        if not compiled:
            kind = models.GraphHypernetwork
            monkeypatch.setattr(kind, "_compiled_updates", lambda self: contextlib.nullcontext())
        keras.utils.set_random_seed(0)
        network = models.GraphHypernetwork(None, MatrixDecoder((8, 8), 1, (4, 4)), units=8, seed=0)
        # Not Adam, which squares parts of an embedding's gradient before it adds them where they
        # come as rows that were read several times.
        network.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
        network.fit(x, x[:, :3], targets=targets, meta_batch_size=2, batch_size=4, verbose=0)
        found.append(network.get_weights())
        assert "apply" not in vars(network.optimizer)
        assert network.optimizer.iterations == 3
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    # Both hypernetworks call an architecture by the same compiled function.
    assert [len(target_calls._functions[target]) for target in targets] == [1, 1]


def test_bad_input_is_named(ghn):
    inputs = keras.Input((4,))
    strange = keras.Model(inputs, layers.UnitNormalization(name="odd")(layers.Dense(2)(inputs)))
    with pytest.raises(ValueError, match="layer 'odd' gives a node 'UnitNormalization'"):
        ghn.generate(strange)
    known = models.GraphHypernetwork(kinds=[*ghn.kinds, "unknown"], units=8)
    assert len(known.generate(strange)) == 2
    with pytest.raises(ValueError, match=r"windows of at most \(3, 3\)"):
        ghn.generate(keras.Sequential([keras.Input((9, 9, 1)), layers.Conv2D(2, 5)]))
    with pytest.raises(ValueError, match="invalid value for `targets`"):
        ghn.fit(np.ones((2, 4)), np.ones(2), targets=[])
    with pytest.raises(ValueError, match=r"Use `apply\(target, x\)`"):
        ghn(np.ones((2, 4)))
    with pytest.raises(ValueError, match="invalid value for `normalize`"):
        models.GraphHypernetwork(normalize="none")
    with pytest.raises(ValueError, match="invalid value for `units`, expected a multiple of 4"):
        models.GraphHypernetwork(units=6)
