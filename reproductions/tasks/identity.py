"""Learning the identity matrix: can n index tuples find its diagonal by gradients alone?

A dense layer learns n² weights for an n × n matrix. A sparse hyperlayer (Bloem 2018) learns n index
tuples from a random start. Three variants are compared: values fixed at 1, free values, and an
adaptive layer, which is wired anew for each input by a source network that must learn to wire all
inputs alike. `solved` is 1 if, at inference, every tuple is on the diagonal, the whole diagonal is
covered, and the error on fresh vectors is 0 (below 1e-6 where values are learned). Training ends
when the validation vectors are solved.
"""

import numpy as np

from reproductions.engine.display import Display
from reproductions.engine.task import Task

MODELS = ("dense", "sparse_fixed", "sparse_free", "sparse_adaptive")
METRICS = {"mse": "min", "solved": "max"}
LABELS = ("size", "values")
DATA = {"normal": "vectors of normal numbers, made as they are needed"}
SAMPLES = dict(global_samples=16, local_samples=8, region=8, sigma_scale=0.1)
PRESETS = {
    "smoke": dict(data="normal", seeds=1, epochs=2, sizes=(4,)),
    "quick": dict(data="normal", seeds=1, epochs=60, sizes=(8, 16)),
    "full": dict(data="normal", seeds=5, epochs=150, sizes=(8, 16, 32, 64)),
}
HARD = 60  # epochs at most of the models that are rarely solved: two cores' time is short
TOLERANCE = 1e-6
FRAMES = (0, 5, 10, 20, 40)  # epochs before which a picture of W is taken
PUBLISHED = (
    dict(model="sparse_fixed", size=8, metric="mse", value=0.0, source="original code", notes=(1,)),
    dict(
        model="sparse_fixed", size=16, metric="mse", value=0.12, source="original code", notes=(1,)
    ),
    dict(model="sparse_free", size=8, metric="mse", value=1.02, source="original code", notes=(1,)),
    dict(model="sparse_fixed", size=32, metric="solved", value=1, source="slides", notes=(2,)),
)
DEVIATIONS = (
    "The published code, run with g = l = 4, region 4, Adam 0.005, on 2048 fresh vectors: n = 8 "
    "after 1000 steps, n = 16 after 3000 steps (15 of 16 tuples on the diagonal), free values "
    "after 3000 steps.",
    "Drawn in the slides, solved after 13,000 steps; of an unknown number of attempts.",
)


def configurations(model, preset, data):
    settings = PRESETS[preset]
    base = dict(epochs=settings["epochs"], steps=100, batch=64, learning_rate=0.01, fresh=2048)
    kinds = {
        "dense": [{}],
        # One draw of tuples a batch: a noisier gradient, at a fraction of the time.
        "sparse_fixed": [SAMPLES | dict(values="fixed", shared=True)],
        "sparse_free": [SAMPLES | dict(values="free", shared=True)],
        "sparse_adaptive": [SAMPLES | dict(values=v, batch=16) for v in ("fixed", "free")],
    }
    if model in ("sparse_free", "sparse_adaptive"):
        base["epochs"] = min(base["epochs"], HARD)
    return [base | kind | dict(size=n) for kind in kinds[model] for n in settings["sizes"]]


class Vectors:
    """Normal vectors `[b, n]` as their own targets."""

    def __init__(self, config):
        self.config = config
        self.valid, self.test = (self._draw(split, config["fresh"]) for split in (1, 2))

    def _draw(self, split, count, *position):
        x = np.random.default_rng((split, *position)).normal(size=(count, self.config["size"]))
        x = x.astype("float32")
        return x, x

    def train(self, seed, epoch):
        for step in range(self.config["steps"]):
            yield self._draw(0, self.config["batch"], seed, epoch, step)


def data(name, config, data_dir):
    return Vectors(config)


def build(model, config, data):
    import keras

    from hyperkeras import layers

    n = config["size"]
    if model == "dense":
        layer = keras.layers.Dense(n, use_bias=False, name="matrix")
    else:
        fixed = config["values"] == "fixed"
        if model == "sparse_adaptive":
            network = keras.layers.Dense(32, activation="relu")
            source = layers.DenseSource(n, network, config["sigma_scale"], fixed_values=fixed)
        else:
            source = layers.FreeSource(
                n, config["sigma_scale"], fixed_values=fixed, shared=config["shared"]
            )
        layer = layers.SparseHyperlayer(
            (n,),
            source,
            global_samples=config["global_samples"],
            local_samples=config["local_samples"],
            region=config["region"],
            name="matrix",
        )
        # Pictures of W on the way are weights, so that an interrupted run keeps them.
        layer.frames = layer.add_weight(
            name="frames", shape=(len(FRAMES), n, 4), initializer="zeros", trainable=False
        )
    network = keras.Sequential([keras.Input((n,)), layer])
    network.compile(keras.optimizers.Adam(config["learning_rate"]), "mse")
    return network


