"""The reproductions' command line, harness, records and report."""

import inspect
import json
import math
import re
import subprocess
import sys
import typing

import keras
import numpy as np
import pytest
from toy import read, run_toy, toy_task

from reproductions import __main__ as command_line
from reproductions.engine import harness, records, report, training
from reproductions.engine.records import KEYS, RecordError
from reproductions.engine.results import pages, summary
from reproductions.engine.run_options import RunOptions
from reproductions.engine.task import Task
from reproductions.tasks import attention

SMOKE = ["run", "attention", "--preset", "smoke"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The records' folder of an undisturbed smoke run of the attention task."""
    folder = tmp_path_factory.mktemp("smoke")
    assert command_line.main([*SMOKE, "--out", str(folder)]) == 0
    return folder


def test_smoke_records_every_model_with_the_fixed_keys(smoke):
    folder = smoke / "attention" / "smoke"
    models = attention.PRESETS["smoke"]["models"]
    looking = [m for m in (*attention.QUICK, *attention.COMBINATIONS) if m != "cnn"]
    assert {path.name for path in folder.iterdir()} == {
        "curves.png",
        *(f"{model}-digits-seed0.json" for model in models),
        *(f"{model}-digits-seed0{end}.png" for model in models for end in ("", "-failures")),
        *(f"{model}-digits-seed0-epochs.png" for model in looking),
    }
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        assert tuple(record) == KEYS
        assert record["status"] == "finished" and record["error"] is None
        assert 0 <= record["metrics"]["test"]["accuracy"] <= 1
        assert len(record["metrics"]["valid"]["curve"]) == record["config"]["epochs"]
        assert record["parameters"]["trainable"] > 0 and record["seconds"] > 0
        assert record["versions"]["keras"] == keras.__version__ and record["device"]
        assert record["command"].startswith("python -m reproductions run attention --models")
        assert str(smoke) not in path.read_text()
    assert all(path.stat().st_size < 200_000 for path in folder.glob("*.png"))
    assert sorted(path.name for path in smoke.iterdir()) == ["attention"]  # its own page alone
    page = (smoke / "attention/README.md").read_text()
    assert "`python -m reproductions run attention --preset smoke`" in page
    assert "![accuracy" in page and (smoke / "attention/chart.svg").exists()


def test_smoke_never_writes_into_the_results(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(harness, "run", lambda *arguments: seen.append(arguments[2].folder) or 0)
    monkeypatch.setattr(command_line.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    command_line.main(SMOKE)
    assert seen == [tmp_path / "attention" / "smoke"]


@pytest.mark.parametrize("preset", ["demo", "quick", "full"])
def test_attention_models_have_like_parameter_counts(preset):
    counts, settings = {}, attention.PRESETS[preset]
    for model in settings["models"]:
        (config,) = attention.TASK.settings(model, preset, settings["data"])
        weights = attention.build(model, config, None).trainable_weights
        counts[model] = sum(math.prod(weight.shape) for weight in weights)
    assert max(counts.values()) < 1.05 * min(counts.values()), counts


def test_glimpse_model_resumes_as_if_undisturbed(smoke, tmp_path, monkeypatch):
    from reproductions.data.image_batches import Cluttered

    whole = Cluttered.train

    def until_first(self, seed, epoch):
        if epoch:
            raise KeyboardInterrupt
        return whole(self, seed, epoch)

    words = [*SMOKE, "--models", "glimpse_1x16", "--out", str(tmp_path)]
    monkeypatch.setattr(Cluttered, "train", until_first)
    assert command_line.main(words) == 130
    assert list(tmp_path.glob("**/*.npz")) and not list(tmp_path.glob("**/*.json"))
    monkeypatch.setattr(Cluttered, "train", whole)
    assert command_line.main(words) == 0
    name = "attention/smoke/glimpse_1x16-digits-seed0.json"
    found, expected = (read(folder, name)["metrics"] for folder in (tmp_path, smoke))
    for cost in ("step_ms", "inference_mb"):
        assert cost in found["valid"].keys() & expected["valid"].keys()
        found["valid"][cost] = expected["valid"][cost]
    assert found == expected


def test_averaged_weights_are_tested_and_the_others_trained_on(tmp_path):
    task = toy_task()
    task.presets["quick"]["average"] = 0.8
    run_toy(task, tmp_path, seeds=1)
    keras.utils.set_random_seed(0)
    whole = task.build("small", task.presets["quick"], None)
    batches = (batch for epoch in range(4) for batch in task.source.train(0, epoch))
    whole.fit(batches, steps_per_epoch=16, shuffle=False, verbose=0)  # ends with the averages
    expected = whole.evaluate(*task.source.valid, batch_size=250, verbose=0)[1]
    curve = read(tmp_path)["metrics"]["valid"]["curve"]
    assert curve[-1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of `tf.data` alone")
def test_batches_are_made_ahead_without_the_tuner_for_which_an_epoch_waits():
    batches = [((np.full((2, 3), i, "float32"), np.arange(i, i + 2)), i > 1) for i in range(5)]
    batches = [(x, np.array([y])) for x, y in batches]
    for made in (
        training.prefetched(iter(batches)),
        training.prefetched(training.prefetched(iter(batches))),
    ):
        found = list(made.as_numpy_iterator())
        assert len(found) == 5 and not made.options().autotune.enabled
        for ((x, i), y), ((x0, i0), y0) in zip(found, batches, strict=True):
            for array, array0 in ((x, x0), (i, i0), (y, y0)):
                np.testing.assert_array_equal(array, array0, strict=True)


@pytest.mark.parametrize(("epoch", "average"), [(1, None), (3, None), (2, 0.8)])
def test_resumed_run_equals_an_undisturbed_one(tmp_path, epoch, average):
    task = toy_task()
    task.presets["quick"]["average"] = average
    run_toy(task, tmp_path / "whole", seeds=1)
    task.source.interrupt_at = epoch
    with pytest.raises(KeyboardInterrupt):
        run_toy(task, tmp_path / "cut", seeds=1)
    task.source.interrupt_at = None
    run_toy(task, tmp_path / "cut", seeds=1)
    whole, cut = read(tmp_path / "whole"), read(tmp_path / "cut")
    assert whole["metrics"] == cut["metrics"]
    assert not list(tmp_path.glob("**/checkpoints"))


def test_finished_runs_are_skipped_until_the_configuration_changes(tmp_path, monkeypatch, capsys):
    task = toy_task()
    run_toy(task, tmp_path)
    before = read(tmp_path)
    trained = []

    def fit(task, job, *rest):
        trained.append(job)
        return {"metrics": {"test": {"mse": 1.0}}, "seconds": 1.0}

    monkeypatch.setattr(training, "run", fit)
    run_toy(task, tmp_path)
    assert not trained and read(tmp_path) == before
    assert capsys.readouterr().out.count("skipped") == 2
    run_toy(task, tmp_path, epochs=2, seeds=1)
    assert [one["config"]["epochs"] for one in trained] == [2]


def test_failed_run_is_recorded_and_fails_the_command(tmp_path, monkeypatch):
    def broken(model, config, data):
        raise ValueError("no such [thing]")

    monkeypatch.setattr(attention.TASK, "build", broken)
    assert command_line.main([*SMOKE, "--models", "cnn", "--out", str(tmp_path)]) == 1
    record = read(tmp_path, "attention/smoke/cnn-digits-seed0.json")
    assert tuple(record) == KEYS and record["status"] == "failed"
    assert record["metrics"] is None
    first, *frames = record["error"].splitlines()
    assert first == "ValueError: no such [thing]"
    assert frames[0].startswith("  reproductions/engine/harness.py:")
    assert frames[-1].startswith("  tests/reproductions/test_command_line.py:")
    assert frames[-1].endswith('in broken: raise ValueError("no such [thing]")')
    assert "1 failed" in (tmp_path / "attention/README.md").read_text()


def test_some_models_may_have_more_seeds(tmp_path):
    task = toy_task()
    task.presets["quick"] |= dict(seeds=1, more_seeds={"wide": 2}, epochs=1)
    run_toy(task, tmp_path, models=task.models)
    found = sorted(path.name for path in tmp_path.glob("toy/quick/*.json"))
    assert [name[:5] for name in found] == ["small", "wide-", "wide-"]
    assert "more_seeds" not in read(tmp_path)["config"]


def test_other_data_gives_more_test_metrics(tmp_path):
    task = toy_task()
    task.metrics = task.metrics | {"there": "min"}
    task.transfer = lambda network, model, data, config: {"there": {"wide": 0.5}.get(model)}
    run_toy(task, tmp_path, models=task.models, seeds=1, epochs=1)
    assert set(read(tmp_path)["metrics"]["test"]) == {"mse", "there"}
    found = summary.rows(task, "quick", pages.load(task, "quick", tmp_path))
    cells = {row.model: pages.cell(task, row, "there") for row in found if row.finished}
    assert cells == {"small": "–", "wide": "0.5 (1)"}


def test_a_row_names_what_its_run_has_otherwise_and_lacks(tmp_path):
    task = toy_task()
    run_toy(task, tmp_path, seeds=1, epochs=1)
    task.presets["quick"]["added"] = 3
    found = summary.rows(task, "quick", pages.load(task, "quick", tmp_path))
    assert [row.model + row.changes for row in found][::3] == ["small", "small epochs=1 no added"]


def test_nan_is_a_failure(tmp_path):
    task = toy_task()
    task.source.valid = (task.source.valid[0] * np.nan, task.source.valid[1])
    assert run_toy(task, tmp_path, seeds=1) == 1
    assert "FloatingPointError: epoch 1" in read(tmp_path)["error"]


def test_weights_are_chosen_on_validation_and_tested_once(tmp_path):
    task, looks = toy_task(), []

    def evaluate(network, x, y, config):
        looks.append(x is task.source.test[0])
        return {"mse": [4.0, 1.0, 2.0, 3.0, 7.0][len(looks) - 1]}

    task.evaluate = evaluate
    run_toy(task, tmp_path, seeds=1)
    metrics = read(tmp_path)["metrics"]
    assert metrics["valid"] == {"mse": 1.0, "epoch": 2, "curve": [4.0, 1.0, 2.0, 3.0]}
    assert metrics["test"] == {"mse": 7.0}
    assert looks == [False, False, False, False, True]


def test_schedule_stop_and_several_configurations(tmp_path):
    task, epochs = toy_task(), []
    task.configurations = lambda model, preset, data: [
        task.presets[preset] | {"units": units} for units in (2, 5)
    ]
    task.before_epoch = lambda network, epoch, config: epochs.append((config["units"], epoch))
    task.stop = lambda metrics: True
    task.generated = lambda network: 7
    assert run_toy(task, tmp_path, seeds=1) == 0
    assert epochs == [(2, 0), (5, 0)]
    names = sorted(path.name for path in tmp_path.glob("**/*.json"))
    assert names == ["small-units2-sums-seed0.json", "small-units5-sums-seed0.json"]
    assert read(tmp_path, f"toy/quick/{names[0]}")["parameters"]["generated"] == 7


def test_task_that_measures_needs_no_training(tmp_path):
    task = Task(
        name="toy",
        about="Toy.",
        models=("small",),
        metrics={"ratio": "max"},
        data_sets={"sums": ""},
        presets={"quick": dict(data="sums", seeds=1)},
        measure=lambda model, config, seed, data: {"metrics": {"test": {"ratio": 2.5}}},
        plot=lambda records, path: path.write_text(str(len(records))),
    )
    assert run_toy(task, tmp_path) == 0
    record = read(tmp_path, "toy/quick/small-sums-seed0.json")
    assert record["metrics"]["test"] == {"ratio": 2.5} and record["parameters"] is None
    report.show(task, "quick", tmp_path)
    assert (tmp_path / "toy/quick/curves.png").read_text() == "1"


def test_damaged_files_are_named_and_not_used(tmp_path):
    task = toy_task()
    task.source.interrupt_at = 2
    with pytest.raises(KeyboardInterrupt):
        run_toy(task, tmp_path)
    task.source.interrupt_at = None
    (checkpoint,) = tmp_path.glob("**/*.npz")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-200])
    with pytest.raises(RecordError, match=f"{checkpoint.name}.*delete it"):
        run_toy(task, tmp_path)
    checkpoint.unlink()
    path = tmp_path / "toy" / "quick" / "small-units3-sums-seed0.json"
    for text in ("{", "[]", '{"task": "toy"}'):
        path.write_text(text)
        with pytest.raises(RecordError, match=f"{path.name} is not a valid record"):
            run_toy(task, tmp_path)
        with pytest.raises(RecordError, match=path.name):
            pages.page(task, tmp_path)


def test_a_backends_runs_have_files_of_their_own(tmp_path, monkeypatch):
    task = toy_task()
    how = RunOptions(preset="quick", data="sums", folder=tmp_path, seeds=1)
    found = {}
    for backend in ("tensorflow", "jax", "torch"):
        monkeypatch.setattr(keras.backend, "backend", lambda name=backend: name)
        ((job, path),) = harness.jobs(task, ["small"], how)
        found[backend] = path.name
        words = records.command(job, how).split()
        assert (f"KERAS_BACKEND={backend}" in words) == (backend != "tensorflow")
    assert found == {
        "tensorflow": "small-units3-sums-seed0.json",
        "jax": "small-units3-sums-jax-seed0.json",
        "torch": "small-units3-sums-torch-seed0.json",
    }


@pytest.mark.parametrize("name", command_line.tasks())
def test_every_task_keeps_the_protocol(name):
    task = command_line.load(name)
    assert task.name == name and task.about.strip()
    assert (task.measure is None) <= (task.data is not None and task.build is not None)
    assert set(task.metrics.values()) <= {"max", "min"}
    assert set(task.presets) <= {"smoke", "demo", "quick", "full"}
    for preset, settings in task.presets.items():
        assert settings["data"] in task.data_sets and settings["seeds"] >= 1
        for model in task.models_of(preset):
            assert model in task.models
            # Some models are of one data set alone.
            assert any(task.settings(model, preset, data) for data in task.data_sets)
    for one in task.published:
        assert {"model", "metric", "value", "source"} <= set(one)
        assert max(one.get("notes", (0,))) <= len(task.deviations)


@pytest.mark.parametrize("name", command_line.tasks())
def test_a_tasks_text_has_no_typed_measurement(name):
    assert not re.search(r"\d\s*(%|percent)|per cent", command_line.load(name).about)


@pytest.mark.parametrize("name", command_line.tasks())
def test_hooks_have_the_protocols_parameters(name):
    task, checked = command_line.load(name), 0
    for hook, kind in typing.get_type_hints(Task).items():
        protocol = next(iter(typing.get_args(kind)), kind)
        function = getattr(task, hook)
        if typing.Protocol in getattr(protocol, "__bases__", ()) and function is not None:
            wanted = list(inspect.signature(protocol.__call__).parameters)[1:]
            assert list(inspect.signature(function).parameters)[: len(wanted)] == wanted, hook
            checked += 1
    assert checked >= 8


@pytest.mark.parametrize(
    "words, known",
    [
        (["run", "nix"], "attention"),
        (["run", "attention", "--models", "cnn,nix"], "glimpse_1x16"),
        (["run", "attention", "--preset", "nix"], "smoke, demo, quick, full"),
        (["run", "attention", "--data", "nix"], "digits, mnist"),
    ],
)
def test_unknown_names_list_the_known_ones(words, known, capsys):
    with pytest.raises(SystemExit) as exit:
        command_line.main(words)
    error = capsys.readouterr().err
    assert exit.value.code == 2 and "'nix'" in error and known in error


@pytest.mark.parametrize("flag", ["--seeds", "--epochs"])
def test_counts_must_be_positive(flag, capsys):
    with pytest.raises(SystemExit) as exit:
        command_line.main(["run", "attention", flag, "0"])
    assert exit.value.code == 2 and "expected a positive integer" in capsys.readouterr().err


def test_list_imports_nothing_heavy():
    code = (
        "import sys; from reproductions.__main__ import main; main(['list']) == 0 or sys.exit(1);"
        "assert not {'tensorflow', 'keras', 'matplotlib', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "attention: " in done.stdout and "glimpse_1x32" in done.stdout
