"""Pictures of the isomorphism task."""

import numpy as np
from matplotlib.figure import Figure


def embeddings(parts, path):
    """Embeddings `{title: (z [m, d], classes [m])}` in the plane of their largest variance."""
    figure = Figure(figsize=(4.2 * len(parts), 4), layout="constrained")
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    for axes, (title, (z, classes)) in zip(panels, parts.items(), strict=True):
        z = z - z.mean(axis=0)
        _, sizes, directions = np.linalg.svd(z, full_matrices=False)
        plane = z @ directions[:2].T
        share = np.sum(sizes[:2] ** 2) / max(np.sum(sizes**2), 1e-12)
        axes.scatter(*plane.T, c=classes, cmap="nipy_spectral", s=12, alpha=0.5, linewidths=0)
        axes.set(title=f"{title}, {share:.0%} of variance", xticks=(), yticks=())
    figure.savefig(path, dpi=90)
