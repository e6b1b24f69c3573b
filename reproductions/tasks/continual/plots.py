"""Curves of continual learning."""

import numpy as np


def curves(titled, path):
    """Each task's validation accuracy as later ones arrive, a panel a title, a row a data set.

    Args:
        titled: List of pairs (title, record).
        path: Path of the picture.
    """
    from matplotlib.figure import Figure

    groups = {}
    for title, run in titled:
        lines = groups.setdefault(run["data"], {}).setdefault(title, [])
        lines.append(run["metrics"]["valid"]["curves"])
    columns = max(map(len, groups.values()))
    size = (2.6 * columns, 2.8 * len(groups))
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subplots(len(groups), columns, sharey="row", squeeze=False)
    for panels, (data, panel_runs) in zip(rows, sorted(groups.items()), strict=True):
        for axes in panels[len(panel_runs) :]:
            axes.set_axis_off()
        for axes, (title, runs) in zip(panels, panel_runs.items(), strict=False):
            _panel(axes, np.mean(runs, axis=0))
            axes.set_title(title, fontsize=10)
        panels[0].set_ylabel(f"{data}\naccuracy, task known")
        panels[0].legend(fontsize=7)
    figure.savefig(path, dpi=90)


def _panel(axes, lines):
    """One mean of runs [after, task]."""
    count = lines.shape[1]
    for t in range(count):
        if len(lines) == 1:  # all at once
            axes.axhline(lines[0, t], color=f"C{t}", label=f"task {t + 1}")
        else:
            after = np.arange(t + 1, len(lines) + 1)
            axes.plot(after, lines[t:, t], "o-", color=f"C{t}", label=f"task {t + 1}")
    axes.set(xlabel="tasks learned", xlim=(0.7, count + 0.3))
