"""Learning how far apart a convolution reads: the dilation as one number that gradients train.

A sparse hyperlayer whose index tuples are those of a convolution becomes a convolution with a
learned dilation (`DilatedConv1D`). On three kinds of noise, sixteen such layers learn from sixteen
fixed random convolutions of dilations 1 to 16, kernel and dilation at once. `found` is the fraction
whose dilation is right after rounding, and `error` is the squared error of the rounded layers over
the targets' variance. On `echo`, a signal has an echo 16 steps later, and the label is whether it
is upside down. Only a network that compares steps 16 apart can tell; `error` is the fraction of
wrong labels.

* `learned` starts with a wide variance and reads a window around each point of the kernel;
* `learned_neighbors` reads the two steps next to it, as linear interpolation does;
* `fixed` is a convolution of a given dilation; on the teachers, of the right one;
* `dense` sees the whole signal, `large_kernel` is a convolution that reaches as far as the largest
  dilation.

`start` is the dilation before training.
"""

import numpy as np

from reproductions.engine.display import Claim, Display
from reproductions.engine.task import Task

MODELS = ("learned", "learned_neighbors", "fixed", "dense", "large_kernel")
METRICS = {"error": "min", "found": "max"}
LABELS = ("start", "dilation")
DATA = {
    "smooth": "targets of convolutions of dilations 1 to 16, on noise that is blurred a little",
    "smoother": "the same on noise that is blurred more",
    "white": "the same on white noise, whose steps are unrelated",
    "echo": "signals with an echo 16 steps later, upright or upside down",
}
LAG = 16  # of the echo
MOST = 24  # the largest dilation that can be learned
# `blur`: standard deviation in steps. `starts`, `dilations`: those of runs on the teachers and
# on echoes.
BASE = dict(data="smooth", length=64, teachers=16, filters=4, batch=16, learning_rate=0.02)
PRESETS = {
    "smoke": BASE
    | dict(seeds=1, epochs=2, steps=3, fresh=16, teachers=3, starts=(1,), dilations=(16,)),
    "quick": BASE
    | dict(seeds=5, epochs=16, steps=50, fresh=256, starts=(1, MOST), dilations=(4, 8, 16)),
    "full": BASE
    | dict(seeds=5, epochs=30, steps=100, fresh=1024, starts=(1, MOST), dilations=(1, 4, 8, 16)),
}
# Of a signal with an echo: it is longer, and training starts between the ends, too.
ECHO = dict(length=96, filters=8, batch=64)
ECHO_STARTS = (1, 8, MOST)
BLURS = {"white": 0.0, "smooth": 2.0, "smoother": 5.0, "echo": 2.0}  # standard deviations in steps
# Standard deviation of a tuple at the start, in steps, and what it samples.
READS = {
    "learned": dict(deviation=4.0, global_samples=0, local_samples=8, region=17),
    "learned_neighbors": dict(deviation=1.0, global_samples=0, local_samples=0, region=None),
}
CLAIMS = tuple(
    Claim(preset="quick", **asked)
    for asked in (
        dict(
            what="On blurred noise, a learned dilation ends where the right one, given, ends.",
            ours="learned",
            baseline="fixed",
            labels={"start": 1},
            level=True,
        ),
        dict(
            what="It needs more than its two neighbours to get there.",
            ours="learned",
            baseline="learned_neighbors",
            metric="found",
            labels={"start": 1},
        ),
        dict(
            what="On echoes it is better than a kernel that reaches as far.",
            ours="learned",
            baseline="large_kernel",
            data="echo",
            labels={"start": 8},
        ),
        dict(
            what="And better than a dense layer.",
            ours="learned",
            baseline="dense",
            data="echo",
            labels={"start": 8},
        ),
    )
)


def configurations(model, preset, data):
    settings = PRESETS[preset]
    base = {k: v for k, v in settings.items() if k not in ("starts", "dilations")}
    echo = data == "echo"
    base |= ECHO if echo else {}
    if model in READS:
        starts = ECHO_STARTS if echo and len(settings["starts"]) > 1 else settings["starts"]
        return [base | READS[model] | dict(start=start) for start in starts]
    if model == "fixed":
        return [base | dict(dilation=d) for d in settings["dilations"]] if echo else [base]
    return [base] if echo else []


