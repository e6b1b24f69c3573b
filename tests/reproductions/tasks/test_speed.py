"""The speed task measures what it says: both contenders do the same work."""

import numpy as np
import pytest

from reproductions.tasks import speed
from reproductions.tasks.speed import device_steps, steps


@pytest.mark.parametrize("model", [m for m in speed.MODELS if m not in device_steps.MODELS])
def test_measures_times_and_memory(model, monkeypatch):
    def in_process(function, *arguments):  # memory is the next test's
        if function is speed._peak:
            return 1.0
        found = function(*arguments)
        return (found[0], 1.0) if function is speed._compiling else found

    monkeypatch.setattr(speed, "_in_process", in_process)
    config = speed.configurations(model, "smoke", "random")[0]
    test = speed.measure(model, config, 0, None)["metrics"]["test"]
    assert set(test) == set(speed.METRICS) and min(test.values()) > 0
    assert test["ratio"] == test["other_ms"] / test["ms"]


def test_eight_devices_hold_an_eighth_each(monkeypatch):
    pytest.importorskip("jax")
    config = speed.configurations("tuples_over_devices", "smoke", "random")[0]
    with pytest.raises(ValueError, match="Expected KERAS_BACKEND=jax for `tuples_over_devices`"):
        speed.measure("tuples_over_devices", config, 0, None)
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    config |= dict(size=160_000, repeats=1)  # so many that blocks are small beside them
    test = speed.measure("tuples_over_devices", config, 0, None)["metrics"]["test"]
    assert set(test) == set(speed.METRICS) and test["other_mb"] > 5 * test["mb"] > 0


def test_memory_is_a_processs_own():
    config = speed.configurations("growth", "smoke", "random")[0]
    np.ones(2**27)  # a peak of 1 GB here is none there
    peak = speed._in_process(speed._peak, "growth", "other", config | {"size": 4000}, 0)
    assert 200 < peak < 900  # weights, gradient and two moments of 4000² floats are 256 MB


def test_contenders_of_the_contraction_agree():
    config = speed.configurations("contract", "smoke", "random")[0]
    ours, other = (steps.build("contract", who, config, 0)() for who in ("ours", "other"))
    for a, b in zip((ours[0], *ours[1]), (other[0], *other[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_the_plain_layer_computes_what_ours_does():
    import keras

    from hyperkeras import layers

    x = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    outputs = []
    for wrap in (lambda layer: layer, steps.plain):
        keras.utils.set_random_seed(0)
        layer = layers.SparseHyperlayer((4,), layers.FreeSource(6))
        layer.build(x.shape)
        outputs.append(wrap(layer)(x, training=True))
    np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-4)
