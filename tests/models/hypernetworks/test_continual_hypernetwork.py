"""What a continual hypernetwork keeps beside generated weights, on every backend."""

import warnings

import keras
import numpy as np
import pytest
from gradients import array
from keras import layers

from hyperkeras.layers import ChunkedHead
from hyperkeras.models import ContinualHypernetwork, infer_task
from hyperkeras.ops import prediction_entropy

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def target():
    parts = [layers.Dense(4), layers.BatchNormalization(momentum=0.5), layers.Dense(1)]
    return keras.Sequential([keras.Input((3,)), *parts])


def plain():
    return keras.Sequential([keras.Input((3,)), layers.Dense(1)])


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


def embedded(*parts):
    return keras.Sequential([keras.Input((), dtype="int32"), layers.Embedding(3, 5), *parts])


@pytest.mark.parametrize("where", ["body", "head"])
def test_warns_of_moving_statistics_that_make_the_weights(where):
    moving = layers.BatchNormalization(name="moving")
    if where == "body":
        model = ContinualHypernetwork(plain(), embedded(moving), range(3))
    else:
        network = keras.Sequential([keras.Input((7,)), moving])
        model = ContinualHypernetwork(
            plain(), embedded(), range(3), head=ChunkedHead(4, 2, network)
        )
    model([np.zeros(8, "int32"), normal(8, 3)])
    with pytest.warns(UserWarning, match="moving statistics of its body or head.*moving"):
        model.finish_task()


def test_does_not_warn_of_statistics_that_stay():
    still = layers.BatchNormalization(trainable=False)
    parts = [still, layers.Normalization(mean=0.5, variance=2.0), layers.LayerNormalization()]
    model = ContinualHypernetwork(plain(), embedded(*parts), range(3))
    model([np.zeros(8, "int32"), normal(8, 3)])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
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


def heads():
    """Two tasks with two outputs each, behind a common layer."""
    parts = [layers.Dense(2, "tanh", name="shared"), layers.Dense(4, name="heads")]
    return keras.Sequential([keras.Input((3,)), *parts])


def own_head(variable, task):
    """The shared layer, and the task's own two outputs."""
    return "shared" in variable.path or np.arange(4) // 2 == task


def two_tasks(**arguments):
    model = ContinualHypernetwork(heads(), layers.Embedding(2, 5), range(2), beta=0.3, **arguments)
    model([np.array([0]), normal(8, 3)])
    return model


def change_of_first_task(model):
    """The regularizer after the first task, the change of each weight, and which ones count."""
    model.finish_task()
    kernel = model.head.kernel
    kernel.assign(kernel + 0.1 * normal(*kernel.shape))
    model([np.array([1]), normal(8, 3)], training=True)
    now = array(model.generate_flat(np.array([0])))[0]
    own = np.concatenate([np.ones(6 + 2), np.tile([1, 1, 0, 0], 2), [1, 1, 0, 0]])
    return float(array(sum(model.losses))), now - array(model.realizations.value)[0], own


