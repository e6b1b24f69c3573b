"""Tasks in a row, and a hypernetwork's condition: the tasks `continual` and `mip`."""

import json
import types

import keras
import numpy as np
import pytest

from baselines.ewc import EWC, consolidation_penalty
from reproductions import __main__ as command_line
from reproductions.tasks import continual, dependency_preserving, mip
from reproductions.tasks.continual import learners, replay
from reproductions.tasks.continual.digit_tasks import PermutedTasks


# Each model that is built otherwise than another.
@pytest.mark.parametrize(
    ("task", "models"),
    [
        (continual, "ewc,hypernetwork,hypernetwork_replay"),
        (dependency_preserving, "layers"),
        (mip, "plain,mip"),
    ],
)
def test_a_run_leaves_records(task, models, tmp_path):
    name = task.__name__.rpartition(".")[2]
    words = ["run", name, "--preset", "smoke", "--models", models, "--out", str(tmp_path)]
    assert command_line.main(words) == 0
    for model in models.split(","):
        path = next((tmp_path / name / "smoke").glob(f"{model}-*.json"))
        record = json.loads(path.read_text())
        assert record["status"] == "finished"
        assert set(record["metrics"]["test"]) == set(task.METRICS)
    assert (tmp_path / name / "smoke" / "curves.png").exists()


def test_a_task_has_two_digits_and_its_batches_no_other():
    data = continual.data("digits", {}, None)
    for t in range(5):
        for split in ("train", "valid", "test"):
            assert set(data.splits[split][t][1]) == {2 * t, 2 * t + 1}
    first, again = (list(data.batches(1, [3], 2, 8)) for _ in range(2))
    np.testing.assert_array_equal(first[0][1], again[0][1])
    assert set(np.concatenate([y for _, _, y in first])) <= {6, 7}
    assert all((task == 3).all() for task, _, _ in first)


def test_digits_in_epochs_come_once_before_they_come_again():
    data = continual.data("digits", {}, None)
    x, _ = data.splits["train"][2]
    count = len(x) // 8
    given = [x for _, x, _ in data.batches(0, [2], 2 * count, 8, in_epochs=True)]
    assert len({tuple(row) for row in np.concatenate(given[:count])}) == 8 * count
    assert not np.array_equal(given[0], given[count])
    assert max(np.unique(np.concatenate(given), axis=0, return_counts=True)[1]) <= 3


def test_the_loss_sees_the_tasks_own_outputs_alone():
    logits = np.zeros((1, 10), "float32")
    logits[0, 6:8] = 1.0, 3.0
    expected = -np.log(np.exp(1) / (np.exp(1) + np.exp(3)))
    np.testing.assert_allclose(learners.head_loss(5, 2)([6], logits), [expected], rtol=1e-5)
    logits[0, 5:] = 1.0, 3.0, 0.0, 0.0, 0.0
    expected = -np.log(np.exp(3) / (np.exp(1) + np.exp(3) + 3))
    np.testing.assert_allclose(learners.head_loss(2, 5)([6], logits), [expected], rtol=1e-5)


def test_permuted_tasks_have_all_digits_in_an_order_of_their_own():
    data = continual.data("permuted_digits", {}, None)
    plain = continual.data("digits", {}, None)
    first, second = data.splits["test"][0], data.splits["test"][1]
    assert sum(len(y) for _, y in plain.splits["test"]) == len(first[0])
    assert set(first[1]) == set(range(10)) and set(second[1]) == set(range(10, 20))
    assert (first[0] != second[0]).any()
    np.testing.assert_array_equal(np.sort(first[0], axis=1), np.sort(second[0], axis=1))
    np.testing.assert_array_equal(data.orders[0], np.arange(64))
    assert all(sorted(order) == list(range(64)) for order in data.orders)
    assert len({tuple(order) for order in data.orders}) == 10
    x, y = data.splits["train"][3]
    known = {tuple(row): label for row, label in zip(x, y, strict=True)}
    for task, given, labels in data.batches(1, [3], 2, 8):
        assert (task == 3).all()
        assert [known[tuple(row)] for row in given] == labels.tolist()
    tasks = np.concatenate([task for task, _, _ in data.batches(1, range(10), 20, 8)])
    assert set(tasks) == set(range(10))


def test_labels_for_the_fisher_information_follow_the_prediction():
    """The squared gradients of a network without hidden layers, against NumPy."""
    keras.utils.set_random_seed(0)
    data = PermutedTasks({name: (np.eye(4)[:, :, None], np.arange(4)) for name in ("train",)})
    config = dict(hidden=[], ewc=1.0, fisher=4)
    learner = learners.learner(learners.Consolidated, config, 0, data)
    kernel, bias = learner.network.network.get_weights()
    x = np.eye(4, dtype="float32")
    learner.finish(2, (x, None))
    rng = np.random.default_rng(2)
    expected = np.zeros(100)
    for i in rng.permutation(4):
        z = (x[i] @ kernel + bias)[20:30]
        p = np.exp(z) / np.exp(z).sum()
        drawn = int((rng.uniform() > np.cumsum(p)[:-1]).sum())
        expected[20:30] += (np.eye(10)[drawn] - p) ** 2 / 4
    fisher = keras.ops.convert_to_numpy(learner.network.precision[1])
    np.testing.assert_allclose(fisher, expected, atol=1e-5)


