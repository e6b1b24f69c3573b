"""Rows → one picture of a task's first metric: a dot a run, mean ± standard deviation, published.

The file is an SVG that holds its own data as JSON in its description, so that a test can tell a
stale picture whatever version of Matplotlib drew it.
"""

import html
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reproductions.engine import atomic_files
from reproductions.engine.results import summary
from reproductions.engine.task import Task

# Colors that the color-blind can tell apart, of lightness about 15, 30, 45, 55 and 75 of 100, each
# with a marker of its own.
STYLES = {
    "baseline": ("#262626", "o", "baseline"),
    "hypernetwork": ("#882255", "P", "hypernetwork"),
    "dynamic": ("#0072b2", "^", "dynamic hypernetwork"),
    "sparse": ("#d55e00", "D", "sparse"),
    "static": ("#f0b429", "s", "static hypernetwork"),
    "bound": ("#8c8c8c", "X", "limit, no contender"),
}
FONT: dict[Any, Any] = {"font.size": 8}
DECADES = 20  # the ratio of largest and smallest value from which an axis is logarithmic
LINES = ("-", "--", ":", "-.")


def chart(task: Task, preset: str, rows: Sequence[summary.Row]) -> dict[str, Any]:
    """All that the picture shows, as plain data."""
    metric, direction = task.shown
    points = []
    for row in rows:
        values = row.values(metric)
        figures = summary.published(task, preset, row)
        known = [figure["value"] for figure in figures if figure["metric"] == metric]
        placed = task.display.across is None or task.display.across in row.labels
        if (values or known) and placed:
            points.append(
                {
                    "model": row.model,
                    "family": summary.family(task, row.model),
                    "data": row.data,
                    "settings": {k: str(v) for k, v in row.settings().items()},
                    "values": values,
                    "published": known,
                }
            )
    return {
        "task": task.name,
        "preset": preset,
        "metric": metric,
        "direction": direction,
        "across": task.display.across,
        "panels": list(task.display.panels),
        "reference": task.display.reference,
        "rows": points,
    }


def write(chart_data: dict[str, Any], path: Path) -> None:
    """Draw `chart_data` into the SVG file `path`; the same data give the same bytes."""
    import matplotlib

    with matplotlib.rc_context(FONT):
        figure = _across(chart_data) if chart_data["across"] else _dots(chart_data)
        save(figure, chart_data, chart_data["task"], path)


def save(figure: Any, about: dict[str, Any], salt: str, path: Path) -> None:
    """Write a figure into the SVG file `path`, with what it shows; `salt` makes its names."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": salt, **FONT}):
        content = io.BytesIO()
        described = {"Date": None, "Description": json.dumps(about, ensure_ascii=True)}
        figure.savefig(content, format="svg", metadata=described)
    text = re.sub(r"[ \t]+$", "", content.getvalue().decode(), flags=re.MULTILINE)
    atomic_files.write(path, text.encode())


def read(path: Path) -> dict[str, Any]:
    """The data that a chart was drawn from."""
    described = re.search(r"<dc:description>(.*?)</dc:description>", path.read_text(), re.DOTALL)
    if described is None:
        raise ValueError(f"{path} does not hold the data it was drawn from")
    return json.loads(html.unescape(described[1]))


def _panels(chart_data: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each panel by its title; panels differ by data set and the chart's labels."""
    several = len({row["data"] for row in chart_data["rows"]}) > 1
    panels: dict[str, list[dict[str, Any]]] = {}
    for row in chart_data["rows"]:
        words = [row["data"]] if several else []
        labels = row["settings"]
        words += [f"{label} {labels[label]}" for label in chart_data["panels"] if label in labels]
        panels.setdefault(", ".join(words), []).append(row)
    return panels


