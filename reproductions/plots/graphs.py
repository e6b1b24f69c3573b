"""Pictures of the tasks on graphs."""

import statistics


def compare(records, models, metrics, path):
    """Each model's test figures, a panel a data set: a dot for each run, a ring for the mean."""
    from matplotlib.figure import Figure

    names = sorted({run["data"] for run in records})
    figure = Figure(figsize=(2.6 * len(names) + 1, 2.6), layout="constrained")
    panels = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for m, metric in enumerate(metrics):
            for place, model in enumerate(reversed(models)):
                values = [
                    run["metrics"]["test"][metric]
                    for run in records
                    if (run["data"], run["model"]) == (name, model)
                ]
                height, color = [place - 0.2 * m] * len(values), f"C{m}"
                axes.plot(values, height, ".", color=color, alpha=0.4)
                if values:
                    mean = statistics.fmean(values)
                    axes.plot(mean, height[0], "o", color=color, fillstyle="none")
            axes.plot([], [], "o", color=f"C{m}", label=metric)
        axes.set(title=name, yticks=range(len(models)), yticklabels=models[::-1])
        axes.set_ylim(-0.6, len(models) - 0.4)
        axes.grid(axis="x", alpha=0.3)
    if len(metrics) > 1:
        panels[0].legend(fontsize=7)
    figure.savefig(path, dpi=90)
