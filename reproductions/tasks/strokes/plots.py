"""Pictures of drawings, and the page that draws them while bars show the weight changes."""

import json
from pathlib import Path

import numpy as np

from reproductions.engine import atomic_files

TEMPLATE = Path(__file__).with_name("page.html")
GATES = ("input", "forget", "candidate", "output")


def lines(points):
    """A drawing's strokes `[n, 2]`: each from where the pen comes down to where it lifts."""
    places, lifts = np.cumsum(points[:, :2], axis=0), np.flatnonzero(points[:, 2]) + 1
    return [stroke for stroke in np.split(places, lifts) if len(stroke)]


def show(axes, points):
    from matplotlib.collections import LineCollection

    strokes = [np.repeat(line, 2, axis=0) if len(line) == 1 else line for line in lines(points)]
    axes.add_collection(LineCollection(strokes, colors="k", linewidths=0.8, capstyle="round"))
    axes.autoscale_view()
    axes.set(xticks=(), yticks=(), aspect="equal")
    axes.invert_yaxis()


def samples(rows, changes, path):
    """Rows of drawings, `{title: list of [t, 3]}`; below, the first of the last with its bars."""
    from matplotlib.figure import Figure

    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(1.5 * columns, 1.1 * len(rows) + 1.6 * (changes is not None)))
    figure.set_layout_engine("constrained")
    parts = figure.subfigures(
        2 if changes is not None else 1,
        1,
        height_ratios=[1.1 * len(rows), 1.6][: 1 + (changes is not None)],
        squeeze=False,
    )[:, 0]
    panels = parts[0].subplots(len(rows), columns, squeeze=False)
    for row, (title, drawings) in zip(panels, rows.items(), strict=True):
        row[0].set_ylabel(title, fontsize=8)
        for axes, drawing in zip(row, drawings, strict=True):
            show(axes, drawing)
    if changes is not None:
        axes = parts[1].subplots()
        image = axes.imshow(changes.T, aspect="auto", cmap="Blues", vmin=0, interpolation="none")
        axes.set_yticks(range(4), GATES, fontsize=8)
        axes.set_xlabel(f"point of the first drawing of {list(rows)[-1]}", fontsize=8)
        axes.set_title("change of the weights from the state to each gate", fontsize=8)
        parts[1].colorbar(image, ax=axes)
    figure.savefig(path, dpi=80)


def rounded(array, digits):
    return np.asarray(array, "float64").round(digits).tolist()


def store(drawings, changes, about, path):
    """What a page shows, as JSON: `drawings` [t, 3] with their `changes` [t, 4]."""
    rows = [
        {"points": rounded(points, 3), "changes": rounded(change, 4)}
        for points, change in zip(drawings, changes, strict=True)
    ]
    data = json.dumps({"about": about, "drawings": rows}, separators=(",", ":"))
    atomic_files.write(path, data.encode())


def page(stored, path):
    """One HTML file of stored drawings, which needs no network; its path."""
    data = stored.read_text(encoding="utf-8")
    html = TEMPLATE.read_text(encoding="utf-8").replace("DRAWINGS", data.replace("<", "\\u003c"))
    path.write_text(html, encoding="utf-8")
    return path
