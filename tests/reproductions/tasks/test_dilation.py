"""The dilation task: its signals, what counts as found, records and pictures."""

import json

import keras
import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.tasks import dilation


def made(model, name, **changes):
    config = dilation.TASK.settings(model, "smoke", name)[0] | changes
    signals = dilation.data(name, config, None)
    return dilation.build(model, config, signals), signals, config


def test_targets_are_what_a_fixed_convolution_makes():
    network, signals, config = made("fixed", "smooth")
    for d, kernel in enumerate(signals.kernels):
        layer = network.layers[1 + d]
        assert layer.dilation_rate == (d + 1,)
        layer.set_weights([kernel[:, None], np.zeros(4)])
    assert dilation.evaluate(network, *signals.test, config)["error"] < 1e-10


def test_noise_is_blurred_and_of_variance_one():
    for name, correlation in (("white", 0.0), ("smooth", np.exp(-1 / 16))):
        _, signals, _ = made("learned_neighbors", name, fresh=400)
        x = signals.test[0][..., 0]
        assert np.std(x) == pytest.approx(1, abs=0.05)
        assert np.mean(x[:, 1:] * x[:, :-1]) == pytest.approx(correlation, abs=0.03)


def test_an_echo_comes_sixteen_steps_later():
    config = dilation.TASK.settings("fixed", "smoke", "echo")[0] | dict(fresh=400)
    x, upright = dilation.data("echo", config, None).test
    product = x[:, 16:, 0] * x[:, :-16, 0]
    assert product[upright == 1].mean() > 0.6 and product[upright == 0].mean() < -0.6
    assert abs(np.mean(x[:, 8:, 0] * x[:, :-8, 0])) < 0.1


def test_batches_are_a_function_of_seed_and_epoch():
    _, signals, _ = made("learned", "smooth")

    def first(*position):
        return next(iter(signals.train(*position)))[0]

    np.testing.assert_array_equal(first(0, 1), first(0, 1))
    assert len({first(*p).sum() for p in ((0, 0), (0, 1), (1, 0))}) == 3


def set_dilations(network, values):
    layers = dilation.convolutions(network)
    for layer, d in zip(layers, np.broadcast_to(values, len(layers)), strict=True):
        share = (d - 1) / (dilation.MOST - 1)
        layer.source.raw_dilation.assign(np.log(share / (1 - share)))


def test_found_is_the_part_of_right_dilations():
    network, signals, config = made("learned", "smooth")
    set_dilations(network, [1.3, 2.7, 3.3])
    assert dilation.evaluate(network, *signals.test, config)["found"] == 2 / 3
    network, signals, config = made("learned", "echo")
    for d, found in ((15.6, 1), (16.6, 0), (8.0, 0)):
        set_dilations(network, d)
        assert dilation.evaluate(network, *signals.test, config)["found"] == found


def test_the_starts_reading_is_as_wide_as_asked_for():
    for model, name in (("learned", "smooth"), ("learned_neighbors", "echo")):
        network, _, config = made(model, name)
        _, variances, _ = dilation.convolutions(network)[0].source(np.zeros((1, 1), "float32"))
        np.testing.assert_allclose(variances, config["deviation"] ** 2, rtol=1e-4)


def test_the_right_dilation_tells_an_echo():
    keras.utils.set_random_seed(0)
    scores = {}
    for d in (16, 4):
        network, signals, config = made("fixed", "echo", dilation=d, steps=80, fresh=300)
        network.fit(signals.train(0, 0), steps_per_epoch=80, shuffle=False, verbose=0)
        scores[d] = dilation.evaluate(network, *signals.test, config)["error"]
    assert scores[16] < 0.25 and scores[4] > 0.35, scores


def test_a_run_leaves_records_and_pictures(tmp_path):
    smooth, echo = "learned,fixed", "learned_neighbors,dense,large_kernel"
    for name, models, count in (("smooth", smooth, 2), ("echo", echo, 3)):
        words = ["run", "dilation", "--preset", "smoke", "--data", name, "--models", models]
        assert main([*words, "--out", str(tmp_path)]) == 0
        folder = tmp_path / "dilation" / "smoke"
        found = [json.loads(path.read_text()) for path in folder.glob(f"*{name}*.json")]
        assert len(found) == count and all(run["status"] == "finished" for run in found)
        learned = [run for run in found if run["model"].startswith("learned")]
        assert len(learned) == 1 and all("found" in run["metrics"]["test"] for run in learned)
    kernels = 3 * (3 * 4 + 4)
    parameters = {
        (run["model"]): run["parameters"]["trainable"]
        for run in map(json.loads, (p.read_text() for p in folder.glob("*smooth*.json")))
    }
    assert parameters == dict(learned=kernels + 3 * 2, fixed=kernels)
    assert len(list(folder.glob("learned*.png"))) == 2
