"""What the layers cost, for `choosing.md`: from the records of `speed`, and from layers built here.

Nothing is typed in: times and memory are read from the records, parameters are counted.
"""

import json
import statistics
from pathlib import Path

RECORDS = Path(__file__).parents[1] / "reproductions/results/speed/full"
# What the records' models are called on the page: ours, and what it is compared with.
NAMES = {
    "contract_dense": (
        "`ops.contract`, {tuples:,} tuples, {size} → {size}",
        "dense {size} → {size}",
    ),
    "identity_step": (
        "`SparseHyperlayer`, {size} tuples drawn for each sample",
        "the equations written plainly",
    ),
    "identity_step_shared": (
        "`SparseHyperlayer`, {size} tuples, `shared=True`",
        "the same, drawn for each sample",
    ),
    "growth": ("`SparseHyperlayer`, {size:,} inputs, outputs and tuples", "dense layer"),
    "autoencoder_step": (
        "autoencoder of {size} × {size}, wired by the image's pose",
        "a dense one of as many weights",
    ),
    "glimpse": ("`Glimpse` of {side} × {side} in {size} × {size}", "bilinear crop"),
    "glimpse_conv": (
        "the same with a localization network of 10 million weights",
        "bilinear crop with it",
    ),
    "wide_resnet": ("WRN-{size}-1, generated kernels", "WRN-{size}-1, its own kernels"),
    "layer_norm_lstm": ("`LayerNormLSTM`, {units} units, {size} steps", "`keras.layers.LSTM`"),
    "hyper_lstm": ("`HyperLSTM`, {units} units, {size} steps", "`keras.layers.LSTM`"),
    "hyper_lstm_length": ("`HyperLSTM`, {units} units, {size} steps", "`keras.layers.LSTM`"),
    "hyper_lstm_compile": (
        "compiling `HyperLSTM`, {units} units, sequences of {size} different lengths",
        "compiling `keras.layers.LSTM`",
    ),
    "hyper_lstm_cell": (
        "`HyperLSTM`, {units} units, {size} steps",
        "its cell in `keras.layers.RNN`",
    ),
    "hyper_rnn": ("`HyperRNN`, {units} units, {size} steps", "`keras.layers.LSTM`"),
    "hyper_rnn_forms": (
        "`HyperRNN`, {units} units, {size} steps, scaled rows",
        'the same, `form="full"`',
    ),
    "quicksort": ("`Quicksort` of {size} elements", "the same by sparse products"),
    "per_sample_mlp": ("`Hypernetwork`, an MLP, weights for each sample", "one set of weights"),
    "per_sample_conv": ("convolution with a kernel a sample", "`vectorized_map`"),
    **{
        f"head_{name}": (f"`{cls}`, {{size:,}} weights", "a dense layer of as many outputs")
        for name, cls in (
            ("dense", "DenseHead"),
            ("chunked", "ChunkedHead(1024)"),
            ("low_rank", "LowRankHead(4)"),
            ("random", "RandomHead"),
            ("layerwise", "LayerwiseHead"),
            ("recurrent", "RecurrentHead(…, rank=4)"),
        )
    },
    "graph_conv": ("`SparseGraphConv`, {size:,} nodes, {edges:,} edges", "GCN"),
    "graph_transform": ("`SparseGraphTransform`, {size:,} nodes, {edges:,} edges", "GCN"),
}


class Markdown(str):
    """Text that a notebook renders."""

    def _repr_markdown_(self):
        return str(self)


def table(heads, rows, words=1):
    """`words` columns of text, then numbers."""
    lines = [heads, ["---"] * words + ["---:"] * (len(heads) - words), *rows]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


BACKENDS = {"tensorflow": ("o", "#262626"), "jax": ("D", "#d55e00"), "torch": ("^", "#0072b2")}


def backend(record):
    """The backend that a record was made with."""
    return next(name for name in BACKENDS if name in record["versions"])


def records(*models, backends=("tensorflow",)):
    """Finished records of `models`, in their order, then by size."""
    found = [json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))]
    found = [one for one in found if one["model"] in models and one["status"] == "finished"]
    found = [one for one in found if backend(one) in backends]
    return sorted(found, key=lambda one: (models.index(one["model"]), one["config"]["size"]))


def measured(*models):
    """Time and memory of a training step: means over the runs of a model and size."""
    groups, rows = {}, []
    for one in records(*models):
        names = tuple(name.format(**one["config"]) for name in NAMES[one["model"]])
        groups.setdefault(names, []).append(one)
    for (ours, other), runs in groups.items():
        test = _means(runs)
        times, memory = [_number(test["ms"])], [_number(test["mb"])]
        if "other_ms" in test:
            times.append(_number(test["other_ms"]))
            memory.append(_number(test["other_mb"]))
            ratio = f"{_number(test['ms'] / test['other_ms'])}\N{NO-BREAK SPACE}×"
        else:
            ratio, other = "", f"{other}: not run"
        rows.append([ours, other, " / ".join(times), " / ".join(memory), ratio])
    return table(["layer", "beside", "ms a step", "peak MB", "time"], rows, words=2)


def _means(runs):
    """The mean of each metric over runs, of those that all have."""
    tests = [run["metrics"]["test"] for run in runs]
    keys = set.intersection(*map(set, tests))
    return {key: statistics.fmean(test[key] for test in tests) for key in keys}


def _matrix():
    """Modules and tasks of the matrix, and the preset that it is shown for."""
    from reproductions import __main__ as command_line
    from reproductions.engine.matrix import cells, page

    tasks = [command_line.load(name) for name in command_line.tasks()]
    return cells, page, cells.tasks_of(tasks, page.FIRST), command_line.RESULTS


