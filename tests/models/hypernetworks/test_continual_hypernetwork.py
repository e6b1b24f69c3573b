"""What a continual hypernetwork keeps beside generated weights, on every backend."""

import warnings

import keras
import numpy as np
import pytest
from gradients import array
from keras import layers

from hyperkeras.models import ContinualHypernetwork

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def target():
    parts = [layers.Dense(4), layers.BatchNormalization(momentum=0.5), layers.Dense(1)]
    return keras.Sequential([keras.Input((3,)), *parts])


def model_of(target, **arguments):
    return ContinualHypernetwork(target, layers.Embedding(3, 5), range(3), **arguments)


def learn(model, task, x):
    """The statistics of x, without a step of training."""
    for _ in range(3):
        model([np.array([task]), x], training=True)
    model.finish_task()


def test_each_task_is_evaluated_with_its_own_statistics(tmp_path):
    model, x = model_of(target()), normal(8, 3)
    model([np.array([0]), x])
    norm, statistics, outputs = model.target.layers[1], [], []
    for task in range(2):
        learn(model, task, (task + 1) * x + task)
        statistics.append(array(norm.moving_mean.value))
        outputs.append(array(model([np.array([task]), x])))
    assert np.abs(statistics[0] - statistics[1]).max() > 1e-3
    model.save(tmp_path / "model.keras")
    for network in (model, keras.models.load_model(tmp_path / "model.keras")):
        for task in range(2):  # task 0 as it was, though task 1's statistics came after
            np.testing.assert_allclose(
                array(network([np.array([task]), x])), outputs[task], atol=1e-5
            )
            given = [np.full(8, task), x]
            np.testing.assert_allclose(network.predict(given, verbose=0), outputs[task], atol=1e-5)
            plain = network.materialize(np.array([task]))
            np.testing.assert_allclose(array(plain(x)), outputs[task], atol=1e-5)
            np.testing.assert_allclose(
                array(plain.layers[1].moving_mean), statistics[task], atol=1e-6
            )
    np.testing.assert_allclose(array(norm.moving_mean), statistics[1])  # those of now stay


def test_a_task_not_finished_has_the_statistics_of_now():
    model, x = model_of(target()), normal(8, 3)
    model([np.array([0]), x])
    learn(model, 0, x)
    before = array(model([np.array([1]), x]))
    model([np.array([1]), 3 * x + 5], training=True)
    assert np.abs(array(model([np.array([1]), x])) - before).max() > 1e-3


def test_files_without_statistics_of_each_task_load(tmp_path):
    model, x = model_of(target()), normal(8, 3)
    y = array(model([np.array([0]), x]))
    kept = {}
    model.save_own_variables(kept)
    old = {key: kept[key] for key in sorted(kept, key=int)[:-3]}  # two statistics, and which
    model.load_own_variables(old)
    np.testing.assert_allclose(array(model([np.array([0]), x])), y, atol=1e-6)
    with pytest.raises(ValueError, match="variables"):
        model.load_own_variables({"0": kept["0"]})


def test_warns_of_weights_that_later_tasks_change():
    small = target()
    model = model_of(small, select=[small.layers[2]])
    model([np.array([0]), normal(8, 3)])
    with pytest.warns(UserWarning, match=r"keeps generated weights alone(.|\n)*kernel"):
        model.finish_task()
    for layer in small.layers[:2]:
        layer.trainable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.finish_task()


def test_warns_of_statistics_per_sample():
    model = model_of(target(), per_sample=True)
    model([np.zeros(8, "int32"), normal(8, 3)])
    with pytest.warns(UserWarning, match="moving statistics of each task with per_sample"):
        model.finish_task()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("num_sampled", [None, 1])
def test_mixed_precision(policy, num_sampled):
    keras.config.set_dtype_policy(policy)
    model = model_of(target(), num_sampled=num_sampled)
    model.compile("sgd", "mse")
    inputs, y = [np.zeros(8, "int32"), normal(8, 3)], normal(8, 1)
    model.fit(inputs, y, verbose=0)
    model.finish_task()
    history = model.fit(inputs, y, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    # Held in place at full precision: half of it would make a change of rounding alone.
    model.finish_task()
    model([np.array([0]), normal(8, 3)], training=True)
    assert float(array(sum(model.losses))) < 1e-12


def test_conditions_may_be_a_dictionary():
    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    body = keras.Model({"a": a, "b": b}, layers.Dense(4, "tanh")(layers.Concatenate()([a, b])))
    conditions = {"a": normal(2, 2), "b": normal(2, 1)}
    model = ContinualHypernetwork(target(), body, conditions)
    one = {key: value[:1] for key, value in conditions.items()}
    model([one, normal(8, 3)], training=True)
    model.finish_task()
    model([one, normal(8, 3)], training=True)
    assert float(array(sum(model.losses))) < 1e-12
    with pytest.raises(ValueError, match="`conditions`, expected an array"):
        ContinualHypernetwork(target(), layers.Embedding(2, 3), {"a": [1, 2], "b": [1]})
