"""Cells → Markdown: the matrix's own page, and its first view for the README and the docs."""

from collections.abc import Callable, Iterable
from pathlib import Path

from reproductions.engine.display import FAMILIES
from reproductions.engine.matrix import cells
from reproductions.engine.matrix.cells import Cell
from reproductions.engine.results import pages
from reproductions.engine.task import Task

NAME = "matrix"
FIRST = "quick"  # the preset that is shown first
TITLE = "# The matrix\n\nFamilies of networks on the same data, each row with as many parameters.\n"
LEGEND = """**dense** is a network whose weights are all learned; **static**: one generator makes
the weights of its layers; **dynamic**: a small recurrent network changes the weights of a large one
at every step; **sparse**: a sparse layer, whose few connections are learned or computed;
**recurrent** is the control of dynamic, the same network with a plain recurrent layer. In each row
the trainable parameters differ by at most 5 %, and all models see as many batches.

Figures are of test data: mean ± sample standard deviation over runs, each with another seed.
"level" means that two means differ by less than twice the standard error of their difference. **ms
a step**: processor time of a training step, all threads added up. **MB**: the most memory that the
evaluation of the validation data takes above what the process held before. **generated**: weights
that a network makes for a sample from its parameters. "–": not measured.
"""
HEADS = ["task", "family", "model", "metric", "value", "runs"]
HEADS += ["trainable", "generated", "ms a step", "MB"]


def picture_name(preset: str) -> str:
    return f"{preset}.svg"


def table(row: Iterable[Cell]) -> list[list[str]]:
    """A line for each cell: its metric and costs."""
    return [
        [
            cell.task.name,
            cell.family,
            f"`{cell.model}`",
            _metric(cell.task),
            cell.text,
            str(len(cell.values) or ""),
            _count(cell.parameters("trainable")),
            _count(cell.parameters("generated")),
            _cost(cell.cost("step_ms")),
            _cost(cell.cost("inference_mb")),
        ]
        for cell in row
    ]


def view(tasks: Iterable[Task], preset: str, root: Path, image: str, link: Callable) -> str:
    """Picture, families × tasks, and a sentence a task.

    Args:
        tasks: The tasks.
        preset: The preset whose records are shown.
        root: Folder of the records.
        image: Address of the picture.
        link: Gives a page's address from the folder of a task, or of the matrix.
    """
    lines, sentences = [], []
    for task in cells.tasks_of(tasks, preset):
        row = cells.cells(task, preset, root)
        what = f"[{task.name}]({link(task.name)}): {cells.matrix_of(task).what}, {_arrow(task)}"
        lines.append([what, *(_in_short(cell) for cell in row if cell.family)])
        sentences.append(f"- **{task.name}**: {cells.line(row)}")
    return "\n".join(
        [
            f"![Test metric of each run, by task and family]({image})\n",
            pages.markdown((["task", *FAMILIES], lines)),
            "\n".join(sentences) + "\n",
        ]
    )


def _in_short(cell: Cell) -> str:
    """The value, and the costs below it."""
    if cell.estimate is None:
        return cell.text
    generated = cell.parameters("generated")
    costs = [f"{_thousands(cell.parameters('trainable'))} parameters"]
    costs += [f"{_thousands(generated)} generated"] if generated else []
    step, memory = cell.cost("step_ms"), cell.cost("inference_mb")
    costs += [f"{_cost(step)} ms"] if step is not None else []
    costs += [f"{_cost(memory)} MB"] if memory is not None else []
    return "<br>".join([f"**{cell.text}**", *costs])


def page(tasks: Iterable[Task], root: Path) -> str:
    """The matrix's page, for the file `README.md` in its folder: a part for each preset."""
    tasks, text = list(tasks), [TITLE]
    for preset in presets(tasks, root):
        rows = [cells.cells(task, preset, root) for task in cells.tasks_of(tasks, preset)]
        picture = picture_name(preset)
        text += [
            f"## Preset {preset}\n",
            view(tasks, preset, root, picture, lambda name: f"../{name}/{pages.PAGE}"),
            pages.markdown((HEADS, [line for row in rows for line in table(row)])),
            f"`python -m reproductions matrix --run --preset {preset}`\n",
        ]
    return "\n".join([*text, "## What the columns mean\n", LEGEND])


def presets(tasks: Iterable[Task], root: Path) -> list[str]:
    """The presets to show: those with a finished run of any cell, the first one before others."""
    tasks = list(tasks)
    names = {preset for task in tasks for preset in task.presets}
    found = [preset for preset in sorted(names) if _has_values(tasks, preset, root)]
    return sorted(found or [FIRST], key=lambda preset: preset != FIRST)


def _has_values(tasks: list[Task], preset: str, root: Path) -> bool:
    rows = [cells.cells(task, preset, root) for task in cells.tasks_of(tasks, preset)]
    return any(cell.values for row in rows for cell in row)


def _metric(task: Task) -> str:
    return f"{next(iter(task.metrics))} {_arrow(task)}"


def _arrow(task: Task) -> str:
    return {"max": "↑", "min": "↓"}[next(iter(task.metrics.values()))]


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _thousands(number: int | None) -> str:
    return "" if number is None else f"{number / 1000:.3g}k" if number >= 1000 else str(number)


def _cost(number: float | None) -> str:
    return "–" if number is None else f"{number:.3g}"
