"""Records → rows: the runs of one model under one setting, and how the rows compare."""

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from reproductions.engine import records
from reproductions.engine.display import Headline
from reproductions.engine.task import Record, Task

ENOUGH = 3  # runs that a row should have at least


@dataclasses.dataclass(frozen=True)
class Row:
    """The runs of one model with one configuration on one data set."""

    model: str
    labels: dict[str, Any]
    data: str
    changes: str  # what the runs' configuration has that the preset's has not
    runs: list[Record]

    @property
    def finished(self) -> list[Record]:
        return [run for run in self.runs if run["status"] == "finished"]

    @property
    def failures(self) -> int:
        return len(self.runs) - len(self.finished)

    def values(self, metric: str) -> list[float]:
        """The test metric of each run that has it."""
        tests = [run["metrics"]["test"] for run in self.finished]
        return [test[metric] for test in tests if test.get(metric) is not None]

    def settings(self) -> dict[str, Any]:
        """The labels, and what else differs from the preset."""
        return self.labels | ({"changes": self.changes.strip()} if self.changes else {})


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Mean and sample standard deviation of a metric over runs."""

    mean: float
    deviation: float | None  # None for a single run
    runs: int

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" ± {self.deviation:.4g}"
        return f"{self.mean:.4g}{spread}"

    def short(self) -> str:
        """Mean ± deviation, of which two digits suffice."""
        spread = "" if self.deviation is None else f" ± {self.deviation:.2g}"
        return f"{self.mean:.4g}{spread}"

    @property
    def squared_error(self) -> float | None:
        """The squared standard error of the mean."""
        return None if self.deviation is None else self.deviation**2 / self.runs


def estimate(values: Sequence[float]) -> Estimate | None:
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(statistics.fmean(values), deviation, len(values))


def compare(ours: Estimate, other: Estimate, direction: str) -> str:
    """ "ahead", "behind", "level" or "too few runs" to tell.

    Level means that the means differ by less than twice the standard error of their difference.
    """
    if ours.squared_error is None or other.squared_error is None:
        return "too few runs"
    difference = (ours.mean - other.mean) * (1 if direction == "max" else -1)
    error = math.sqrt(ours.squared_error + other.squared_error)
    if difference == 0 or abs(difference) < 2 * error:
        return "level"
    return "ahead" if difference > 0 else "behind"


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def family(task: Task, model: str) -> str:
    families = task.display.families
    return next((f for f, patterns in families.items() if matches(model, patterns)), "baseline")


def applies(task: Task, metric: str, model: str) -> bool:
    """Whether `model` can have `metric` at all, as far as the task says."""
    only = task.display.only
    return all(matches(model, models) for names, models in only.items() if matches(metric, [names]))


def rows(task: Task, preset: str, runs: Iterable[Record]) -> list[Row]:
    """The rows that a preset asks for, then published models, then runs of other settings."""
    settings = task.presets[preset]
    groups: dict[tuple[str, ...], list[Record]] = {}
    data, asked = settings["data"], list(task.models_of(preset))
    for figure in task.published:
        if figure.get("preset", "full") == preset and figure["model"] not in asked:
            asked.append(figure["model"])
    for model in asked:
        ours = model in task.models
        for config in task.settings(model, preset, data) if ours else [{}]:
            groups[model, data, json.dumps(config, sort_keys=True)] = []
    order = {model: place for place, model in enumerate(asked)}
    for run in sorted(runs, key=lambda run: (run["data"], order.get(run["model"], len(order)))):
        changes = other_settings(task, run)
        key = run["model"], run["data"], json.dumps(run["config"], sort_keys=True)
        known = key in groups and " on " not in changes
        groups.setdefault(key if known else (*key, changes), []).append(run)
    return [
        Row(model, task.label_values(json.loads(config)), data, "".join(changes), group)
        for (model, data, config, *changes), group in groups.items()
    ]


def row_of(
    task: Task, rows: Sequence[Row], model: str, asked: Headline, wanted: Mapping[str, Any]
) -> Row | None:
    """The row of a model that a headline or a claim asks for.

    Its labels are those wanted; a row may lack some of them, if there is none that has them.
    """
    data = asked.data or task.presets[asked.preset]["data"]
    found = [
        row
        for row in rows
        if (row.model, row.data, row.changes) == (model, data, "")
        and all(row.labels.get(name, value) == value for name, value in wanted.items())
    ]
    return max(found, key=lambda row: len(row.labels.keys() & wanted.keys()), default=None)


def other_settings(task: Task, run: Record) -> str:
    """What a run's configuration has that the preset's has not, what it lacks, another backend."""
    asked = task.settings(run["model"], run["preset"], run["data"])
    labels = task.label_values(run["config"])
    base = next((config for config in asked if task.label_values(config) == labels), {})
    changes = [(k, v) for k, v in sorted(run["config"].items()) if k not in base or base[k] != v]
    lacks = sorted(base.keys() - run["config"].keys())
    words = [f" {key}={value}" for key, value in changes] + [f" no {key}" for key in lacks]
    backend = records.backend_of(run)
    return "".join(words + ([f" on {backend}"] if backend else []))


def published(task: Task, preset: str, row: Row) -> list[dict[str, Any]]:
    """Other people's figures for a row."""
    known = row.labels | {"data": row.data}
    return [
        figure
        for figure in task.published
        if (figure["model"], figure.get("preset", "full")) == (row.model, preset)
        and all(figure.get(key, value) == value for key, value in known.items())
        # A row without a label that the figure has is another setting, where it was run at all.
        and (not row.labels or all(name in known for name in task.labels if name in figure))
    ]


def comparable(task: Task, row: Row, other: Row) -> bool:
    """Whether two rows do the same job: same data, no differing labels, both contenders."""
    if "bound" in (family(task, row.model), family(task, other.model)):
        return False
    groups = task.display.compared
    if not any(matches(row.model, group) and matches(other.model, group) for group in groups):
        return False
    shared = row.labels.keys() & other.labels.keys()
    same = all(row.labels[key] == other.labels[key] for key in shared)
    return same and (row.data, row.changes) == (other.data, other.changes)


def standings(task: Task, table_rows: Sequence[Row], metric: str) -> list[str]:
    """How each row stands beside the best of those it compares with; "" where nothing does."""
    direction = task.metrics[metric]
    estimates = [estimate(row.values(metric)) for row in table_rows]
    texts = []
    for row, ours in zip(table_rows, estimates, strict=True):
        rivals = [
            other
            for rival, other in zip(table_rows, estimates, strict=True)
            if other is not None and comparable(task, row, rival)
        ]
        if ours is None or len(rivals) < 2:
            texts.append("")
            continue
        best = (max if direction == "max" else min)(rivals, key=lambda other: other.mean)
        texts.append("best" if ours is best else compare(ours, best, direction))
    return texts


def first_preset(task: Task, runs_by_preset: dict[str, list[Record]]) -> str | None:
    """The preset to show first, of those with records."""
    headline = task.display.headline
    order = [headline.preset if headline else "full", "full", "quick", *task.presets]
    return next((preset for preset in order if runs_by_preset.get(preset)), None)
