"""The picture of classifiers of images: error while they learn, and error against parameters."""

import statistics

from matplotlib.figure import Figure


def errors(records, path):
    """Validation error against images seen, and test error against parameters."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    groups = {}
    for run in records:
        groups.setdefault((run["model"], run["data"], str(run["config"])), []).append(run)
    for i, ((model, *_), runs) in enumerate(groups.items()):
        config, style = runs[0]["config"], dict(color=f"C{i % 10}", label=model)
        lines = [run["metrics"]["valid"]["curve"] for run in runs]
        errors = [1 - statistics.fmean(values) for values in zip(*lines, strict=True)]
        seen = [(n + 1) * config["steps"] * config["batch"] for n in range(len(errors))]
        left.plot(seen, errors, linestyle="-" if i < 10 else "--", **style)
        for run in runs:
            right.plot(
                run["parameters"]["trainable"] / 1000,
                1 - run["metrics"]["test"]["accuracy"],
                marker="o" if i < 10 else "s",
                **style,
            )
    left.set(yscale="log", xlabel="training images seen", ylabel="validation error")
    right.set(yscale="log", xlabel="thousand parameters", ylabel="test error")
    # From zero on, so that models of nearly equal size stand above each other.
    right.set_xlim(0, 1.2 * max(run["parameters"]["trainable"] for run in records) / 1000)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=100)
