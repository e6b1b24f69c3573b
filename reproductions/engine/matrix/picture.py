"""Cells → one picture: a panel a task, a dot a run, the mean as the family's mark."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reproductions.engine.matrix import cells, page
from reproductions.engine.results import charts
from reproductions.engine.task import Task

# Color and marker of a family; further models have those of "hypernetwork".
STYLES = {
    "dense": charts.STYLES["baseline"],
    "recurrent": charts.STYLES["bound"],
    "": charts.STYLES["hypernetwork"],
} | {family: charts.STYLES[family] for family in ("static", "dynamic", "sparse")}


def data(tasks: Iterable[Task], preset: str, root: Path) -> dict[str, Any]:
    """All that the picture shows, as plain data."""
    panels = []
    for task in cells.tasks_of(tasks, preset):
        row = cells.cells(task, preset, root)
        metric, direction = next(iter(task.metrics.items()))
        shown = [
            {"family": cell.family, "model": cell.model, "values": cell.values}
            for cell in row
            if cell.family or cell.values
        ]
        chance = next((cell.chance for cell in row if cell.chance is not None), None)
        about = {"task": task.name, "metric": metric, "direction": direction, "chance": chance}
        panels.append(about | {"cells": shown})
    return {"preset": preset, "panels": panels}


def write(picture: dict[str, Any], path: Path) -> None:
    """Draw `picture` into the SVG file `path`; the same data give the same bytes."""
    charts.save(draw(picture), picture, f"matrix {picture['preset']}", path)


def draw(picture: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    panels = picture["panels"]
    figure = Figure(figsize=(2.6 * max(1, len(panels)), 3.1), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, panel)
    return figure


def _panel(axes: Any, panel: dict[str, Any]) -> None:
    shown = panel["cells"]
    for place, cell in enumerate(shown):
        values, (color, marker, _) = cell["values"], STYLES[cell["family"]]
        if not values:
            axes.text(place, 0.5, "not run", rotation=90, color="0.5", ha="center", va="center",
                      transform=axes.get_xaxis_transform())  # fmt: skip
            continue
        mean = sum(values) / len(values)
        if len(values) > 1:
            axes.plot([place] * len(values), values, "o", color=color, alpha=0.6, markersize=3)
        filled = color if len(values) == 1 else "none"
        axes.plot(place, mean, marker, color=color, markersize=8, markerfacecolor=filled)
    if panel["chance"] is not None and any(cell["values"] for cell in shown):
        axes.axhline(panel["chance"], color="0.6", linestyle=":", linewidth=1)
        axes.annotate("chance", (1, panel["chance"]), xycoords=("axes fraction", "data"),
                      ha="right", va="bottom", color="0.4", fontsize=7)  # fmt: skip
    better = "higher" if panel["direction"] == "max" else "lower"
    axes.set(title=panel["task"], ylabel=f"test {panel['metric']} ({better} is better)")
    names = [cell["family"] or cell["model"].replace("_", "\n") for cell in shown]
    axes.set_xticks(range(len(shown)), names, rotation=40, ha="right")
    axes.set_xlim(-0.6, len(shown) - 0.4)
    axes.grid(axis="y", alpha=0.3)
    if not any(cell["values"] for cell in shown):
        axes.set_yticks([])


def path_of(root: Path, preset: str) -> Path:
    return root / page.NAME / page.picture_name(preset)
