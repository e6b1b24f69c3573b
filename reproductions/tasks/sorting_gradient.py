"""How good are the gradients of the quicksort layer, compared with the exact gradient?

With the mean over all balanced choices (`num_samples=None`) the soft sort of Bloem (2018) draws
nothing at random, and its gradient is exact. A layer that draws `samples` choice vectors beside the
rounded one estimates that gradient. `bias` is the distance of the mean estimate from the exact
gradient, and `deviation` the root mean squared distance of an estimate from its mean, both relative
to the norm of the exact gradient. `cosine` is the cosine of the angle between the mean estimate and
the exact gradient. Means are over many estimates, for each of several sets of normal keys in a
wrong order.

`published` draws balanced vectors uniformly and weighs them over all elements at once. `buckets`
weighs them bucket by bucket. `logistic` also draws the likely ones, as the task `sorting` does.
"""

import numpy as np

from reproductions.engine.display import Display
from reproductions.engine.task import Task

MODELS = ("published", "buckets", "logistic")
METRICS = {"bias": "min", "deviation": "min", "cosine": "max"}
LABELS = ("size", "samples")
DATA = {"keys": "normal numbers; what is to be sorted is their order after noise"}
BASE = dict(data="keys", seeds=1, certainty=2.0, noise=1.0)
PRESETS = {
    "smoke": BASE | dict(sizes=(3,), counts=(2,), sets=2, estimates=20),
    "quick": BASE | dict(sizes=(4, 8), counts=(1, 2, 8), sets=20, estimates=2000),
    "full": BASE | dict(sizes=(3, 4, 8, 16), counts=(1, 2, 4, 8, 16), sets=30, estimates=4000),
}
CHUNK = 2000  # estimates at once
KINDS = {
    "published": dict(proposals="uniform", joint=True),
    "buckets": dict(proposals="uniform"),
    "logistic": dict(proposals="logistic"),
}


def configurations(model, preset, data):
    settings = PRESETS[preset]
    base = {k: v for k, v in settings.items() if k not in ("sizes", "counts")}
    return [base | dict(size=n, samples=m) for n in settings["sizes"] for m in settings["counts"]]


def measure(model, config, seed, data):
    from hyperkeras.layers import Quicksort

    rng, n = np.random.default_rng(seed), config["size"]
    rows, exactly = [], Estimator(Quicksort(None, config["certainty"]))
    estimate = Estimator(
        Quicksort(config["samples"], config["certainty"], seed=seed, **KINDS[model])
    )
    for _ in range(config["sets"]):
        keys = rng.normal(size=n).astype("float32")
        order = np.argsort(keys + config["noise"] * rng.normal(size=n))
        (exact,), drawn = exactly(keys, order, 1), estimate(keys, order, config["estimates"])
        mean, norm = drawn.mean(0), np.linalg.norm(exact)
        rows.append(
            {
                "bias": np.linalg.norm(mean - exact) / norm,
                "deviation": np.sqrt(((drawn - mean) ** 2).sum(-1).mean()) / norm,
                "cosine": mean @ exact / (np.linalg.norm(mean) * norm),
            }
        )
    return {
        "metrics": {"test": {key: float(np.mean([row[key] for row in rows])) for key in METRICS}}
    }


class Estimator:
    """Estimates `[count, n]` of a set's gradient, that of the squared error of what is sorted."""

    def __init__(self, layer):
        import tensorflow as tf

        @tf.function
        def gradients(keys, order):
            identity = tf.eye(keys.shape[1], batch_shape=[len(keys)])
            truth = tf.one_hot(order, keys.shape[1])
            with tf.GradientTape() as tape:
                tape.watch(keys)
                sorted_identity, _ = layer(identity, keys, training=True)
                loss = tf.reduce_sum((sorted_identity - truth) ** 2)
            return tape.gradient(loss, keys)

        self.gradients = gradients

    def __call__(self, keys, order, count):
        rows = np.tile(keys, (CHUNK, 1))
        chunks = [
            self.gradients(rows[: count - start], order).numpy() for start in range(0, count, CHUNK)
        ]
        return np.concatenate(chunks)


def plot(records, path):
    """Bias and deviation against the number of samples, a panel a set size."""
    from matplotlib.figure import Figure

    sizes = sorted({run["config"]["size"] for run in records})
    figure = Figure(figsize=(2.4 * len(sizes) + 1.4, 2.8), layout="constrained")
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, n in zip(panels, sizes, strict=True):
        for i, model in enumerate(MODELS):
            runs = [run for run in records if run["model"] == model and run["config"]["size"] == n]
            runs.sort(key=lambda run: run["config"]["samples"])
            counts = [run["config"]["samples"] for run in runs]
            for metric, line in (("bias", "-"), ("deviation", ":")):
                values = [run["metrics"]["test"][metric] for run in runs]
                axes.plot(counts, values, f"o{line}", color=f"C{i}", label=f"{model}: {metric}")
        axes.set(title=f"n = {n}", xlabel="samples", xscale="log")
        axes.set_xticks(counts, map(str, counts))
        axes.minorticks_off()
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("of the exact gradient's norm")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right", fontsize=7)
    figure.savefig(path, dpi=90)


TASK = Task(
    name="sorting_gradient",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    labels=LABELS,
    display=Display(
        families={"sparse": ("buckets", "logistic")}, across="samples", panels=("size",)
    ),
    configurations=configurations,
    plot=plot,
    measure=measure,
)
