"""Records → cells of the matrix: a family on a task, its metric and what it costs."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reproductions.engine.display import FAMILIES, Matrix
from reproductions.engine.results import pages, summary
from reproductions.engine.results.summary import Estimate, Row
from reproductions.engine.task import Task

MARGIN = 0.05  # a mean that is closer to chance, relative to it, has learned nothing


@dataclass(frozen=True)
class Cell:
    """A model on a task."""

    task: Task
    family: str  # "" for a further model of the row
    model: str
    row: Row

    @property
    def metric(self) -> str:
        return next(iter(self.task.metrics))

    @property
    def values(self) -> list[float]:
        return self.row.values(self.metric)

    @property
    def estimate(self) -> Estimate | None:
        return summary.estimate(self.values)

    @property
    def text(self) -> str:
        """Mean ± standard deviation, or why there is none."""
        failed = f"{self.row.failures} failed" if self.row.failures else ""
        return self.estimate.short() if self.estimate else failed or "not run"

    def parameters(self, kind: str) -> int | None:
        """How many weights are "trainable", or "generated" for a sample."""
        known = [run["parameters"][kind] for run in self.row.finished]
        return known[0] if known else None

    def cost(self, kind: str) -> float | None:
        """The mean over runs of "step_ms" or "inference_mb"; None if a run does not have it."""
        known = [run["metrics"]["valid"].get(kind) for run in self.row.finished]
        return statistics.fmean(known) if known and None not in known else None

    @property
    def chance(self) -> float | None:
        """The metric of a network that learned nothing."""
        matrix, runs = matrix_of(self.task), self.row.finished
        return matrix.chance(runs[0]["config"]) if matrix.chance and runs else None

    @property
    def learned(self) -> bool:
        """Whether the mean is better than chance; True where nothing is known against it."""
        if self.estimate is None or self.chance is None:
            return True
        sign = 1 if self.task.metrics[self.metric] == "max" else -1
        return sign * (self.estimate.mean - self.chance) > MARGIN * abs(self.chance)


def matrix_of(task: Task) -> Matrix:
    assert task.display.matrix is not None
    return task.display.matrix


def tasks_of(tasks: Iterable[Task], preset: str) -> list[Task]:
    """The tasks that the matrix has, where they have the preset."""
    return [task for task in tasks if task.display.matrix is not None and preset in task.presets]


def models_of(task: Task, preset: str) -> list[str]:
    """The models of the task's row that the preset has."""
    models = dict.fromkeys(matrix_of(task).all_models())
    return [model for model in models if model in task.models_of(preset)]


def cells(task: Task, preset: str, root: Path) -> list[Cell]:
    """The cells of a task: the families in their order, then the preset's further models."""
    rows = summary.rows(task, preset, pages.load(task, preset, root))
    data, matrix = task.presets[preset]["data"], matrix_of(task)
    names = [(family, matrix.model(family)) for family in FAMILIES]
    names += [("", model) for model in matrix.more if model in task.models_of(preset)]
    found = []
    for family, model in names:
        fitting = [r for r in rows if (r.model, r.data, r.changes) == (model, data, "")]
        row = fitting[0] if fitting else Row(model, {}, data, "", [])
        found.append(Cell(task, family, model, row))
    return found


def line(row: list[Cell]) -> str:
    """A sentence that says what a row of cells shows, as far as its runs can tell."""
    known = [cell for cell in row if cell.estimate is not None]
    if not known:
        return "not run."
    direction = known[0].task.metrics[known[0].metric]
    ranked = sorted(known, key=_mean, reverse=direction == "max")
    words = []
    if min(len(cell.values) for cell in known) < summary.ENOUGH:
        order = ", then ".join(f"{_name(cell)} {_mean(cell):.3g}" for cell in ranked)
        words.append(f"{order}; too few runs to tell more")
    else:
        families = [cell for cell in ranked if cell.family] or ranked
        best = families[0]
        level = [_name(cell) for cell in families[1:] if _stands(cell, best) == "level"]
        words.append(f"{_name(best)} is best" + (f", level with {_and(level)}" if level else ""))
        words += [text for family in COUNTERPARTS if (text := _verdict(row, family))]
        for cell in ranked:
            if cell not in families:
                words.append(f"{_name(cell)} is {VERDICTS[_stands(cell, best)]} {_name(best)}")
    lost = [_name(cell) for cell in known if not cell.learned]
    words += [f"{_and(lost)} learned nothing"] if lost else []
    return "; ".join(words) + "."


# The family that each is compared with.
COUNTERPARTS = {"static": "dense", "dynamic": "recurrent", "sparse": "dense"}


def beside(row: list[Cell], family: str) -> str:
    """How a family stands beside its counterpart, with both figures."""
    ours, other = _pair(row, family)
    figures = ", ".join(f"{cell.family} {cell.text}" for cell in (ours, other))
    verdict = _verdict(row, family)
    return f"{figures}: {verdict}." if verdict else f"{figures}: too few runs to tell."


def _pair(row: list[Cell], family: str) -> list[Cell]:
    by_family = {cell.family: cell for cell in row}
    return [by_family[family], by_family[COUNTERPARTS[family]]]


def _verdict(row: list[Cell], family: str) -> str:
    """Ahead, level or behind, where both have enough runs."""
    ours, other = _pair(row, family)
    if min(len(ours.values), len(other.values)) < summary.ENOUGH:
        return ""
    return f"{family} is {VERDICTS[_stands(ours, other)]} {other.family}"


VERDICTS = {"ahead": "ahead of", "behind": "behind", "level": "level with"}


def _name(cell: Cell) -> str:
    return cell.family or f"`{cell.model}`"


def _mean(cell: Cell) -> float:
    assert cell.estimate is not None
    return cell.estimate.mean


def _stands(ours: Cell, other: Cell) -> str:
    assert ours.estimate is not None and other.estimate is not None
    return summary.compare(ours.estimate, other.estimate, ours.task.metrics[ours.metric])


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
