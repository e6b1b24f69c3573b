"""Pictures of the text task."""

import statistics

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

GATES = {"input": "tab:blue", "forget": "tab:red", "candidate": "tab:green", "output": "tab:purple"}
COLUMNS, STRIP = 72, 0.2  # characters a line; a strip's height, where a line's is 2


def weight_changes(text, changes, path):
    """Text with four strips below each line: how far each gate's matrix moved before a character.

    A strip is white where its matrix moved least and in its full color where it moved most,
    but for a hundredth of the characters at either end.
    """
    low, high = np.percentile(changes, [1, 99], axis=0)
    shade = np.clip((changes - low) / np.maximum(high - low, 1e-12), 0, 1)
    ends = [*np.flatnonzero([character == "\n" for character in text]), len(text)]
    lines, start = [], 0
    for end in ends:  # an end of line is shown, since the network draws it, too
        end = min(end + 1, len(text))
        lines += [range(at, min(at + COLUMNS, end)) for at in range(start, end, COLUMNS)]
        start = end
    figure = Figure(figsize=(9, 0.36 * len(lines) + 0.7))
    axes = figure.add_axes([0.02, 0.02, 0.96, 1 - 0.6 / figure.get_figheight()])
    axes.set(xlim=(0, COLUMNS), ylim=(2 * len(lines), 0))
    axes.set_axis_off()
    colors = np.array([to_rgb(color) for color in GATES.values()])
    for row, places in enumerate(lines):
        for column, place in enumerate(places):
            end = text[place] == "\n"
            axes.text(
                column + 0.5,
                2 * row + 0.85,
                "¶" if end else text[place],
                color="0.6" if end else "black",
                horizontalalignment="center",
                family="monospace",
                fontsize=11,
                parse_math=False,
            )
        if len(places):
            strips = 1 - shade[list(places)].T[..., None] * (1 - colors[:, None])  # [4, t, 3]
            box = (0, len(places), 2 * row + 1.15 + 4 * STRIP, 2 * row + 1.15)
            axes.imshow(strips, extent=box, aspect="auto", interpolation="nearest")
    axes.set(xlim=(0, COLUMNS), ylim=(2 * len(lines), 0))
    handles = [Patch(color=color, label=gate) for gate, color in GATES.items()]
    figure.legend(
        handles=handles,
        title="change of the weights from h to each gate, before the character was drawn",
        loc="upper center",
        ncols=4,
        fontsize=8,
        title_fontsize=8,
        frameon=False,
    )
    figure.savefig(path, dpi=110)


def curves(records, order, path):
    """Validation bits a character against characters seen, and against the processor's minutes.

    Models stand in the `order` of their names.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    groups = {}
    for run in records:
        groups.setdefault((run["model"], run["data"], str(run["config"])), []).append(run)
    ordered = sorted(groups.items(), key=lambda group: (order.index(group[0][0]), group[0]))
    for i, ((model, data, _), runs) in enumerate(ordered):
        config, valid = runs[0]["config"], [run["metrics"]["valid"] for run in runs]
        bits = _mean(metrics["curve"] for metrics in valid)
        a_epoch = config["steps"] * config["batch"] * config["length"] / 1e6
        minutes = np.cumsum(_mean(metrics.get("processor_seconds", []) for metrics in valid)) / 60
        style = dict(color=f"C{i % 10}", linestyle="-" if i < 10 else "--")
        style |= dict(label=f"{model}, {data}", marker=".", markersize=3)
        panels[0].plot([a_epoch * (n + 1) for n in range(len(bits))], bits, **style)
        panels[1].plot(minutes, bits[: len(minutes)], **style)
    panels[0].set(xlabel="million characters seen", ylabel="validation bits a character")
    panels[1].set(xlabel="minutes of one core")
    lines = [value for line in panels[0].lines for value in line.get_ydata()]
    panels[0].set_ylim(min(lines) - 0.05, np.percentile(lines, 90) + 0.05)
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=100)


def _mean(lines):
    return [statistics.fmean(values) for values in zip(*lines, strict=False)]
