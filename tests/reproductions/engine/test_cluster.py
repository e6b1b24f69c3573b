"""Runs on a Ray cluster of two machines, of which one dies."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from reproductions import __main__
from reproductions.engine import harness, records
from reproductions.engine.run_options import RunOptions

ROOT = Path(__file__).parents[3]
MODELS = ("plain", "residual", "mip")


@pytest.fixture
def machines(monkeypatch):
    ray = pytest.importorskip("ray", reason="pip install 'hyperkeras[cluster]'")
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)  # the machines inherit it
    # A death is seen after a second, not half a minute.
    checks = {"initial_delay_ms": 0, "period_ms": 500, "failure_threshold": 2}
    system = {f"health_check_{name}": value for name, value in checks.items()}
    head = {"num_cpus": 0, "_system_config": system}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster, [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.shutdown()
    cluster.shutdown()


def test_a_machine_that_dies_costs_its_run_alone(machines, tmp_path):
    import ray

    from reproductions.engine import cluster

    on, (first, _) = machines
    task = __main__.load("mip")
    options = RunOptions(preset="smoke", data="waves", folder=tmp_path)

    def kill():
        while not ray.is_initialized() or ray.available_resources().get("CPU"):
            time.sleep(0.05)
        on.remove_node(first, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    assert cluster.run(task, MODELS, options, on.address) == 0
    killer.join()
    asked = harness.jobs(task, MODELS, options)
    assert sorted(tmp_path.glob("*.json")) == sorted(path for _, path in asked)
    for job, path in asked:
        record = records.read(path)
        assert record["status"] == "finished"
        assert {key: record[key] for key in job} == job
        assert record["command"].startswith("python -m reproductions run mip")
    assert harness.pending(task, MODELS, options) == []


@pytest.mark.parametrize("other", ["--deterministic", "--distribute"])
def test_ways_to_run_that_are_for_one_machine_are_refused(other, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(__main__, "make_deterministic", lambda: None)
    words = ["run", "identity", "--preset", "smoke", "--ray", other, "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        __main__.main(words)
    assert stopped.value.code == 2
    assert "--ray: --deterministic and --distribute are for" in capsys.readouterr().err


def test_without_ray_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["run", "mip", "--preset", "smoke", "--ray", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        __main__.main(words)
    assert stopped.value.code == 2
    assert "--ray: Ray is not installed: pip install" in capsys.readouterr().err