class Signals:
    """Noise `[b, length, 1]` of variance 1, blurred by a Gaussian."""

    def __init__(self, config, blur):
        self.config = config
        reach = int(np.ceil(3 * blur))
        taps = np.exp(-np.square(np.arange(-reach, reach + 1) / max(blur, 1e-3)) / 2)
        self.taps = taps / np.linalg.norm(taps)
        self.valid, self.test = (self.draw(config["fresh"], split) for split in (1, 2))

    def train(self, seed, epoch):
        for step in range(self.config["steps"]):
            yield self.draw(self.config["batch"], 0, seed, epoch, step)

    def noise(self, rng, count, length):
        white = rng.normal(size=(count, length + len(self.taps) - 1))
        windows = np.lib.stride_tricks.sliding_window_view(white, len(self.taps), axis=1)
        return windows @ self.taps

    def draw(self, count, *position):
        raise NotImplementedError


class Teachers(Signals):
    """Noise, and what a convolution of each dilation makes of it `[b, length, n, filters]`."""

    def __init__(self, config, blur):
        self.kernels = np.random.default_rng(5).normal(
            size=(config["teachers"], 3, config["filters"])
        )
        super().__init__(config, blur)

    def draw(self, count, *position):
        length = self.config["length"]
        x = self.noise(np.random.default_rng(position), count, length)
        padded = np.pad(x, [(0, 0), (LAG, LAG)])
        targets = []
        for d, kernel in enumerate(self.kernels, start=1):
            points = [padded[:, LAG + o * d :][:, :length] for o in (-1, 0, 1)]
            targets.append(np.stack(points, axis=-1) @ kernel)
        return x[..., None].astype("float32"), np.stack(targets, axis=2).astype("float32")


class Echoes(Signals):
    """Noise with its echo, and whether the echo is upright: `[b]`."""

    def draw(self, count, *position):
        rng = np.random.default_rng(position)
        x = self.noise(rng, count, self.config["length"] + LAG)
        upright = rng.integers(0, 2, count)
        x = x[:, LAG:] + 0.8 * np.where(upright, 1, -1)[:, None] * x[:, :-LAG]
        return x[..., None].astype("float32"), upright.astype("int32")


def data(name, config, data_dir):
    return (Echoes if name == "echo" else Teachers)(config, BLURS[name])


def build(model, config, data):
    from reproductions.tasks.dilation import networks

    make = networks.detector if isinstance(data, Echoes) else networks.students
    return make(model, config, MOST)


def convolutions(network):
    """The layers whose dilation is learned."""
    return [layer for layer in network.layers if hasattr(layer, "dilation")]


def dilations(network):
    return [float(layer.dilation) for layer in convolutions(network)]


def evaluate(network, x, y, config):
    """`error` of what is rounded; with a teacher for each dilation, over the targets' variance."""
    learned = np.round(dilations(network))
    outputs = network.predict(x, batch_size=256, verbose=0)
    if y.ndim == 1:
        error, right = np.mean(outputs.argmax(-1) != y), np.array([LAG])
    else:
        error, right = np.mean(np.square(outputs - y)) / np.var(y), np.arange(1, y.shape[2] + 1)
    found = {"found": float(np.mean(learned == right))} if len(learned) else {}
    return {"error": float(error)} | found


def trace(network, data, config):
    """The dilations after each epoch."""
    return np.round(dilations(network), 3).tolist() or None


def draw(network, data, config, path, traces):
    """Dilations over steps, with the right ones as lines."""
    if not traces:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    curves = np.array([[config["start"]] * len(traces[0]), *traces])
    right = np.arange(1, curves.shape[1] + 1) if curves.shape[1] > 1 else [LAG]
    steps = config["steps"] * np.arange(len(curves))
    for i, d in enumerate(right):
        color = f"C{i % 10}"
        axes.axhline(d, color=color, linewidth=0.6, linestyle=":")
        axes.plot(steps, curves[:, i], color=color, linewidth=1.2)
    axes.set(xlabel="step", ylabel="dilation", ylim=(0, MOST + 1), xlim=(0, steps[-1]))
    axes.set_title("dotted: the dilation to be found", fontsize=9)
    figure.savefig(path, dpi=90)


TASK = Task(
    name="dilation",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    labels=LABELS,
    display=Display(
        families={"sparse": ("learned*",)},
        only={"found": ("learned*",)},
        claims=CLAIMS,
    ),
    configurations=configurations,
    data=data,
    build=build,
    evaluate=evaluate,
    trace=trace,
    draw=draw,
)
