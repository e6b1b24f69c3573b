"""Rows → Markdown: a page for each task, an index of them, and the README's table."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from reproductions.engine import records
from reproductions.engine.display import Headline
from reproductions.engine.results import claims, summary
from reproductions.engine.results.summary import Estimate, Row
from reproductions.engine.task import Record, Task
from reproductions.engine.tuning import trials

Table = tuple[list[str], list[list[str]]]
PAGE, CHART = "README.md", "chart.svg"
INDEX = """# Results

These pages are made from the records in this folder by `python -m reproductions report`; they are
never edited by hand. Weights and settings were chosen on validation data. All figures are of test
data: mean ± sample standard deviation over runs, each with another seed. Accuracies are fractions.

[The matrix](matrix/README.md) compares the families of networks on four kinds of task.

"level" means that two means differ by less than twice the standard error of their difference. Where
one of them has a single run nothing can be said: "too few runs". "not run" means that there is no
record, "–" that a model cannot have the figure.
"""
LEGEND = """**beside the best**: "level" differs from the best row of the same data and settings by
less than twice the standard error of the difference; "too few runs" to tell, where one of them has
a single run. **runs**: "1 of 3" has fewer seeds than the three that a row should have. "not run":
there is no record; "–": the model cannot have the figure.
"""


def load(task: Task, preset: str, root: Path) -> list[Record]:
    """The records of a task and preset under `root`, sorted by file name."""
    return [records.read(path) for path in sorted((root / task.name / preset).glob("*.json"))]


def cell(task: Task, row: Row, metric: str) -> str:
    """Mean ± spread (runs) of a metric, or why there is none."""
    values = summary.estimate(row.values(metric))
    failed = f"{row.failures} failed" if row.failures else ""
    if values is not None:
        return ", ".join(filter(None, [f"{values} ({values.runs})", failed]))
    return failed or missing(task, row, metric)


def missing(task: Task, row: Row, metric: str) -> str:
    """ "–" where a model cannot have the metric, else "not run"."""
    said = any(metric in run["metrics"]["test"] for run in row.finished)  # the record holds a null
    return "–" if said or not summary.applies(task, metric, row.model) else "not run"


def parameters(task: Task, row: Row) -> str:
    """How many weights the model learns, and how many it generates."""
    if row.model in task.display.no_parameters:
        return "none"
    return " / ".join(sorted({_parameters(run) for run in row.finished}))


def _parameters(run: Record) -> str:
    if not run["parameters"]:
        return "none"
    made = run["parameters"]["generated"]
    return f"{run['parameters']['trainable']:,}" + (f" (+{made:,} generated)" if made else "")


def figures(task: Task, preset: str, row: Row, metric: str | None = None) -> str:
    """Published figures with numbers of deviations: of `metric`, or of all with their names."""
    texts = []
    for figure in summary.published(task, preset, row):
        if metric in (None, figure["metric"]):
            name = f"{figure['metric']} " if metric is None else ""
            notes = "".join(f" [{number}]" for number in figure.get("notes", ()))
            texts.append(f"{name}{figure['value']:g} ({figure['source']}){notes}")
    return "; ".join(texts)


def headline_table(task: Task, preset: str, rows: Sequence[Row]) -> Table:
    """The metric shown first alone, with how each row stands beside the best."""
    metric, _ = task.shown
    stands = summary.standings(task, rows, metric)
    table = [
        [
            row.model + row.changes,
            *(str(row.labels.get(name, "")) for name in task.labels),
            row.data,
            parameters(task, row),
            *_value_and_runs(task, row, metric),
            stand,
            figures(task, preset, row, metric),
        ]
        for row, stand in zip(rows, stands, strict=True)
    ]
    heads = ["model", *task.labels, "data", "parameters", f"test {metric}", "runs"]
    return _without_empty([*heads, "beside the best", "published"], table)


def _value_and_runs(task: Task, row: Row, metric: str) -> tuple[str, str]:
    """Two cells; the second says where a row has fewer runs than it should."""
    values = summary.estimate(row.values(metric))
    failed = f"{row.failures} failed" if row.failures else ""
    if values is None:
        return failed or missing(task, row, metric), ""
    few = f" of {summary.ENOUGH}" if values.runs < summary.ENOUGH else ""
    return values.short(), ", ".join(filter(None, [f"{values.runs}{few}", failed]))


def full_table(task: Task, preset: str, rows: Sequence[Row]) -> Table:
    """All metrics, the mean seconds of a run, and all published figures."""
    table = [
        [
            row.model + row.changes,
            *(str(row.labels.get(name, "")) for name in task.labels),
            row.data,
            parameters(task, row),
            *(cell(task, row, metric) for metric in task.metrics),
            _seconds(row),
            figures(task, preset, row),
        ]
        for row in rows
    ]
    heads = ["model", *task.labels, "data", "parameters", *task.metrics, "seconds", "published"]
    return _without_empty(heads, table)


def _seconds(row: Row) -> str:
    seconds = [run["seconds"] for run in row.finished]
    return f"{statistics.fmean(seconds):.0f}" if seconds else ""


def _without_empty(heads: list[str], rows: list[list[str]]) -> Table:
    """A table without the columns that say nothing in any row."""
    kept = [
        i for i, head in enumerate(heads) if head == "model" or any(row[i] for row in rows)
        if head != "parameters" or any(row[i] not in ("", "none") for row in rows)
    ]  # fmt: skip
    return [heads[i] for i in kept], [[row[i] for i in kept] for row in rows]


def markdown(table: Table) -> str:
    heads, rows = table
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def page(task: Task, root: Path) -> str:
    """The page of a task, for the file `README.md` in the folder of its records."""
    runs_by_preset = {preset: load(task, preset, root) for preset in task.presets}
    first = summary.first_preset(task, runs_by_preset)
    title, _, about = task.about.strip().partition("\n")
    text = [f"# {task.name}\n", f"{title.strip()}\n"]
    if first is not None:
        metric, direction = task.shown
        better = "higher" if direction == "max" else "lower"
        rows = summary.rows(task, first, runs_by_preset[first])
        if any(row.values(metric) for row in rows):
            text.append(f"![{metric} of each run, its mean and standard deviation]({CHART})\n")
        text += [
            f"`{metric}` of test data, preset `{first}`; {better} is better.\n",
            markdown(headline_table(task, first, rows)),
            LEGEND,
        ]
    text += claims.section(task, runs_by_preset)
    text += ["## What is compared\n", about.strip() + "\n"] if about.strip() else []
    text.append("## All figures\n")
    for preset in sorted(runs_by_preset, key=lambda preset: preset != first):
        if preset != "smoke" or runs_by_preset[preset]:
            text.append(_preset(task, preset, runs_by_preset[preset], root))
    text += [
        _tried(task, preset, tried, root)
        for preset in task.presets
        if (tried := trials.load(task, preset, root))
    ]
    if task.deviations:
        notes = [f"[{number}] {note}\n" for number, note in enumerate(task.deviations, 1)]
        text += ["## Deviations from what is published\n", *notes]
    lines = sorted({_circumstances(run) for runs in runs_by_preset.values() for run in runs})
    text += ["## Circumstances\n", *lines] if lines else []
    return "\n".join(text)


def _preset(task: Task, preset: str, runs: list[Record], root: Path) -> str:
    """All figures and pictures of a preset, folded."""
    command = f"`python -m reproductions run {task.name} --preset {preset}`"
    if not runs:
        return f"Preset `{preset}`: not run. {command}\n"
    table = markdown(full_table(task, preset, summary.rows(task, preset, runs)))
    study = task.presets[preset].get("study")
    folder = root / task.name
    images = [
        f"![{path.stem}]({path.relative_to(folder).as_posix()})"
        for path in pictures(task, preset, root)
    ]
    parts = [
        f"<details>\n<summary>Preset {preset}: all metrics</summary>\n",
        f"{command}\n",
        *([f"Settings come from the trials of preset `{study}`.\n"] if study else []),
        table,
        "</details>\n",
    ]
    if images:
        title = f"<details>\n<summary>Preset {preset}: {len(images)} pictures</summary>\n"
        parts += [title, "\n".join(images) + "\n", "</details>\n"]
    return "\n".join(parts)


def _tried(task: Task, preset: str, tried: trials.Tried, root: Path) -> str:
    """The trials of a preset, folded."""
    picture = trials.picture(task, preset, root).relative_to(root / task.name).as_posix()
    return "\n".join(
        [
            f"<details>\n<summary>Preset {preset}: settings tried on validation data</summary>\n",
            f"`python -m reproductions tune {task.name} --preset {preset} --trials N`\n",
            markdown(trials.table(task, tried)),
            "The first trial of each study has the preset's own settings, the others are drawn. "
            "All have as many batches. Test data were not used.\n",
            f"![best validation against trials]({picture})\n",
            "</details>\n",
        ]
    )


def pictures(task: Task, preset: str, root: Path) -> list[Path]:
    return sorted((root / task.name / preset).glob("*.png"))


def _circumstances(run: Record) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return f"Run on {run['device']}; {versions}.\n"


def index(tasks: Iterable[Task], root: Path) -> str:
    """The list of the tasks' pages, and the table of headlines."""
    tasks, rows = list(tasks), []
    for task in tasks:
        counts = [len(load(task, preset, root)) for preset in task.presets]
        title = task.about.strip().splitlines()[0]
        rows.append([f"[{task.name}]({task.name}/{PAGE})", title, str(sum(counts))])
    listed = markdown((["task", "what is compared", "records"], rows))
    return "\n".join([INDEX, listed, "## In short\n", headlines(tasks, root, "")])