@pytest.mark.parametrize("num_sampled", [None, 1])
@pytest.mark.parametrize("as_values", [False, True])
def test_only_regularized_weights_are_held(as_values, num_sampled):
    masks = [[True, True, *[[k // 2 == task for k in range(4)]] * 2] for task in range(2)]
    model = two_tasks(regularized=masks if as_values else own_head, num_sampled=num_sampled)
    loss, change, own = change_of_first_task(model)
    assert loss == pytest.approx(0.3 * (own * change**2).sum(), rel=1e-4)
    assert loss < 0.9 * 0.3 * (change**2).sum()
    assert model.get_config()["regularized"] == masks


def test_all_weights_are_held_by_default():
    loss, change, _ = change_of_first_task(two_tasks())
    assert loss == pytest.approx(0.3 * (change**2).sum(), rel=1e-4)


@pytest.mark.parametrize("freeze", [False, True])
def test_embeddings_of_finished_tasks_stay_if_frozen(freeze, tmp_path):
    model = two_tasks(freeze_conditions=freeze, regularized=own_head)
    model.finish_task()
    model.save(tmp_path / "model.keras")
    for network in (model, keras.models.load_model(tmp_path / "model.keras")):
        table = network.body.embeddings
        before = array(table)
        network.compile(keras.optimizers.Adam(0.1), "mse")
        network.fit([np.ones(16, "int32"), normal(16, 3)], normal(16, 4), batch_size=4, verbose=0)
        moved = np.abs(array(table) - before).max(axis=1)
        assert moved[1] > 0.01
        assert moved[0] == 0 if freeze else moved[0] > 1e-4


def test_a_task_is_inferred_by_entropy():
    model, x = two_tasks(), normal(40, 3)
    model.body.embeddings.assign(np.eye(2, 5))
    numbers = np.random.default_rng(1).normal(size=model.head.kernel.shape)
    numbers[:, 6:8] = numbers[:, 16:] = 0  # biases, by which one task is surer of all samples
    model.head.kernel.assign(numbers)
    for heads_ in (None, [[0, 1], [2, 3]], [slice(0, 2), slice(2, 4)]):
        expected = []
        for task in range(2):
            y = array(model([np.array([task]), x])).astype("float64")
            y = y if heads_ is None else y[:, 2 * task : 2 * task + 2]
            p = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
            expected.append(-(p * np.log(p)).sum(-1))
        inferred = infer_task(model, x, heads_, batch_size=16)
        np.testing.assert_array_equal(inferred, np.argmin(expected, axis=0))
        assert set(inferred) == {0, 1}
    model.finish_task()
    assert not infer_task(model, x).any()  # one task is finished
    assert infer_task(model, x, num_tasks=2).any()


def test_entropy_of_certain_predictions():
    logits = np.array([[1e4, 0, 0], [0, 0, -np.inf], [1, 1, 1], [2, 1, 0]])
    p = np.exp(logits[3]) / np.exp(logits[3]).sum()
    expected = [0, np.log(2), np.log(3), -(p * np.log(p)).sum()]
    np.testing.assert_allclose(array(prediction_entropy(logits.astype("float32"))), expected, 1e-5)


def test_bad_input_of_held_and_frozen_weights():
    with pytest.raises(ValueError, match=r"`regularized` to give.*\(4,\), for.*int64.*\(4,\)"):
        two_tasks(regularized=lambda v, t: np.arange(4) if v.shape == (4,) else True)
    with pytest.raises(ValueError, match=r"broadcasts to \(3, 2\).*shape \(5,\)"):
        two_tasks(regularized=lambda v, t: np.ones(5, bool))
    for wrong in (3, [[True]], [[True] * 4]):
        with pytest.raises(ValueError, match="invalid value for `regularized`"):
            two_tasks(regularized=wrong)
    body = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    with pytest.raises(ValueError, match=r"`keras.layers.Embedding`.*freeze_conditions"):
        ContinualHypernetwork(heads(), body, np.eye(2), freeze_conditions=True)
    model = two_tasks()
    with pytest.raises(ValueError, match="invalid value for `num_tasks`.*from 1 to 2"):
        infer_task(model, normal(4, 3), num_tasks=3)
    with pytest.raises(ValueError, match="outputs of each of 2 tasks"):
        infer_task(model, normal(4, 3), [[0, 1]])
    with pytest.raises(ValueError, match="`model`, expected a ContinualHypernetwork"):
        infer_task(model.target, normal(4, 3))


@pytest.mark.parametrize("num_sampled", [None, 2])
def test_a_step_generates_the_weights_of_finished_tasks_alone(num_sampled, monkeypatch):
    """What was compiled before a task was finished generates all, with the same result."""
    model = model_of(
        keras.Sequential([keras.Input((3,)), layers.Dense(1)]), num_sampled=num_sampled, beta=1e4
    )
    x, y, most = normal(8, 3), normal(8, 1), num_sampled or 3
    one, each = [np.zeros(1, "int32"), x], [np.zeros(8, "int32"), x]
    model(one)
    generate, rows = model.generate_flat, []

    def counted(conditions):
        rows.append(conditions.shape[0])
        return generate(conditions)

    monkeypatch.setattr(model, "_change_of", change_of(model, counted))

    def penalty():
        rows.clear()
        model(one, training=True)
        return float(array(sum(model.losses)))

    def trained():
        """The penalty in a step of training of no length."""
        rows.clear()
        error = np.mean((array(model(one)) - y) ** 2)
        return float(model.train_on_batch(each, y)) - error

    assert penalty() == 0 and not rows
    for done in (1, 2, 3):
        model.finish_task()
        model.head.kernel.assign(array(model.head.kernel) * 1.1)
        expected = penalty()
        assert expected > 0 and rows == [min(done, most)]
        if done == 2:  # compiled for one
            np.testing.assert_allclose(trained(), expected, rtol=1e-3)
        model.compile(keras.optimizers.SGD(0.0), "mse")
        found = trained()
        assert min(done, most) in rows
        if done <= most:  # of three tasks, two are drawn
            np.testing.assert_allclose(found, expected, rtol=1e-3)


def change_of(model, generate_flat):
    """The model's `_change_of`, which generates by another function."""

    def change(index, kept):
        whole, model.generate_flat = model.generate_flat, generate_flat
        try:
            return type(model)._change_of(model, index, kept)
        finally:
            model.generate_flat = whole

    return change
