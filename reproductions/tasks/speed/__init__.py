"""Time and memory of a training step: each layer against another way to compute the same.

`ratio` is the other's median time over ours. The two take turns, so that both meet the same noise.
`mb` is what a process that does nothing else takes above what it held before the step was built.
A step is forward and backward from a given gradient, and for a whole layer an Adam update.

* `contract`: the sparse product of 20,000 unsorted tuples, 4096 → 4096, against
  `tf.sparse.sparse_dense_matmul` under TensorFlow's own gradient;
* `contract_dense`: the same against a dense layer of 4096 × 4096;
* `identity_step`: a `SparseHyperlayer` of n = k = 128 against the same equations written plainly,
  with all differences `[b, i, k, r]` at once and differentiated by TensorFlow;
* `identity_step_shared`: the same layer with `FreeSource(shared=True)`, tuples drawn once a batch,
  against tuples drawn for each sample;
* `glimpse`: a `Glimpse` of an image, drawn tuples and all, against a spatial transformer's
  bilinear crop that the same localization network places;
* `glimpse_neighbors`: the same two; a point reads the four pixels around it, as the crop does, and
  draws none (the layer's default), where `glimpse` draws sixteen more;
* `glimpse_conv`: as `glimpse`, placed by the published code's localization network, six
  convolutions and two dense layers, 10 million weights;
* `wide_resnet`: WRN-n-1 with generated kernels, a batch of 32×32 images, against the same network
  with kernels of its own;
* `quicksort`: the soft sort of sets of n elements of 784 numbers, whose splits are multiplied with
  each other before the elements, against a sparse product of the elements a split;
* `growth`: n inputs, n outputs and n tuples in chunks of 10 against a dense layer;
* `autoencoder_step`: the sparse network of the task `autoencoder`, two layers wired by affine maps,
  against its dense one, which has as many weights;
* `hyper_lstm`, `layer_norm_lstm`, `hyper_rnn`: forward and backward against `keras.layers.LSTM` of
  the same units; `hyper_lstm_length`: the first for longer and longer sequences (its size);
* `hyper_lstm_compile`: compiling, for sequences of as many different lengths as its size: what
  first steps take longer than second ones, each time in a new process;
* `hyper_lstm_cell`: the layer against its cell in `keras.layers.RNN`;
* `hyper_rnn_forms`: scaled rows against generated matrices, over 10 steps;
* `per_sample_mlp`: a `Hypernetwork` of three dense layers, weights for each of 64 samples, against
  the same with one set of weights for all: the ratio is the price of weights a sample;
* `per_sample_conv`: a 3 × 3 convolution with a kernel a sample against `vectorized_map`;
* on JAX and PyTorch (`KERAS_BACKEND`) the recurrent layers, `per_sample_mlp` and the sparse layers'
  training steps can be measured;
* `graph_conv`, `graph_transform`: the sparse layers on a random graph of n nodes and 10 n edges
  against a GCN layer: time and memory against edges;
* `tuples_over_devices`, on JAX alone: a step of a layer whose tuples eight logical devices of the
  processor share, against the same on one device; `mb` is what a device holds for it;
* `head_*`: the heads of a hypernetwork, which make the weights of eight equal dense layers from 32
  features, for four conditions, against a dense layer that makes as many numbers (`size`). Their
  `ms` are of the processor, on one thread, and do not count other processes.
"""

import multiprocessing
import statistics
import time
from pathlib import Path

from reproductions.engine import records as records_of_runs
from reproductions.engine.display import Display
from reproductions.engine.task import Task
from reproductions.tasks.speed import device_steps, graph_steps, head_steps, recurrent_steps, steps

