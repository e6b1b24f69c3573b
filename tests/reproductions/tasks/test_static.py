"""The static tasks: parameter counts, schedules, records and pictures."""

import json

import keras
import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.tasks import static_cifar, static_mnist


class Shapes:
    """Data of one image, for networks that are only built."""

    def __init__(self, *shape):
        self.valid = np.zeros((1, *shape), "float32"), np.zeros(1, "int32")


def built(task, model, preset, *shape, data="digits"):
    (config,) = task.TASK.settings(model, preset, data)
    return task.build(model, config, Shapes(*shape)), config


@pytest.mark.parametrize(
    "model, second",
    [
        ("dense", 12544),
        ("hyper", 4240 + 4),
        ("hyper_coordinates", 4261 + 4),
        ("hyper_dct", 4244),
        ("hyper_2", 2 * 3 * 16 + 784 * 3 + 2),
        ("dense_12", 49 * 12 * 12),
    ],
)
def test_parameters_of_the_second_convolution(model, second):
    network, _ = built(static_mnist, model, "full", 28, 28, 1)
    layer = network.get_layer("second")
    channels = layer.filters
    assert layer.count_params() == second + channels
    assert network.count_params() == 50 * channels + second + channels + 490 * channels + 10
    generated = 0 if model.startswith("dense") else 12544
    assert static_mnist.generated(network) == generated


def test_models_that_are_compared_have_like_parameter_counts():
    def count(model):
        return built(static_mnist, model, "full", 28, 28, 1)[0].count_params()

    for model, other, tolerance in (
        ("hyper_coordinates", "hyper", 0.01),
        ("hyper_dct", "hyper", 0.01),
        ("dense_12", "hyper", 0.06),
        ("dense_11", "hyper_2", 0.08),
        ("dense_10", "hyper_1", 0.01),
    ):
        assert abs(count(model) / count(other) - 1) < tolerance, model


@pytest.mark.parametrize(
    "model, changes",
    [
        ("dense", [(0, 0.1), (28, 0.02), (56, 0.004), (84, 0.0008), (112, 0.00016)]),
        ("hyper", [(0, 0.002), (168, 0.001), (336, 0.0002), (504, 0.00005)]),
    ],
)
def test_the_papers_schedule(model, changes):
    (config,) = static_cifar.TASK.settings(model, "full", "cifar10")
    total = {"dense": 140_000, "hyper": 672_000}[model]
    assert config["epochs"] * config["steps"] == total and config["batch"] == 128
    assert config["network"] == "40-2"
    small = config | dict(network="10-1")
    network = static_cifar.build(model, small, Shapes(8, 8, 3))
    assert network.get_layer("first").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    schedule = network.optimizer._learning_rate
    for thousand, rate in changes:
        np.testing.assert_allclose(schedule(1000 * thousand + 1), rate, rtol=1e-5)
        if thousand:
            assert schedule(1000 * thousand) > 1.5 * rate


def test_two_cores_get_a_smaller_network_of_photographs():
    half = "mixed_bfloat16"
    for data, *wanted in (("digits", "10-1", "float32"), ("cifar10_jpeg", "16-1", half)):
        (config,) = static_cifar.TASK.settings("hyper", "quick", data)
        assert [config["network"], config["precision"]] == wanted


@pytest.mark.parametrize(
    "task, names, pictures",
    [("static_mnist", static_mnist.MODELS[:4], 4), ("static_cifar", static_cifar.MODELS, 1)],
)
def test_a_run_leaves_records_and_pictures(task, names, pictures, tmp_path):
    assert main(["run", task, "--preset", "smoke", "--out", str(tmp_path)]) == 0
    folder = tmp_path / task / "smoke"
    records = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert {record["model"] for record in records} == set(names)
    for record in records:
        assert record["status"] == "finished" and 0 <= record["metrics"]["test"]["accuracy"] <= 1
        made = record["parameters"]["generated"]
        assert (made > 0) == record["model"].startswith("hyper")
    assert len(list(folder.glob("*.png"))) == pictures + 1
