"""The matrix: costs, cells, sentences, page and picture, and a run of several tasks."""

import numpy as np
import pytest
from toy import read, toy_task

from reproductions.engine import harness
from reproductions.engine.display import Display, Matrix
from reproductions.engine.matrix import costs
from reproductions.engine.run_options import RunOptions


def test_a_steps_time_is_that_of_the_median_epoch_after_the_first():
    assert costs.step_ms([9.0, 0.1, 0.3, 0.2], 4) == pytest.approx(50.0)
    assert costs.step_ms([9.0], 4) is None


def test_peak_memory_is_what_the_work_takes_at_most_and_not_what_it_keeps():
    def work():
        for _ in range(3):
            np.ones(8_000_000)  # 61 MB, freed before the next one

    peak = costs.peak_mb(work)
    if peak is None:
        pytest.skip("the system does not tell")
    assert 55 < peak < 80
    assert costs.peak_mb(lambda: None) < 5


def matrix_task(name):
    task = toy_task()
    task.name, task.display = name, Display(matrix=Matrix(what="a sum", models={"dense": "small"}))
    return task


def test_runs_of_several_tasks_share_a_bar_and_record_costs(tmp_path, capsys):
    asked = [
        (task, ["small"], RunOptions(preset="quick", data="sums", folder=folder, seeds=1))
        for task, folder in ((matrix_task(name), tmp_path / name) for name in ("one", "two"))
    ]
    assert harness.run_all(asked) == 0
    assert "two: small units3 sums seed0: mse" in capsys.readouterr().out
    for name in ("one", "two"):
        record = read(tmp_path, f"{name}/small-units3-sums-seed0.json")
        assert record["task"] == name and f"run {name} --models small" in record["command"]
        assert record["metrics"]["valid"]["step_ms"] > 0
        assert record["metrics"]["valid"]["inference_mb"] >= 0