def matrix():
    """A line for each family on each task: its metric and costs."""
    cells, page, tasks, root = _matrix()
    rows = [cells.cells(task, page.FIRST, root) for task in tasks]
    return table(page.HEADS, [line for row in rows for line in page.table(row)], words=4)


def family(name):
    """How a family stands beside its counterpart on each task, as far as the runs can tell."""
    cells, page, tasks, root = _matrix()
    rows = [cells.cells(task, page.FIRST, root) for task in tasks]
    return Markdown("\n".join(f"- `{row[0].task.name}`: {cells.beside(row, name)}" for row in rows))


def memory_a_step():
    """How much each further step of a sequence takes, from the shortest and the longest."""
    found = records("hyper_lstm_length")
    first, last = found[0], found[-1]
    config, steps = first["config"], [one["config"]["size"] for one in (first, last)]

    def slope(key):
        gained = last["metrics"]["test"][key] - first["metrics"]["test"][key]
        return _number(gained / (steps[1] - steps[0]))

    return Markdown(
        f"Memory grows with the length: from {steps[0]} to {steps[1]} steps of {config['batch']} "
        f"sequences, each further step takes {slope('mb')} MB in `HyperLSTM`, "
        f"{slope('other_mb')} MB in `keras.layers.LSTM`."
    )


def device():
    """Where the records were made."""
    return Markdown("; ".join(sorted({one["device"] for one in records(*NAMES)})))


def _number(value):
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def parameters():
    """Weights of layers that do the same job, counted."""
    import keras

    from hyperkeras import layers

    def count(layer, *shape, besides=None):
        layer.build((None, *shape))
        shared = besides.count_params() if besides else 0
        return layer.count_params() - shared

    generator = layers.KernelGenerator((3, 3, 16, 16), embedding_dim=64)
    generator.build((None, 64))
    rows = []
    for name, dense, ours in (
        (
            "1024 → 1024, `SparseHyperlayer` with 1024 tuples",
            count(keras.layers.Dense(1024, use_bias=False), 1024),
            count(layers.SparseHyperlayer((1024,), layers.FreeSource(1024)), 1024),
        ),
        (
            "1024 → 1024, `PHMDense` with n = 4",
            count(keras.layers.Dense(1024), 1024),
            count(layers.PHMDense(1024, n=4), 1024),
        ),
        (
            f"3 × 3, 64 → 64 channels, `HyperConv2D`, besides the generator's "
            f"{generator.count_params():,}",
            count(keras.layers.Conv2D(64, 3), 32, 32, 64),
            count(layers.HyperConv2D(64, 3, generator), 32, 32, 64, besides=generator),
        ),
        (
            "3 × 3, 64 → 64 channels, `PHMConv2D` with n = 4",
            count(keras.layers.Conv2D(64, 3), 32, 32, 64),
            count(layers.PHMConv2D(64, 3, n=4), 32, 32, 64),
        ),
        (
            "LSTM of 256 units, 50 inputs, `HyperLSTM` with 64 small units",
            count(keras.layers.LSTM(256), None, 50),
            count(layers.HyperLSTM(256, hyper_units=64, embedding_dim=16), None, 50),
        ),
    ):
        rows.append([name, f"{dense:,}", f"{ours:,}", f"{ours / dense:.2g}\N{NO-BREAK SPACE}×"])
    return table(["layer", "dense", "ours", "of dense"], rows)


def growth_plot():
    """Time and memory of a training step against size, sparse and dense."""
    import matplotlib.pyplot as plt

    found = [(one["config"]["size"], one["metrics"]["test"]) for one in records("growth")]
    _, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axes, unit, label in zip(panels, ("ms", "mb"), ("ms a step", "peak MB"), strict=True):
        for prefix, name in (("", "sparse, k = n tuples"), ("other_", "dense, n² weights")):
            points = [(n, test[prefix + unit]) for n, test in found if prefix + unit in test]
            axes.plot(*zip(*points, strict=True), "o-", label=name)
        axes.set(xscale="log", yscale="log", xlabel="n inputs and outputs", ylabel=label)
        axes.grid(alpha=0.3)
    panels[0].legend()


def ratio_plot():
    """Our time over the other's for each layer, a mark a backend that there are records of."""
    import matplotlib.pyplot as plt

    found = [
        record
        for record in records(*NAMES, backends=tuple(BACKENDS))
        if "other_ms" in record["metrics"]["test"]
    ]
    texts = {}
    for record in found:
        ours, other = (name.format(**record["config"]) for name in NAMES[record["model"]])
        texts.setdefault(f"{ours} : {other}".replace("`", ""), []).append(record)
    _, axes = plt.subplots(figsize=(9, 0.24 * len(texts) + 1), layout="constrained")
    for place, rows in enumerate(texts.values()):
        for record in rows:
            test, (marker, color) = record["metrics"]["test"], BACKENDS[backend(record)]
            axes.plot(test["ms"] / test["other_ms"], place, marker, color=color, alpha=0.8)
    for name in BACKENDS:
        if any(backend(record) == name for record in found):
            marker, color = BACKENDS[name]
            axes.plot([], [], marker, color=color, label=name)
    axes.set_yticks(range(len(texts)), texts, fontsize=7)
    axes.set(xscale="log", xlabel="our time / the other's (lower is better)")
    axes.set_ylim(len(texts) - 0.4, -0.6)
    axes.axvline(1, color="0.3", linewidth=0.8)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
