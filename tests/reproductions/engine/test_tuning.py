"""Studies: equal trials, resumed and shared, on data without the test split."""

import pytest
from toy import read, toy_task

from reproductions import __main__ as command_line
from reproductions.data.without_test import TestDataError, WithoutTest
from reproductions.engine.records import RecordError
from reproductions.engine.results import pages
from reproductions.engine.run_options import RunOptions
from reproductions.engine.tuning import space, study, trials
from reproductions.engine.tuning.space import Range

SEARCH = {"*": dict(units=Range(low=2, high=6)), "wide": dict(rate=(0.05, 0.1))}


def tunable():
    """The toy task with search spaces, whose test data fail whoever reads them."""
    task = toy_task()
    task.labels, task.search = (), SEARCH
    task.presets["quick"] |= dict(epochs=2, steps=2, rate=0.05)
    task.source.test = None
    return task


def tune(task, folder, count, models=("small", "wide"), **options):
    how = RunOptions(
        preset="quick",
        data="sums",
        folder=study.folder(task, "quick", folder),
        test=False,
        **options,
    )
    return study.tune(task, models, how, count)


def names(folder):
    return sorted(path.name for path in folder.glob("toy/tried/quick/*.json"))


def test_each_model_gets_as_many_trials_of_one_budget(tmp_path, capsys):
    task = tunable()
    assert tune(task, tmp_path, 1) == 0
    assert tune(task, tmp_path, 3) == 0  # goes on
    assert names(tmp_path) == [f"{m}-sums-trial{n}.json" for m in ("small", "wide") for n in "012"]
    tried = trials.load(task, "quick", tmp_path)
    assert list(tried) == ["small-sums", "wide-sums"]
    for runs in tried.values():
        configs = [run["config"] for run in runs]
        assert configs[0]["units"] == 3  # the preset's own first
        assert len({str(config) for config in configs}) > 1
        assert all(2 <= config["units"] <= 6 for config in configs)
        assert {(run["seed"], run["config"]["epochs"], run["config"]["steps"]) for run in runs} == {
            (0, 2, 2)
        }
        assert all(run["metrics"]["test"] == {} for run in runs)
        values = [run["metrics"]["valid"]["mse"] for run in runs]
        assert study.best(task, runs)["metrics"]["valid"]["mse"] == min(values)
    assert "tune toy --models wide" in tried["wide-sums"][1]["command"]
    capsys.readouterr()
    assert tune(task, tmp_path, 3) == 0 and not capsys.readouterr().out  # nothing is left to do
    heads, rows = trials.table(task, tried)
    assert heads[0] == "study" and [row[1] for row in rows] == ["3", "3"]
    assert "units" in rows[0][-1] and "rate" in rows[1][-1]
    trials.show(task, "quick", tmp_path)
    page = pages.page(task, tmp_path)
    assert "settings tried on validation data" in page and "(tried/quick/trials.png)" in page
    assert (tmp_path / "toy/tried/quick/trials.png").exists()


def test_no_trial_reads_test_data(tmp_path):
    task, reads = tunable(), []

    class Watched(type(task.source)):
        @property
        def test(self):
            reads.append("test")
            return self.valid

        @test.setter
        def test(self, value):
            pass

    watched = Watched()
    task.data = lambda name, config, data_dir: watched
    task.trace = lambda network, data, config: reads.append("trace")
    task.draw = lambda network, data, config, path, traces: reads.append("draw")
    task.transfer = lambda network, model, data, config: reads.append("transfer") or {}
    seen, whole = [], task.evaluate
    task.evaluate = lambda network, x, y, config: (
        seen.append(x is watched.valid[0]) or whole(network, x, y, config)
    )
    assert tune(task, tmp_path, 2, ["small"]) == 0
    assert not reads and seen == [True] * 4

    def careless(network, epoch, config):
        watched_by_task.test  # noqa: B018

    watched_by_task = WithoutTest(watched)
    task.before_epoch = careless
    assert tune(task, tmp_path, 3, ["small"]) == 1
    record = read(tmp_path, "toy/tried/quick/small-sums-trial2.json")
    assert record["error"].startswith("TestDataError: Settings are chosen on validation data")
    with pytest.raises(TestDataError, match="other_test"):
        watched_by_task.other_test()
    tried = trials.load(task, "quick", tmp_path)
    assert trials.table(task, tried)[1][0][1] == "3, 1 failed"
    assert tune(task, tmp_path, 3, ["small"]) == 0  # a failed trial counts as one


def test_an_interrupted_trial_is_resumed(tmp_path):
    task = tunable()
    tune(task, tmp_path / "whole", 2, ["small"])
    task.source.interrupt_at = 1
    with pytest.raises(KeyboardInterrupt):
        tune(task, tmp_path / "cut", 2, ["small"])
    assert list(tmp_path.glob("cut/**/*.npz")) and not names(tmp_path / "cut")
    task.source.interrupt_at = None
    tune(task, tmp_path / "cut", 2, ["small"])
    for name in ("small-sums-trial0.json", "small-sums-trial1.json"):
        whole, cut = (read(tmp_path / one, f"toy/tried/quick/{name}") for one in ("whole", "cut"))
        assert whole["metrics"] == cut["metrics"] and whole["config"] == cut["config"]
    assert not list(tmp_path.glob("**/checkpoints"))


def test_processes_share_a_study(tmp_path):
    task = tunable()
    how = RunOptions(preset="quick", data="sums", folder=tmp_path, test=False)
    one, other = (study.studies(task, ["small"], how)[0].trials(3) for _ in range(2))
    taken = [next(one), next(other), next(one)]  # `one` leaves its first trial, as if it had died
    numbers = [trial.number for _, trial in taken]
    assert numbers == [0, 1, 0]  # what nobody holds is taken before a new one
    for opened, trial in taken[1:]:
        opened.tell(trial.number, 1.0)
    third = next(other)[1].number
    assert third == 2
    assert [trial.number for _, trial in one] == []  # three are done or under way


def test_a_study_keeps_to_one_configuration(tmp_path):
    task = tunable()
    tune(task, tmp_path, 1, ["small"])
    with pytest.raises(RecordError, match="of another configuration or search space"):
        tune(task, tmp_path, 2, ["small"], epochs=3)


@pytest.mark.parametrize(
    ("search", "why"),
    [
        ({}, "toy small cannot be tuned: it has no search space"),
        ({"*": {"epochs": (1, 2)}}, "`epochs` is part of a trial's budget"),
        ({"*": {"nix": (1, 2)}}, "configuration has no `nix`"),
        ({"*": {"units": Range(low=4, high=9)}}, "preset's `units` 3 is not in its space"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(tmp_path, search, why):
    task = tunable()
    task.search = search
    with pytest.raises(study.Untunable, match=why):
        tune(task, tmp_path, 1, ["small"])


def test_what_is_measured_cannot_be_tuned(capsys):
    assert command_line.main(["tune", "continual", "--preset", "smoke", "--trials", "1"]) == 2
    assert "its runs are measured, not trained" in capsys.readouterr().err


@pytest.mark.parametrize("name", command_line.tasks())
def test_declared_spaces_fit_every_preset(name):
    task = command_line.load(name)
    for preset, settings in task.presets.items():
        for model in task.models_of(preset):
            if not {"*", model} & set(task.search or ()):
                continue
            for config in task.settings(model, preset, settings["data"]):
                space.check(space.space_of(task.search, model), config)
        named = settings.get("study")
        tried = named and trials.load(task, named, command_line.RESULTS)
        assert tried or not named, f"{name} {preset}: no trials of preset {named}"
