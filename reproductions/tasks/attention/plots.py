"""Pictures of the attention task."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

RED = "tab:red"


def test_images(x, y, guesses, looks, path):
    """Images with what is looked at; above, the prediction, and the digit if another."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    for i, axes in enumerate(figure.subplots(2, 8).flat):
        axes.set_axis_off()
        if i < len(x):
            _show(axes, x[i], None if looks is None else looks[i])
            correct = guesses[i] == y[i]
            title = f"{guesses[i]}" if correct else f"{guesses[i]}, is {y[i]}"
            axes.set_title(title, fontsize=9, color="black" if correct else RED)
    figure.savefig(path, dpi=100)


def epochs(x, traces, path):
    """The same images, one a row, with what was looked at after some of the epochs."""
    steps = sorted({round(step) for step in np.geomspace(1, len(traces), 8)})
    figure = Figure(figsize=(len(steps), len(x) + 0.3), layout="constrained")
    grid = figure.subplots(len(x), len(steps), squeeze=False)
    for column, step in zip(grid.T, steps, strict=True):
        for axes, image, looks in zip(column, x, traces[step - 1], strict=True):
            _show(axes, image, np.array(looks))
            axes.set_axis_off()
        column[0].set_title(f"epoch {step}", fontsize=8)
    figure.savefig(path, dpi=100)


def _show(axes, image, looks):
    axes.imshow(image[:, :, 0], cmap="gray_r", vmin=0, vmax=1)
    for corners in () if looks is None else looks:
        axes.add_patch(Polygon(corners[:, ::-1], fill=False, color=RED, linewidth=0.8))