MODELS = (
    *("contract", "contract_dense", "identity_step", "identity_step_shared"),
    *("glimpse", "glimpse_neighbors", "glimpse_conv", "wide_resnet", "quicksort", "growth"),
    "autoencoder_step",
    *recurrent_steps.MODELS,
    *("per_sample_mlp", "per_sample_conv"),
    *graph_steps.MODELS,
    *head_steps.MODELS,
    *device_steps.MODELS,
)
BY_BACKEND = (  # drawn by backend
    *("layer_norm_lstm", "hyper_lstm", "hyper_rnn", "per_sample_mlp"),
    *("identity_step", "identity_step_shared"),
    *("glimpse", "glimpse_neighbors", "autoencoder_step"),
)
METRICS = {"ratio": "max", "ms": "min", "other_ms": "min", "mb": "min", "other_mb": "min"}
LABELS = ("size",)
DATA = {"random": "normal numbers"}
SIZES = {
    "smoke": dict(
        matrix=64,
        tuples=200,
        identity=8,
        canvas=(20, 8),
        sorted=(4,),
        growth=(100, 1000),
        dense=1000,
    ),
    "quick": dict(
        matrix=4096,
        tuples=20000,
        identity=128,
        canvas=(100, 32),
        sorted=(8, 64),
        growth=(1000, 10000, 100000),
        dense=10000,
    ),
    "full": dict(
        matrix=4096,
        tuples=20000,
        identity=128,
        canvas=(100, 32),
        sorted=(8, 16, 32, 64),
        growth=(1000, 3000, 10000, 20000, 100000, 1000000),
        dense=20000,
    ),
}
PRESETS = {
    "smoke": dict(data="random", seeds=1, repeats=2),
    "quick": dict(data="random", seeds=1, repeats=15),
    "full": dict(data="random", seeds=1, repeats=15),
}
PUBLISHED = (
    dict(model="identity_step", metric="ms", value=1650, source="original code", notes=(1,)),
    dict(model="identity_step", metric="mb", value=753, source="original code", notes=(1,)),
    *(
        dict(model="quicksort", metric=metric, value=value, size=n)
        | dict(source="original code", notes=(1,))
        for metric, values in (("ms", (126, 210, 410, 479)), ("mb", (371, 499, 756, 1134)))
        for n, value in zip((8, 16, 32, 64), values, strict=True)
    ),
    dict(model="glimpse", metric="ms", value=525, source="original code", notes=(1,)),
    dict(model="glimpse_conv", metric="ms", value=1027, source="original code", notes=(1,)),
)
DEVIATIONS = (
    "The published layer in PyTorch 2.13 on two such cores, forward and backward, the best median "
    "of several runs: measured apart from ours, so no ratio is taken.",
    "Beyond size 20,000 no dense layer is run: weights, gradient and Adam's moments are 16 n² "
    "bytes, 160 GB for n = 100,000 and 16 TB for n = 1,000,000.",
)


def configurations(model, preset, data):
    settings, sizes = PRESETS[preset], SIZES[preset]
    base = {"repeats": settings["repeats"]}
    if model in recurrent_steps.MODELS:
        return recurrent_steps.configurations(model, preset, base["repeats"])
    if model in graph_steps.MODELS:
        return graph_steps.configurations(preset, base["repeats"])
    if model in head_steps.MODELS:
        return head_steps.configurations(preset, base["repeats"])
    if model in device_steps.MODELS:
        return device_steps.configurations(preset, base["repeats"])
    if model.startswith("contract"):
        many = dict(repeats=7 * base["repeats"])  # of milliseconds each
        return [base | many | dict(size=sizes["matrix"], batch=32, tuples=sizes["tuples"])]
    if model == "wide_resnet":
        small = preset == "smoke"
        return [base | dict(size=10 if small else 16, batch=2 if small else 64)]
    if model == "quicksort":
        return [base | dict(size=n, batch=64, features=784, samples=2) for n in sizes["sorted"]]
    if model == "autoencoder_step":
        small = preset == "smoke"
        sizes = dict(size=16, batch=8, latent=8) if small else dict(size=28, batch=128, latent=16)
        return [base | sizes]
    if model.startswith("identity"):
        return [base | dict(size=sizes["identity"], batch=64, samples=4, region=4)]
    if model.startswith("glimpse"):
        canvas, side = sizes["canvas"]
        many = dict(repeats=3 * base["repeats"])
        samples = 0 if model == "glimpse_neighbors" else 8
        return [base | many | dict(size=canvas, side=side, batch=16, samples=samples, region=8)]
    if model == "per_sample_mlp":
        return [base | dict(repeats=3 * base["repeats"], size=sizes["identity"], batch=64)]
    if model == "per_sample_conv":
        many = dict(repeats=3 * base["repeats"])
        return [base | many | dict(size=14, channels=16, batch=64)]
    return [
        base | dict(size=n, batch=1, chunk=10, samples=4, region=8, dense=n <= sizes["dense"])
        for n in sizes["growth"]
    ]


def measure(model, config, seed, data):
    """Medians in ms of both contenders, and their peaks in MB, each in a process of its own."""
    contenders = ["ours"] + ["other"] * config.get("dense", True)
    if model == "hyper_lstm_compile":
        return _measure_compiling(model, contenders, config, seed)
    if model in device_steps.MODELS:
        return _measure_devices(model, contenders, config, seed)
    contestants = [steps.build(model, contender, config, seed) for contender in contenders]
    times = [[] for _ in contestants]
    clock = time.process_time if config.get("processor_time") else time.perf_counter
    for step in contestants:
        step()
        step()
    for _ in range(config["repeats"]):
        for step, durations in zip(contestants, times, strict=True):
            start = clock()
            step()
            durations.append(1000 * (clock() - start))
    medians = [statistics.median(durations) for durations in times]
    peaks = [_in_process(_peak, model, contender, config, seed) for contender in contenders]
    return _result(medians, peaks)


def _measure_compiling(model, contenders, config, seed):
    """As `measure`, of what only new processes can tell."""
    runs = [
        [_in_process(_compiling, model, contender, config, seed) for contender in contenders]
        for _ in range(config["repeats"])
    ]
    times, peaks = zip(
        *(zip(*of_one, strict=True) for of_one in zip(*runs, strict=True)), strict=True
    )
    return _result(*([statistics.median(one) for one in found] for found in (times, peaks)))