def _shown(chart_data: dict[str, Any], rows: Sequence[dict]) -> tuple[Any, str, bool]:
    """What is drawn of a value, the axis' name, and whether the axis has to be linear.

    Of accuracies that are close to 1 the errors are drawn.
    """
    metric, direction = chart_data["metric"], chart_data["direction"]
    values = [value for row in rows for value in row["values"] + row["published"]]
    errors = [1 - value for value in values if value < 1]
    bounded = direction == "max" and all(0 <= value <= 1 for value in values)
    if bounded and errors and max(errors) > DECADES * min(errors):
        return (lambda value: 1 - value), f"test error, 1 − {metric} (lower is better)", False
    better = "higher" if direction == "max" else "lower"
    return (lambda value: value), f"test {metric} ({better} is better)", bounded


def _scale(axes: Any, values: Sequence[float], which: str, bounded: bool) -> None:
    """A logarithmic axis where the values span more than a decade, with zero if it occurs."""
    from matplotlib.ticker import LogLocator

    positive = [value for value in values if value > 0]
    if bounded or min(values) < 0 or not positive or max(positive) <= DECADES * min(positive):
        return
    if min(values) > 0:
        axes.set(**{f"{which}scale": "log"})
        wide = max(values) > 300 * min(values)
        axis = getattr(axes, f"{which}axis")
        axis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
        return
    least, largest = min(positive), max(positive)
    getattr(axes, f"set_{which}scale")("symlog", linthresh=least, linscale=0.5)
    getattr(axes, f"set_{which}lim")(-least / 3, 3 * largest)
    # A tick a few decades, so that zero's stands free.
    decades = range(math.ceil(math.log10(least)), math.ceil(math.log10(largest)) + 1)
    ticks = [10.0**decade for decade in decades][:: -(-len(decades) // 6)]
    axis = getattr(axes, f"{which}axis")
    axis.set_ticks([0, *ticks], ["0", *(f"{tick:g}" for tick in ticks)])


def _spread(mean: summary.Estimate) -> list[list[float]]:
    """The lengths of an error bar, which does not cross zero."""
    spread = mean.deviation or 0.0
    return [[min(spread, mean.mean) if mean.mean >= 0 else spread], [spread]]


def _label(row: dict[str, Any], left_out: Sequence[str]) -> str:
    words = [f"{k} {v}" for k, v in row["settings"].items() if k not in left_out]
    return ", ".join([row["model"], *words])


def _legend(figure: Any, chart_data: dict[str, Any]) -> None:
    """Families, what the marks mean, above the panels."""
    from matplotlib.lines import Line2D

    shown = [family for family in STYLES if any(r["family"] == family for r in chart_data["rows"])]
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="none", label=text)
        for color, marker, text in (STYLES[family] for family in shown)
    ]
    grey = dict(color="0.4", linestyle="none")
    counts = {len(row["values"]) for row in chart_data["rows"]} - {0}
    if max(counts, default=1) > 1:
        handles.append(Line2D([], [], marker="o", markersize=3, label="a run", **grey))
        bar = Line2D([], [], marker="o", markersize=6, markerfacecolor="none", color="0.4")
        bar.set_label("mean ± std. deviation")
        handles.append(bar)
    if 1 in counts:
        handles.append(Line2D([], [], marker="o", markersize=6, label="single run", **grey))
    if any(row["published"] for row in chart_data["rows"]):
        bar = dict(marker="|", markersize=11, markeredgewidth=1.6)
        handles.append(Line2D([], [], label="published", **bar, **grey))
    columns = len(handles) if len(handles) <= 5 else 3
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)


