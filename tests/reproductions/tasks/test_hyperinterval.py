"""Tasks in a row for one network: the data, and what the records of all models say."""

import json

import numpy as np
import pytest

from reproductions import __main__ as command_line
from reproductions.tasks import hyperinterval
from reproductions.tasks.hyperinterval import learners
from reproductions.tasks.hyperinterval.tasks_in_a_row import TASKS


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """{model: its record of a smoke run}, and the picture's path."""
    folder = tmp_path_factory.mktemp("records")
    words = ["run", "hyperinterval", "--preset", "smoke", "--out", str(folder)]
    assert command_line.main(words) == 0
    found = [json.loads(p.read_text()) for p in folder.glob("hyperinterval/smoke/*.json")]
    assert (folder / "hyperinterval/smoke/curves.png").exists()
    return {record["model"]: record for record in found}


def test_every_model_leaves_a_record(records):
    assert set(records) == set(hyperinterval.MODELS)
    for model, record in records.items():
        assert record["status"] == "finished", record["error"]
        test = record["metrics"]["test"]
        assert set(test) == set(hyperinterval.METRICS)
        boxes = record["metrics"]["valid"]["boxes"]
        assert (boxes is None) == (model not in hyperinterval.BOXES)
        known = model in (*hyperinterval.BOXES, "point")
        assert (test["accuracy_task_known"] is None) == (not known)
        curves = np.array(record["metrics"]["valid"]["curves"])
        assert curves.shape == (1 if model == "joint" else TASKS, TASKS)


def test_what_the_bounds_prove_holds(records):
    for model in hyperinterval.BOXES:
        record = records[model]["metrics"]
        boxes, test = record["valid"]["boxes"], record["test"]
        assert boxes["shares"][0] == 0 and boxes["shares"][-1] == 1
        # A larger box has no more certified digits; without extent all that is right is.
        assert (np.diff(boxes["certified"]) <= 1e-9).all()
        assert test["certified_accuracy"] == boxes["certified"][-1] <= test["accuracy_task_known"]
    nested = records["interval_nested"]["metrics"]["test"]
    assert nested["weights_in_boxes"] == 1
    assert nested["accuracy_one_network"] >= nested["certified_accuracy"]


def test_tasks_have_the_same_labels():
    data = hyperinterval.data("digits", {}, None)
    images = hyperinterval.data("permuted_digits", {}, None)
    assert (data.outputs, images.outputs) == (2, 10)
    for name in ("train", "valid", "test"):
        assert len(data.splits[name]) == TASKS
        assert all(set(y) == {0, 1} for _, y in data.splits[name])
        assert sum(len(y) for _, y in data.splits[name]) == len(images.splits[name][0][1])
    (x0, y0), (x1, y1) = images.splits["test"][:2]
    np.testing.assert_array_equal(y0, y1)
    assert (x0 != x1).any() and (np.sort(x0) == np.sort(x1)).all()
    x, y = data.batches(0, [3], 4, 8)
    again, _ = data.batches(0, [3], 4, 8)
    np.testing.assert_array_equal(x, again)
    assert x.shape == (32, 64) and y.shape == (32,)
    own = {row.tobytes() for row in data.splits["train"][3][0]}
    assert {row.tobytes() for row in x} <= own


class Small:
    pixels, outputs = 2, 2


def test_certified_digits_are_right_in_every_corner():
    """Of a target with one layer, where the bounds are exact."""
    (config,) = hyperinterval.configurations("interval_free", "smoke", "digits")
    learner = learners.learner("interval_free", config | {"hidden": []}, 0, Small())
    x, y = np.array([[1.0, 0.0], [0.2, 0.9]], "float32"), np.array([0, 1])
    lower, upper = (np.array(a)[0] for a in learner.network.generate_bounds([0]))
    right = np.ones(2, bool)
    for label in (0, 1):  # the worst weights for a label: its own low, the other's high
        low = np.eye(2, dtype=bool)[label]
        kernel = np.where(low, lower[:4].reshape(2, 2), upper[:4].reshape(2, 2))
        bias = np.where(low, lower[4:], upper[4:])
        z = x @ kernel + bias
        right &= (y != label) | (z[:, label] > z[:, 1 - label])
    assert learner._certified(0, (x, y), 1.0) == right.mean()
