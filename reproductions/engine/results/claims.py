"""Claims of papers beside records: does what they say of two models hold here?"""

from collections.abc import Mapping, Sequence
from typing import Any

from reproductions.engine.display import Claim
from reproductions.engine.results import summary
from reproductions.engine.results.summary import Estimate
from reproductions.engine.task import Record, Task

VERDICTS = {
    "ahead": "It holds here",
    "behind": "It does not hold here: the reverse was measured",
    "level": "It is not confirmed here: the two are level",
    "too few runs": "Too few runs to tell",
}


def section(task: Task, runs_by_preset: Mapping[str, list[Record]]) -> list[str]:
    """The part of a task's page that says of each claim whether it holds."""
    told = [_told(task, claim, runs_by_preset[claim.preset]) for claim in task.display.claims]
    return ["## What is claimed, and whether it holds here\n", *told] if told else []


def _told(task: Task, claim: Claim, runs: list[Record]) -> str:
    metric = claim.metric or next(iter(task.metrics))
    rows = summary.rows(task, claim.preset, runs)
    labels = claim.labels if claim.baseline_labels is None else claim.baseline_labels
    asked = (claim.ours, claim.labels), (claim.baseline, labels)
    found = [summary.row_of(task, rows, model, claim, wanted) for model, wanted in asked]
    metrics = metric, claim.baseline_metric or metric
    values = [
        summary.estimate(row.values(name)) if row else None
        for row, name in zip(found, metrics, strict=True)
    ]
    names = [
        _name(model, wanted if row is None else row.labels)
        for row, (model, wanted) in zip(found, asked, strict=True)
    ]
    return f"- {claim.what} {_verdict(task, claim, metrics, names, values)}\n"


def _verdict(
    task: Task,
    claim: Claim,
    metrics: tuple[str, str],
    names: Sequence[str],
    values: Sequence[Estimate | None],
) -> str:
    ours, other = values
    if ours is None or other is None:
        return f"Not run: {names[ours is not None]}."
    figures = [f"{n} {v.short()} ({v.runs})" for n, v in zip(names, (ours, other), strict=True)]
    stands = summary.compare(ours, other, task.metrics[metrics[0]])
    verdict = VERDICTS["ahead" if claim.level and stands == "level" else stands]
    second = "" if metrics[0] == metrics[1] else f"`{metrics[1]}` of "
    return f"**{verdict}**: `{metrics[0]}` of {figures[0]} and {second}{figures[1]}."


def _name(model: str, labels: Mapping[str, Any]) -> str:
    words = ", ".join(f"{key} {value}" for key, value in labels.items() if value is not None)
    return f"`{model}`" + (f" ({words})" if words else "")
