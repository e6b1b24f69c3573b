"""Tasks in a row, and a hypernetwork's condition: the tasks `continual` and `mip`."""

import json

import numpy as np
import pytest

from baselines.ewc import EWC, consolidation_penalty
from reproductions import __main__ as command_line
from reproductions.tasks import continual, mip
from reproductions.tasks.continual import learners


# Each model that is built otherwise than another.
@pytest.mark.parametrize(("task", "models"), [(continual, "ewc,hypernetwork"), (mip, "plain,mip")])
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
    data = continual.data("digits", continual.PRESETS["smoke"], None)
    for t in range(continual.TASKS):
        for split in ("train", "valid", "test"):
            assert set(data.splits[split][t][1]) == {2 * t, 2 * t + 1}
    first, again = (list(data.batches(1, [3], 2, 8)) for _ in range(2))
    np.testing.assert_array_equal(first[0][1], again[0][1])
    assert set(np.concatenate([y for _, _, y in first])) <= {6, 7}
    assert all((task == 3).all() for task, _, _ in first)


def test_the_loss_sees_the_tasks_own_outputs_alone():
    logits = np.zeros((1, 10), "float32")
    logits[0, 6:8] = 1.0, 3.0
    expected = -np.log(np.exp(1) / (np.exp(1) + np.exp(3)))
    np.testing.assert_allclose(learners.head_loss([6], logits), [expected], rtol=1e-5)


def test_the_penalty_is_the_sum_over_tasks():
    rng = np.random.default_rng(0)
    theta, stars, fishers = rng.normal(size=3), rng.normal(size=(2, 3)), rng.uniform(size=(2, 3))
    expected = 5 / 2 * (fishers * (theta - stars) ** 2).sum()
    p, q, r = fishers.sum(0), (fishers * stars).sum(0), (fishers * stars**2).sum()
    np.testing.assert_allclose(consolidation_penalty([theta], [p], [q], r, 5), expected)


def test_ewc_holds_its_weights():
    import keras

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
