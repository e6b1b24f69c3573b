"""A picture of a preset's records: returns by size, as training goes, and the smallest policy."""

import numpy as np


def plot(records, path):
    """Returns of all policies over their sizes; training; frames of the smallest policy."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(run["data"] for run in records))
    figure = Figure(figsize=(9, 6.2 * len(names)), layout="constrained")
    for part, name in zip(np.atleast_1d(figure.subfigures(len(names))), names, strict=True):
        runs = [run for run in records if run["data"] == name]
        part.suptitle(name.replace("_", " "))
        shown = [run for run in runs if run["model"] == "hyperppo"]
        above, below = part.subfigures(2, 1, height_ratios=(4, 0.9 if shown else 0.01))
        left, right = above.subplots(1, 2, sharey=True)
        _sizes(left, runs)
        _training(right, runs)
        low, high = left.get_ylim()
        left.set_ylim(low - 0.35 * (high - low), high)  # room for the legends
        if shown:
            _strip(below, min(shown, key=lambda run: run["seed"])["metrics"]["valid"])
    figure.savefig(path, dpi=90)


def _sizes(axes, runs):
    """A dot a policy, the mean of its seeds; a star a net that PPO trained alone."""
    for color, model in zip(("C0", "C1", "C2"), dict.fromkeys(_hyper(runs)), strict=False):
        group = [run["metrics"]["valid"] for run in runs if run["model"] == model]
        returns = np.mean([valid["reporting"] for valid in group], axis=0)
        sizes = group[0]["parameters"]
        axes.plot(sizes, returns, "o", ms=3, alpha=0.6, color=color, label=model)
        if model == "hyperppo":
            axes.plot(
                [valid["parameters"][valid["smallest"]] for valid in group],
                [valid["reporting"][valid["smallest"]] for valid in group],
                *("s",),
                **dict(ms=7, mfc="none", color="k", label="smallest good one of a seed"),
            )
        floor = group[0]["floor"]
        axes.axhline(floor, color="0.6", lw=0.8, ls=":")
    for budget, mark in (("total", "*"), ("own", "x")):
        group = [run for run in runs if run["config"].get("budget") == budget]
        for k, net in enumerate(dict.fromkeys(run["config"]["net"] for run in group)):
            mine = [r["metrics"] for r in group if r["config"]["net"] == net]
            label = f"ppo alone, {budget} steps" if k == 0 else None
            size = mine[0]["valid"]["parameters"][0]
            mean = np.mean([metrics["test"]["return"] for metrics in mine])
            axes.plot(size, mean, mark, ms=9, color="C3", label=label)
    axes.set_xscale("log")
    axes.set(xlabel="weights of the policy", ylabel="mean return")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=2, loc="lower center")


def _hyper(runs):
    return [run["model"] for run in runs if run["model"] != "ppo"]


def _training(axes, runs):
    """Returns of some networks as training goes, means over seeds."""
    curves = {}
    for run in runs:
        curve = run["metrics"]["valid"]["curve"]
        whole = run["model"] == "hyperppo" or run["config"].get("budget") == "total"
        for net in curve if whole else ():
            if net != "steps":
                kept = curves.setdefault((run["model"], net), {"steps": curve["steps"], "y": []})
                kept["y"].append(curve[net])
    nets = list(dict.fromkeys(net for _, net in curves))
    for (model, net), kept in curves.items():
        style = "-" if model == "hyperppo" else "--"
        color = f"C{nets.index(net)}"
        label = f"{model}, {net}"
        axes.plot(kept["steps"], np.mean(kept["y"], axis=0), style, color=color, label=label)
    axes.set(xlabel="steps of the environment")
    axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=2, loc="lower center")


def _strip(figure, valid):
    """Frames side by side, of one scale; what is in the middle stays there."""
    frames = valid["frames"]
    smallest = valid["smallest"]
    net, size = valid["names"][smallest], valid["parameters"][smallest]
    figure.suptitle(f"the smallest good policy: hidden layers {net}, {size} weights", fontsize=9)
    panels = figure.subplots(1, len(frames))
    points = np.array([line[:4] for frame in frames for line in frame]).reshape(-1, 2)
    low, high = points[:, 1].min() - 0.15, points[:, 1].max() + 0.15
    reach = max(
        np.ptp(np.array([line[:4] for line in frame]).reshape(-1, 2)[:, 0]) for frame in frames
    )
    half = max(reach / 2 + 0.15, (high - low) / 2)
    for axes, frame in zip(np.atleast_1d(panels), frames, strict=True):
        x = np.array([line[:4] for line in frame]).reshape(-1, 2)[:, 0]
        middle = (x.min() + x.max()) / 2 if len(frame) > 1 else 0.0
        for a, b, c, d, width in frame:
            axes.plot([a, c], [b, d], lw=max(1.5, 30 * width), color="C0", solid_capstyle="round")
        if len(frame) == 1:  # a rod turns around its first end
            axes.plot(*frame[0][:2], "o", ms=4, color="k")
        axes.set(xlim=(middle - half, middle + half), ylim=(low, high), xticks=[], yticks=[])
        axes.set_aspect("equal")
        if len(frame) > 1:  # the picture goes along with what it shows
            axes.set_xlabel(f"{middle:.1f} m", fontsize=7)