def _tuples(layer, x):
    """Row, column, variance and value of each tuple for the inputs `x`: [b | 1, k, 4]."""
    means, sigmas, values = (np.asarray(array) for array in layer.source(x))
    return np.concatenate([means, sigmas[..., :1], values[..., None]], axis=-1)


def _sparse(network):
    layer = network.get_layer("matrix")
    return layer if hasattr(layer, "source") else None


def before_epoch(network, epoch, config):
    layer = _sparse(network)
    if layer is not None and epoch in FRAMES:
        frames = np.array(layer.frames)
        frames[FRAMES.index(epoch)] = _tuples(layer, np.zeros((1, config["size"]), "float32"))[0]
        layer.frames.assign(frames)


def evaluate(network, x, y, config):
    error = float(np.mean((network.predict(x, batch_size=512, verbose=0) - y) ** 2))
    layer, solved = _sparse(network), error <= TOLERANCE
    if layer is not None:
        cells = np.round(_tuples(layer, x)[..., :2])
        diagonal = np.arange(config["size"])
        solved &= (np.sort(cells, axis=1) == diagonal[:, None]).all()
        solved &= (cells[..., 0] == cells[..., 1]).all()
        if layer.source.fixed_values:
            solved &= error == 0
    return {"mse": error, "solved": float(solved)}


def stop(metrics):
    return metrics["solved"] == 1


def draw(network, data, config, path, traces):
    """W at several steps: tuples as discs of one standard deviation, dark where certain."""
    layer = _sparse(network)
    if layer is None:
        return
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    n, frames = config["size"], np.array(layer.frames)
    taken = [(f"step {FRAMES[i] * config['steps']}", f) for i, f in enumerate(frames) if f.any()]
    taken.append(("chosen", _tuples(layer, np.zeros((1, n), "float32"))[0]))
    figure = Figure(figsize=(2.2 * len(taken), 2.5), layout="constrained")
    for axes, (title, tuples) in zip(figure.subplots(1, len(taken)), taken, strict=True):
        axes.plot([0, n - 1], [0, n - 1], color="0.85", zorder=0)
        for row, column, variance, value in tuples:
            color = "tab:blue" if value > 0 else "tab:red"
            spread = np.sqrt(variance)
            disc = Circle((column, row), spread, color=color, alpha=min(0.5, 0.15 / spread))
            axes.add_patch(disc)
            axes.plot(column, row, ".", color=color, markersize=3, alpha=min(1, abs(value)))
        axes.set(title=title, xlim=(-1, n), ylim=(n, -1), aspect="equal", xticks=(), yticks=())
    figure.savefig(path, dpi=80)


def plot(records, path):
    """Validation error by training steps, a panel a size; lines end where a run was solved."""
    from matplotlib.figure import Figure

    sizes = sorted({run["config"]["size"] for run in records})
    figure = Figure(figsize=(3 * len(sizes), 3), layout="constrained")
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        for color, model in enumerate(MODELS):
            runs = [r for r in records if (r["model"], r["config"]["size"]) == (model, size)]
            for i, run in enumerate(runs):
                curve = run["metrics"]["valid"]["curve"]
                steps = run["config"]["steps"] * np.arange(1, len(curve) + 1)
                label = model if i == 0 else None
                axes.plot(steps, curve, color=f"C{color}", label=label, linewidth=1)
        axes.set(title=f"n = {size}", xlabel="step", ylim=(0, None))
        axes.set_yscale("symlog", linthresh=1e-3)
    panels[0].set_ylabel("validation mse")
    panels[0].legend(fontsize=7)
    figure.savefig(path, dpi=90)


TASK = Task(
    name="identity",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=DEVIATIONS,
    labels=LABELS,
    display=Display(families={"sparse": ("sparse_*",)}, panels=("size",)),
    configurations=configurations,
    data=data,
    build=build,
    evaluate=evaluate,
    before_epoch=before_epoch,
    stop=stop,
    draw=draw,
    plot=plot,
)
