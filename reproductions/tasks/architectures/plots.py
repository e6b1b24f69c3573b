"""A picture of a preset's records: how predicted accuracies rank networks, and what they start."""

import numpy as np

from reproductions.tasks.architectures import ranking


def plot(records, path):
    """A panel a model: figure against trained accuracy; below, training from predicted weights."""
    from matplotlib.figure import Figure

    data = records[0]["data"]
    groups = {}
    for run in records:
        if run["data"] == data:
            groups.setdefault(run["model"], []).append(run)
    ranked = {name: runs for name, runs in groups.items() if name != "trained"}
    columns = max(1, (len(ranked) + 1) // 2)
    figure = Figure(figsize=(2.3 * columns, 7.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2, 1))
    if ranked:
        panels = above.subplots(2, columns, squeeze=False).flat
        for axes, (name, runs) in zip(panels, ranked.items(), strict=False):
            _scatter(axes, name, runs)
        for axes in list(panels)[len(ranked) :]:
            axes.set_visible(False)
        above.suptitle("networks never trained on: trained accuracy over the figure", fontsize=9)
    axes = below.subplots()
    for name, runs in groups.items():
        curves = [run["metrics"]["valid"]["curve"] for run in runs]
        if curves[0] is not None:
            label = "He start" if name == "trained" else name
            axes.plot(runs[0]["config"]["marks"], np.mean(curves, axis=0), "o-", ms=3, label=label)
    axes.set_xscale("symlog", linthresh=10)
    axes.set(xlabel="steps of training from the weights", ylabel="accuracy", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=90)


def _scatter(axes, name, runs):
    """The networks of all seeds, and the mean of the seeds' τ."""
    taus = []
    for run in runs:
        valid = run["metrics"]["valid"]
        figures, trained = valid["figures"]["test"], valid["trained"]
        taus.append(ranking.kendall(figures, trained))
        axes.plot(figures, trained, "o", ms=3, alpha=0.6)
    if name == "parameter_count":
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter("")  # whose numbers would run into each other
    axes.set_title(f"{name}: τ = {np.mean(taus):.2f}", fontsize=8)
    axes.tick_params(labelsize=7)
