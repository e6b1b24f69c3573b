"""A picture of a preset's records: accuracy as tasks arrive, and how far a box is certified."""

import numpy as np


def plot(records, path):
    """Above, each task's validation accuracy, a panel a model; below, what is certified."""
    from matplotlib.figure import Figure

    data = records[0]["data"]
    groups = {}
    for run in records:
        if run["data"] == data:
            groups.setdefault(_title(run), []).append(run["metrics"]["valid"])
    figure = Figure(figsize=(2.1 * len(groups), 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1)
    panels = above.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (title, runs) in zip(panels, groups.items(), strict=True):
        _curves(axes, np.mean([run["curves"] for run in runs], axis=0))
        one = np.mean([run["one_network"] for run in runs], axis=0)
        for t, value in enumerate(one):
            axes.plot(len(one) + 0.6, value, "x", color=f"C{t}")
        axes.set_title(title, fontsize=9)
        axes.set(xlabel="tasks learned", xlim=(0.7, len(one) + 0.9))
    panels[0].set_ylabel("accuracy")
    panels[0].legend(fontsize=6, loc="lower left")
    above.suptitle("task known; crosses: the one network for all tasks", fontsize=9)
    axes = below.subplots()
    for title, runs in groups.items():
        boxes = [run["boxes"] for run in runs if run["boxes"]]
        if boxes:
            values = np.array([each["certified"] for each in boxes])
            shares, mean = boxes[0]["shares"], values.mean(axis=0)
            (line,) = axes.plot(shares, mean, "o-", label=title.replace("\n", ", "))
            axes.fill_between(
                shares, values.min(0), values.max(0), color=line.get_color(), alpha=0.2
            )
    axes.set(xlabel="share of the box's radius", ylabel="certified accuracy", ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=90)


def _title(run):
    beta = run["config"].get("beta")
    return run["model"] + ("" if beta is None else f"\nβ = {beta:g}")


def _curves(axes, curves):
    """A line a task over the tasks learned `[after, task]`; all at once are level lines."""
    for t in range(curves.shape[1]):
        if len(curves) == 1:
            axes.axhline(curves[0, t], color=f"C{t}", label=f"task {t + 1}")
        else:
            after = np.arange(t + 1, len(curves) + 1)
            axes.plot(
                after, curves[t:, t], "o-", color=f"C{t}", markersize=3, label=f"task {t + 1}"
            )