def _dots(chart_data: dict[str, Any]) -> Any:
    """A line a row, in a panel for each data set or label; data sets have axes of their own."""
    from matplotlib.figure import Figure

    panels = _panels(chart_data)
    apart = len({row["data"] for row in chart_data["rows"]}) > 1
    heights = [len(rows) + 1.6 + apart for rows in panels.values()]
    figure = Figure(figsize=(7, 0.19 * sum(heights) + 0.9), layout="constrained")
    grid = figure.subplots(
        len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights}, sharex=not apart
    )[:, 0]
    for axes, (title, rows) in zip(grid, panels.items(), strict=True):
        scaled = rows if apart else chart_data["rows"]
        shown, name, bounded = _shown(chart_data, scaled)
        for place, row in enumerate(rows):
            _dot_row(axes, place, row, shown)
        axes.set_yticks(range(len(rows)), [_label(row, chart_data["panels"]) for row in rows])
        axes.set(title=title, ylim=(len(rows) - 0.4, -0.6))
        axes.grid(alpha=0.3)
        values = [shown(v) for row in scaled for v in row["values"] + row["published"]]
        _scale(axes, values, "x", bounded)
        if chart_data["reference"] is not None:
            axes.axvline(chart_data["reference"], color="0.3", linewidth=0.8)
        if apart or axes is grid[-1]:
            axes.set_xlabel(name)
    _legend(figure, chart_data)
    return figure


def _dot_row(axes: Any, place: int, row: dict[str, Any], shown: Any) -> None:
    """Runs as dots, their mean and spread, published values as bars, at one height."""
    color, marker, _ = STYLES[row["family"]]
    values = [shown(value) for value in row["values"]]
    mean = summary.estimate(values)
    if mean is not None:
        axes.plot(values, [place] * len(values), "o", color=color, alpha=0.5, markersize=3)
        style = dict(color=color, marker=marker, markersize=6, capsize=3, linewidth=1)
        style |= dict(markerfacecolor="none" if mean.runs > 1 else color)
        axes.errorbar(mean.mean, place, xerr=_spread(mean), **style)
    for value in row["published"]:
        axes.plot(shown(value), place, "|", color="0.3", markersize=11, markeredgewidth=1.6)


def _across(chart_data: dict[str, Any]) -> Any:
    """A line a model along the values of one label, such as the size; a panel a label."""
    from matplotlib.figure import Figure

    panels, across = _panels(chart_data), chart_data["across"]
    shown, name, bounded = _shown(chart_data, chart_data["rows"])
    figure = Figure(figsize=(max(5, 2.2 * len(panels) + 1), 3.2), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    values = [shown(v) for row in chart_data["rows"] for v in row["values"] + row["published"]]
    for axes, (title, rows) in zip(grid, panels.items(), strict=True):
        lines: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            lines.setdefault(_label(row, [across, *chart_data["panels"]]), []).append(row)
        drawn: list[str] = []
        for label, line in lines.items():
            family = line[0]["family"]
            pattern = LINES[drawn.count(family) % len(LINES)]
            drawn.append(family)
            _line(axes, label, line, across, shown, pattern)
        axes.set(title=title, xlabel=across, xscale="log")
        ticks = sorted({float(row["settings"][across]) for row in rows})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        _scale(axes, values, "y", bounded)
    grid[0].set_ylabel(name)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _line(
    axes: Any, label: str, rows: list[dict[str, Any]], across: str, shown: Any, pattern: str
) -> None:
    """Means and spreads joined by a line, each run a dot, published values as dashes."""
    color, marker, _ = STYLES[rows[0]["family"]]
    places = {float(row["settings"][across]): row for row in rows}
    estimates = {
        place: summary.estimate([shown(value) for value in places[place]["values"]])
        for place in sorted(places)
    }
    means = {place: mean for place, mean in estimates.items() if mean is not None}
    axes.errorbar(
        list(means),
        [mean.mean for mean in means.values()],
        np.concatenate([_spread(mean) for mean in means.values()], axis=1),
        color=color,
        marker=marker,
        markersize=5,
        markerfacecolor="none" if pattern == LINES[0] else color,
        linestyle=pattern,
        linewidth=1,
        capsize=2,
        label=label,
    )
    for place, row in places.items():
        values = [shown(value) for value in row["values"]]
        axes.plot([place] * len(values), values, "o", color=color, alpha=0.5, markersize=2.5)
        for value in row["published"]:
            axes.plot(place, shown(value), "_", color=color, markersize=11, markeredgewidth=1.6)
