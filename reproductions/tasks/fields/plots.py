"""Pictures of the fields task: reconstructions, and PSNR against bits."""

import statistics

import numpy as np
from matplotlib.figure import Figure


def reconstructions(images, versions, path):
    """Images, one a row, beside versions {title: [image, ...]}."""
    shown = min(3, len(images))
    columns = {"original": images} | versions
    figure = Figure(figsize=(2.6 * len(columns), 2.0 * shown), layout="constrained")
    grid = figure.subplots(shown, len(columns), squeeze=False)
    for j, (title, column) in enumerate(columns.items()):
        for i in range(shown):
            axes = grid[i, j]
            axes.imshow(np.clip(column[i], 0, 1))
            axes.set_axis_off()
            if title != "original":
                error = np.mean(np.square(np.clip(column[i], 0, 1) - images[i]))
                axes.set_title(f"{-10 * np.log10(error):.1f} dB", fontsize=8)
        grid[0, j].annotate(title, (0.5, 1.25), xycoords="axes fraction", ha="center", fontsize=9)
    figure.savefig(path, dpi=100)


def rates(records, path):
    """PSNR against bits a pixel: a line for each model and size over its bit depths, and JPEG."""
    sets = sorted({run["data"] for run in records})
    figure = Figure(figsize=(5.2 * len(sets), 4.2), layout="constrained")
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    for axes, name in zip(panels, sets, strict=True):
        runs = [run for run in records if run["data"] == name]
        models = list(dict.fromkeys(run["model"] for run in runs))
        for color, model in enumerate(models):
            groups = {}
            for run in runs:
                if run["model"] == model:
                    config = run["config"]
                    key = config.get("numbers"), config.get("quality")
                    groups.setdefault(key, []).append(run["metrics"]["test"])
            lines = [points(group) for group in groups.values()]
            if model == "jpeg":
                lines = [sorted(point for line in lines for point in line)]
            for i, line in enumerate(lines):
                axes.plot(
                    *zip(*line, strict=True),
                    ".-" if model != "jpeg" else "--",
                    color="black" if model == "jpeg" else f"C{color}",
                    label=model if i == 0 else None,
                )
        axes.set(xlabel="bits a pixel", ylabel="PSNR, dB", title=name, xlim=(0, None))
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


def points(tests):
    """(bits a pixel, PSNR) of a row's runs, for each bit depth."""
    found = []
    for key in sorted(tests[0]):
        if key.startswith("bpp"):
            psnr = "psnr" + key.removeprefix("bpp")
            means = [statistics.fmean(test[name] for test in tests) for name in (key, psnr)]
            found.append(tuple(means))
    return sorted(found)
