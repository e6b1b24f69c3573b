"""Trials → a table, and a picture of the best validation against the number of trials."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from reproductions.engine import records
from reproductions.engine.task import Record, Task
from reproductions.engine.tuning import space, study

PICTURE = "trials.png"
Tried = dict[str, list[Record]]  # by study, in the order of the trials
Table = tuple[list[str], list[list[str]]]


def load(task: Task, preset: str, root: Path) -> Tried:
    """The trials of a preset."""
    by_name: dict[str, list[tuple[int, Record]]] = {}
    for path in study.folder(task, preset, root).glob("*.json"):
        name, _, number = path.stem.rpartition("-trial")
        by_name.setdefault(name, []).append((int(number), records.read(path)))
    order = {model: place for place, model in enumerate(task.models)}
    tried = {
        name: [record for _, record in sorted(numbered, key=lambda pair: pair[0])]
        for name, numbered in sorted(by_name.items())
    }
    return dict(sorted(tried.items(), key=lambda pair: order.get(pair[1][0]["model"], len(order))))


def picture(task: Task, preset: str, root: Path) -> Path:
    """Path of the picture of a preset's trials."""
    return study.folder(task, preset, root) / PICTURE


def table(task: Task, tried: Tried) -> Table:
    """A row a study: its trials, the preset's settings, and the best ones found."""
    metric = next(iter(task.metrics))
    heads = ["study", "trials", f"validation {metric}: preset's settings", "best", "best settings"]
    return heads, [[name, *_cells(task, runs)] for name, runs in tried.items()]


def _cells(task: Task, runs: Sequence[Record]) -> list[str]:
    failures = sum(run["status"] == "failed" for run in runs)
    count = f"{len(runs)}" + (f", {failures} failed" if failures else "")
    first, best = study.value(task, runs[0]), study.best(task, runs)
    if best is None:
        return [count, "failed", "", ""]
    keys = space.space_of(task.search, best["model"])
    chosen = ", ".join(f"{key} {_short(best['config'][key])}" for key in keys)
    before = "failed" if first is None else f"{first:.4g}"
    return [count, before, f"{study.value(task, best):.4g}", chosen]


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def show(task: Task, preset: str, root: Path) -> None:
    """Print the table of a preset's trials and draw their picture; nothing where there are none."""
    from rich.console import Console
    from rich.table import Table

    tried = load(task, preset, root)
    if not tried:
        return
    console, grid = Console(), Table(title=f"{task.name}, {preset}: validation data")
    if not console.is_terminal:  # a log has room for the table's columns
        console.width = 140
    heads, rows = table(task, tried)
    for head in heads:
        grid.add_column(head, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console.print(grid)
    path = picture(task, preset, root)
    draw(task, tried, path)
    console.print(f"picture: {path}", soft_wrap=True, markup=False, highlight=False)


def draw(task: Task, tried: Tried, path: Path) -> None:
    """A line a study: the best validation metric after each trial; dots are the trials."""
    from matplotlib.figure import Figure

    metric, direction = next(iter(task.metrics.items()))
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for i, (name, runs) in enumerate(tried.items()):
        pairs = [(n, study.value(task, run)) for n, run in enumerate(runs, start=1)]
        done = [(n, value) for n, value in pairs if value is not None]
        if done:
            numbers, values = zip(*done, strict=True)
            best = accumulate(values, max if direction == "max" else min)
            style = dict(color=f"C{i % 10}", linestyle="-" if i < 10 else "--")
            axes.step(numbers, list(best), where="post", label=name, **style)
            axes.plot(numbers, values, ".", color=style["color"], alpha=0.4)
    axes.set(xlabel="trials", ylabel=f"best validation {metric}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=90)