def _measure_devices(model, contenders, config, seed):
    """As `measure`, of processes that have other devices."""
    import keras

    if keras.backend.backend() != "jax":
        raise ValueError(
            f"Expected KERAS_BACKEND=jax for `{model}`. Received: {keras.backend.backend()}"
        )
    found = [_in_process(device_steps.measure, who, config, seed) for who in contenders]
    return _result(*zip(*found, strict=True))


def _result(medians, peaks):
    test = {"ms": medians[0], "mb": peaks[0]}
    if len(medians) > 1:
        test |= {"other_ms": medians[1], "other_mb": peaks[1], "ratio": medians[1] / medians[0]}
    return {"metrics": {"test": test}}


def _in_process(function, *arguments):
    """What a function finds in a new process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(function, arguments)


def _compiling(model, contender, config, seed):
    """Milliseconds of compiling, and the peak of memory."""
    import keras

    keras.utils.set_random_seed(seed)
    base = _memory("VmRSS")
    return recurrent_steps.compiling(model, contender, config), _memory("VmHWM") - base


def _peak(model, contender, config, seed):
    import keras

    if keras.backend.backend() == "tensorflow":  # what TensorFlow itself takes
        import tensorflow as tf

        tf.function(lambda x: tf.linalg.matmul(x, x))(tf.ones((64, 64)))
    keras.ops.matmul(keras.ops.ones((64, 64)), keras.ops.ones((64, 64)))
    base = _memory("VmRSS")
    step = steps.build(model, contender, config, seed)
    for _ in range(3):
        step()
    return max(0.0, _memory("VmHWM") - base)


def _memory(field):
    """Megabytes held now (VmRSS) or at most so far (VmHWM), on Linux; elsewhere the latter."""
    try:
        with Path("/proc/self/status").open() as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields[field].split()[0]) / 1024
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


UNITS = (("ms", "ms a step"), ("mb", "peak MB"))


def plot(records, path):
    """Time and memory against size, of ours and dense and of heads; ratios by backend."""
    from matplotlib.figure import Figure

    parts = [
        ({"growth": "sparse hyperlayer"}, "dense layer", "inputs = outputs = tuples"),
        ({name: name for name in head_steps.MODELS}, None, "generated weights"),
    ]
    runs = [run for run in records if any(run["model"] in names for names, _, _ in parts)]
    parts = [part for part in parts if any(run["model"] in part[0] for run in runs)]
    shown = [run for run in records if run["model"] in BY_BACKEND]
    if not parts and not shown:
        return
    count = len(parts) + bool(shown)
    figure = Figure(figsize=(8, 3.4 * count), layout="constrained")
    grid = figure.subplots(count, 2, squeeze=False)
    if shown:
        _by_backend(grid[-1][0], shown)
        grid[-1][1].set_axis_off()
    for panels, (names, other, across) in zip(grid[: len(parts)], parts, strict=True):
        for axes, (unit, label) in zip(panels, UNITS, strict=True):
            for model, name in names.items():
                of_model = [run for run in runs if run["model"] == model]
                _line(axes, of_model, unit, name)
                if other:
                    _line(axes, of_model, f"other_{unit}", other)
            axes.set(xscale="log", yscale="log", xlabel=across, ylabel=label)
        panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=100)


def _line(axes, runs, key, name):
    points = {}
    for run in runs:
        if key in run["metrics"]["test"]:
            points.setdefault(run["config"]["size"], []).append(run["metrics"]["test"][key])
    sizes = sorted(points)
    if sizes:
        axes.plot(sizes, [statistics.median(points[n]) for n in sizes], "o-", label=name)


def _by_backend(axes, records):
    """How many times faster than its anchor each layer is, on each backend."""
    found = {}
    for run in records:
        if run["model"] in BY_BACKEND:
            key = records_of_runs.backend_of(run) or "tensorflow", run["model"]
            found.setdefault(key, []).append(run["metrics"]["test"]["ratio"])
    for k, backend in enumerate(("tensorflow", "jax", "torch")):
        for y, model in enumerate(BY_BACKEND):
            if (backend, model) in found:
                ratio = statistics.median(found[backend, model])
                axes.barh(y + 0.27 * (k - 1), ratio, 0.25, color=f"C{k}")
        if any(name == backend for name, _ in found):
            axes.barh(0, 0, color=f"C{k}", label=backend)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(BY_BACKEND)), [name.replace("_", " ") for name in BY_BACKEND])
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as its anchor")
    axes.legend(loc="center left", bbox_to_anchor=(1.05, 0.5))


TASK = Task(
    name="speed",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=DEVIATIONS,
    labels=LABELS,
    display=Display(
        families={
            "sparse": (
                *("contract*", "identity_*", "glimpse*", "quicksort", "growth", "graph_*"),
                *("autoencoder_step", "tuples_over_devices"),
            ),
            "static": ("wide_resnet",),
            "dynamic": ("hyper_*",),
            "hypernetwork": ("per_sample_*", "head_*"),
        },
        compared=(),
        reference=1.0,
    ),
    configurations=configurations,
    plot=plot,
    measure=measure,
)