@pytest.mark.parametrize("data", ["digits", "mnist", "permuted", "permuted_digits"])
def test_models_of_dependency_have_as_many_parameters(data):
    """Within 5 %, and each is built as its name says."""
    pixels, tasks, classes = (64 if data.endswith("digits") else 784), 5, 2
    if data.startswith("permuted"):
        tasks = classes = 10
    given = types.SimpleNamespace(pixels=pixels, count=tasks, classes=classes)
    counts = {}
    for model in dependency_preserving.MODELS:
        (config,) = dependency_preserving.configurations(model, "full", data)
        learner = learners.learner(dependency_preserving.learner_of(model), config, 0, given)
        counts[model] = learner.parameters()["trainable"]
        head = learner.network.head
        if model != "mlp":
            assert head.independent == model.endswith("cut")
            assert (head.chunk_size is None) == model.startswith("layers")
            assert (head.order == "reversed") == (model == "reversed")
    assert max(counts.values()) <= 1.05 * min(counts.values()), counts


def test_replayed_digits_are_half_of_the_loss():
    """Cross-entropy of the new ones; T² times that of soft targets of the old ones."""
    rng = np.random.default_rng(0)
    logits, before = rng.normal(size=(5, 4)), rng.normal(size=(3, 4))
    learner = types.SimpleNamespace(tasks=2, classes=2)
    p = replay.softened(before, 2.0)
    old = np.zeros((3, 6)), p
    x, y, weights = replay.Replay.mixed(learner, np.ones((2, 6)), np.array([2, 3]), old)
    assert x.shape == (5, 6)
    losses = keras.ops.convert_to_numpy(replay.mixed_loss(2.0)(y, logits.astype("float32")))

    def log_softmax(z):
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    new = -log_softmax(logits)[[0, 1], [2, 3]].mean()
    held = -(p * log_softmax(logits[2:] / 2)).sum(-1).mean() * 4
    np.testing.assert_allclose(p, np.exp(log_softmax(before / 2)))
    np.testing.assert_allclose((losses * weights).mean(), (new + held) / 2, rtol=1e-5)


def test_decoders_of_earlier_tasks_are_replayed():
    """As many of each task, with the targets of the network as it was."""
    data = continual.data("digits", dict(tasks=3), None)
    (config,) = continual.configurations("hypernetwork_replay", "smoke", "digits")
    learner = learners.learner(replay.Replay, config, 0, data)
    for task in range(2):
        learner.learn(data.batches(0, [task], 2, 5), 2)
        learner.finish(task, None)
    block = list(data.batches(0, [2], 3, 5))
    x, p = learner.replayed(learner.network, block, np.random.default_rng(0))
    assert x.shape == (3, 2 * 16, 64) and p.shape == (3, 32, 6)
    assert x.min() > 0 and x.max() < 1
    logits = learner.network.predict(x[1], verbose=0)
    np.testing.assert_allclose(p[1], replay.softened(logits, 2.0), atol=1e-6)
    z = np.random.default_rng(0).normal(size=(48, config["latent"])).astype("float32")
    given = [np.zeros(48, "int32"), z]
    first = 1 / (1 + np.exp(-learner.decoder.predict(given, verbose=0)))
    np.testing.assert_allclose(x[:, :16].reshape(48, -1), first, atol=1e-5)


def test_own_outputs_are_held():
    (config,) = continual.configurations("hypernetwork", "smoke", "permuted_digits")
    data = types.SimpleNamespace(pixels=64, count=10, classes=10)
    learner = learners.learner(learners.Hypernetworks, config, 0, data)
    rows = keras.ops.convert_to_numpy(learner.network.regularized.rows())
    body = 64 * 100 + 100 + 100 * 100 + 100
    assert rows[:, :body].all()
    biases = rows[:, -100:]
    np.testing.assert_array_equal(biases, np.repeat(np.eye(10, dtype=bool), 10, axis=1))
    assert rows[:, body:-100].sum() == 10 * 100 * 10


def test_the_penalty_is_the_sum_over_tasks():
    rng = np.random.default_rng(0)
    theta, stars, fishers = rng.normal(size=3), rng.normal(size=(2, 3)), rng.uniform(size=(2, 3))
    expected = 5 / 2 * (fishers * (theta - stars) ** 2).sum()
    p, q, r = fishers.sum(0), (fishers * stars).sum(0), (fishers * stars**2).sum()
    np.testing.assert_allclose(consolidation_penalty([theta], [p], [q], r, 5), expected)


def test_ewc_holds_its_weights():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model = EWC(network, strength=4.0)
    x = np.zeros((1, 2), "float32")
    kernel = network.weights[0].numpy()
    model.consolidate([np.array([[1.0], [2.0]])])
    network.weights[0].assign(kernel + 0.5)
    model(x, training=True)
    assert float(model.losses[0]) == pytest.approx(4 / 2 * (1 + 2) * 0.25, rel=1e-4)
    with pytest.raises(ValueError, match="`fisher` to have an array"):
        model.consolidate([np.ones(2)])
