"""The matrix: costs, cells, sentences, page and picture, and a run of several tasks."""

import numpy as np
import pytest
from toy import read, toy_record, toy_task, write

from reproductions import __main__ as command_line
from reproductions.engine import harness, report
from reproductions.engine.display import FAMILIES, Display, Matrix
from reproductions.engine.matrix import cells, costs, picture
from reproductions.engine.results import charts
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


def five(task, preset="quick", **values):
    """Records of a toy task whose families have these values of their metric."""
    task.models = (*FAMILIES, "both")
    task.display = Display(
        matrix=Matrix(what="a sum", more=("both",), chance=lambda config: float(config["units"]))
    )
    found = []
    for model, numbers in values.items():
        for seed, value in enumerate(numbers):
            record = toy_record(task, seed, value, model, preset)
            record["metrics"]["valid"] |= {"step_ms": 1.5, "inference_mb": 20.0 + seed}
            found.append(record)
    return found


FIVE = dict(
    dense=(1.0, 1.1, 1.2),
    static=(1.05, 1.15, 1.25),
    dynamic=(0.1, 0.2, 0.3),
    sparse=(2.99, 3.0, 3.01),
    recurrent=(0.5, 0.6, 0.7),
)


def test_a_sentence_says_what_three_runs_tell_and_who_learned_nothing(tmp_path):
    task = toy_task()
    write(task, tmp_path, *five(task, **FIVE))
    row = cells.cells(task, "quick", tmp_path)
    assert [(cell.family, cell.model) for cell in row] == [
        *((family, family) for family in FAMILIES),
        ("", "both"),
    ]
    assert cells.line(row) == (
        "dynamic is best; static is level with dense; dynamic is ahead of recurrent; "
        "sparse is behind dense; sparse learned nothing."
    )
    assert row[-1].text == "not run" and row[-1].learned
    assert row[3].cost("inference_mb") == pytest.approx(21.0)
    assert cells.line([row[-1]]) == "not run."


def test_single_runs_are_ordered_and_no_more(tmp_path):
    task = toy_task()
    single = {model: values[:1] for model, values in FIVE.items()}
    write(task, tmp_path, *five(task, **single))
    assert cells.line(cells.cells(task, "quick", tmp_path)) == (
        "dynamic 0.1, then recurrent 0.5, then dense 1, then static 1.05, then sparse 2.99; "
        "too few runs to tell more; sparse learned nothing."
    )


def test_page_view_and_picture_come_from_the_records(tmp_path):
    task = toy_task()
    write(task, tmp_path, *five(task, **FIVE))
    write(task, tmp_path, *five(task, "full", dense=(1.0,)))
    text = report.write_matrix([task, toy_task()], tmp_path).read_text()
    assert "| toy | dense | `dense` | mse ↓ | 1.1 ± 0.1 | 3 | 1,234 | 0 | 1.5 | 21 |" in text
    assert "**0.2 ± 0.1**<br>1.23k parameters<br>1.5 ms<br>21 MB" in text
    assert "| toy |  | `both` | mse ↓ | not run |" in text
    assert text.index("## Preset quick") < text.index("![Test metric") < text.index("Preset full")
    drawn = charts.read(tmp_path / "matrix/quick.svg")
    assert drawn == picture.data([task], "quick", tmp_path)
    assert drawn["panels"][0]["chance"] == 3 and drawn["panels"][0]["cells"][2]["values"] == [
        *FIVE["dynamic"]
    ]
    report.show_matrix([task], "quick", tmp_path)
    page = report.docs_page(
        "a\n<!-- matrix -->\nold\n<!-- /matrix -->\nb\n", [task], tmp_path, "../results/"
    )
    assert page.startswith("a\n<!-- matrix -->\n![Test metric of each run, by task and family](../")
    assert "[toy](results/toy.md): a sum, ↓" in page and page.endswith("<!-- /matrix -->\nb\n")


def test_a_matrix_without_records_is_drawn_too(tmp_path):
    task = toy_task()
    five(task)
    text = report.write_matrix([task], tmp_path).read_text()
    assert text.count("not run") >= 6 and (tmp_path / "matrix/quick.svg").exists()


def test_the_command_runs_the_cells_of_a_preset_and_draws_them(tmp_path, monkeypatch):
    tasks = {name: matrix_task(name) for name in ("one", "two")}
    for task in tasks.values():
        task.display = Display(matrix=Matrix(what="a sum", models=dict.fromkeys(FAMILIES, "small")))
    monkeypatch.setattr(command_line, "tasks", lambda: list(tasks))
    monkeypatch.setattr(command_line, "load", tasks.get)
    seen = []
    monkeypatch.setattr(harness, "run_all", lambda asked: seen.extend(asked) or 1)
    words = ["matrix", "--run", "--preset", "quick", "--seeds", "1", "--out", str(tmp_path)]
    assert command_line.main(words) == 1  # as many failures
    assert [(task.name, models) for task, models, _ in seen] == [
        ("one", ["small"]),
        ("two", ["small"]),
    ]
    assert {how.folder for *_, how in seen} == {tmp_path / name / "quick" for name in tasks}
    assert (tmp_path / "matrix/README.md").exists()
