"""More than one device: ten steps give the losses and the weights that one device gives."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from reproductions import __main__

ROOT = Path(__file__).parents[1]
TWO_HOSTS = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
DISTRIBUTED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])
from reproductions.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def start(kind, **environment):
    """A process of `ten_steps.py`; devices are counted once a process."""
    environment = {"KERAS_BACKEND": "tensorflow", **environment}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests/ten_steps.py"), kind],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process):
    try:
        out, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


def assert_same(found, expected):
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-4, atol=1e-4, err_msg=key)


def start_workers():
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            ports.append(free.getsockname()[1])
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in range(2)]
    return [start("workers", TF_CONFIG=json.dumps(task)) for task in tasks]


def test_two_replicas_and_two_worker_processes_on_tensorflow():
    replicas = result(start("mirrored"))
    assert_same(replicas["two"], replicas["one"])
    workers = start_workers()
    try:
        for worker in workers:
            assert_same(result(worker)["two"], replicas["one"])
    finally:
        for worker in workers:
            worker.kill()


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax: `.[backends]`")
def test_two_devices_on_jax():
    settings = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": TWO_HOSTS}
    devices = result(start("data_parallel", **settings))
    assert_same(devices["two"], devices["one"])


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax: `.[backends]`")
def test_weights_divided_over_eight_devices_on_jax():
    flags = TWO_HOSTS.replace("count=2", "count=8")
    settings = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    devices = result(start("model_parallel", **settings))
    many, one = devices["many"], devices["one"]
    assert_same({key: many[key] for key in one}, one)
    # A weight and Adam's two moments of it.
    for name, whole, on_each in (
        ("means", [64, 2], "(8, 2)"),
        ("sigmas", [64], "(8,)"),
        ("values", [64], "(8,)"),
        ("head_kernel", [4, 208], "(4, 26)"),
    ):
        parts = [part for path, *part in many["parts"] if name in path.replace("/", "_")]
        assert parts == 3 * [[whole, [on_each]]], (name, many["parts"])


# python -m reproductions run --distribute


def record_in(folder):
    (path,) = folder.rglob("*.json")
    record = json.loads(path.read_text())
    assert record["status"] == "finished", record["error"]
    return record


def test_a_task_on_two_devices_and_on_one(tmp_path):
    words = ["run", "static_mnist", "--preset", "smoke", "--seeds", "1", "--models", "hyper"]
    words += ["--distribute", "--out"]
    two = subprocess.run(
        [sys.executable, "-c", DISTRIBUTED, *words, str(tmp_path / "two")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"},
    )
    assert two.returncode == 0, two.stdout + two.stderr
    assert __main__.main([*words, str(tmp_path / "one")]) == 0
    two, one = record_in(tmp_path / "two"), record_in(tmp_path / "one")
    assert "--distribute" in two["command"] and "--distribute" in one["command"]
    for part in ("valid", "test"):
        for name, value in one["metrics"][part].items():
            np.testing.assert_allclose(two["metrics"][part][name], value, rtol=1e-3, err_msg=name)


def test_tasks_that_do_not_train_by_fit_are_refused(tmp_path, capsys):
    words = ["run", "speed", "--preset", "smoke", "--distribute", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        __main__.main(words)
    assert stopped.value.code == 2
    assert "--distribute: speed does not train by Keras's `fit`" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


def test_other_backends_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    words = ["run", "identity", "--preset", "smoke", "--distribute", "--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        __main__.main(words)
    assert "needs KERAS_BACKEND=tensorflow or jax, got torch" in capsys.readouterr().err