def headlines(tasks: Iterable[Task], root: Path, prefix: str) -> str:
    """A row a task that has a headline: its best dense baseline beside ours, and published.

    Tasks of which neither has run are left out.
    """
    given = [(task, task.display.headline) for task in tasks]
    rows = [_headline(task, headline, root, prefix) for task, headline in given if headline]
    rows = [row for row in rows if row]
    heads = ["task", "best dense baseline", "ours", "ours is", "published", "seeds"]
    return markdown((heads, rows))


def _headline(task: Task, headline: Headline, root: Path, prefix: str) -> list[str]:
    metric = headline.metric or next(iter(task.metrics))
    runs = load(task, headline.preset, root)
    rows = summary.rows(task, headline.preset, runs)
    both = [_row(task, rows, model, headline) for model in (headline.baseline, headline.ours)]
    values = [summary.estimate(row.values(metric)) for row in both]
    if values == [None, None]:
        return []
    known = [
        f"{figure['value']:g}" if row is both[1] else f"{row.model}: {figure['value']:g}"
        for row in reversed(both)
        for figure in summary.published(task, headline.preset, row)
        if figure["metric"] == metric
    ]
    return [
        f"[{task.name}]({prefix}{task.name}/{PAGE}): {headline.what}",
        *(
            f"`{row.model}` {'not run' if value is None else value.short()}"
            for row, value in zip(both, values, strict=True)
        ),
        _standing(values[0], values[1], task.metrics[metric]),
        "; ".join(known) or "–",
        ", ".join(str(0 if value is None else value.runs) for value in values),
    ]


def _standing(other: Estimate | None, ours: Estimate | None, direction: str) -> str:
    return "" if ours is None or other is None else summary.compare(ours, other, direction)


def _row(task: Task, rows: Sequence[Row], model: str, headline: Headline) -> Row:
    row = summary.row_of(task, rows, model, headline, headline.labels)
    if row is None:
        raise ValueError(f"{task.name}: no row of {model}, {headline}")
    return row
