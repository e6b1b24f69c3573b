"""Architectures in, weights out: are weights of networks that nobody trained any good?

A graph hypernetwork learns to write the weights of many small convolutional networks at once. Then
it writes those of networks that it never saw. `ghn2` reads the graph with virtual edges and scales
what it makes (Knyazev et al. 2021), `ghn1` has neither (Zhang et al. 2019), and `mlp` makes each
weight from its own kind and sizes, without a graph. `smash` reads one flat code (after Brock et al.
2017); its controls are `zeros`, which reads an empty code and knows places in it alone, and
`shared`, a free kernel for each place: weight sharing, without a hypernetwork. `trained` are the
same networks trained from a He start, which is the bound.

`accuracy` is the mean over unseen networks of the same space, `accuracy_wide`, `accuracy_deep` and
`accuracy_no_norm` over wider and deeper ones and ones without batch norm, none of which are like
those that were trained on. Statistics of batch norm are not generated: everywhere, those of trained
networks included, they are those of one batch of 500 training images.

`kendall` is Kendall's τ between accuracy with predicted weights and after training, over the
unseen networks of the space, with the quantiles 0.025 and 0.975 of 1,000 bootstrap draws as
`kendall_low` and `kendall_high`; `kendall_better_half` is τ among the half that trains best.
Beside it stands what is known without a hypernetwork: `parameter_count` and `early_training`, the
accuracy after the first steps. `accuracy_after_steps` is the mean accuracy of some of the networks
after a few steps of training that starts from the predicted weights, for `trained` from a He
start.
"""

import json

import numpy as np

from reproductions.data import images
from reproductions.engine.display import Claim, Display
from reproductions.engine.task import Task
from reproductions.tasks.architectures import plots, ranking
from reproductions.tasks.architectures.space import SPLITS
from reproductions.tasks.architectures.zoo import Zoo, he_start

HYPERNETWORKS = ("ghn2", "ghn1", "mlp", "smash", "zeros", "shared")
RANKERS = {"parameter_count": "parameters", "early_training": "early"}
MODELS = (*HYPERNETWORKS, *RANKERS, "trained")
METRICS = {
    "accuracy": "max",
    "accuracy_wide": "max",
    "accuracy_deep": "max",
    "accuracy_no_norm": "max",
    "kendall": "max",
    "kendall_low": "max",
    "kendall_high": "max",
    "kendall_better_half": "max",
    "kendall_wide": "max",
    "accuracy_after_steps": "max",
}
DATA = {
    "digits": "scikit-learn's digits of 8×8; needs no files",
    "cifar10_jpeg": "CIFAR-10 as JPEG files, shrunk to 16×16",
}
# `steps`, `batch`, `rate`: of the networks' own training; `early`: steps of the early ranker.
# `marks`: steps at which training from predicted weights is evaluated, `continued`: of how many
# networks; `after`: the one of `accuracy_after_steps`.
BASE = dict(batch=64, rate=1e-2, units=32, tile=16, hidden=[64, 128], meta_batch=4)
BASE |= dict(hyper_rate=3e-3, shared_rate=1e-2)
PRESETS = {
    "smoke": BASE
    | dict(models=("ghn2", "shared", "parameter_count", "trained"), shallow=True)
    | dict(data="digits", seeds=1, architectures=2, hyper_steps=2, steps=2, early=1)
    | dict(unseen=dict(test=2, wide=1, deep=1, no_norm=1), marks=[0, 1], after=1, continued=1),
    "quick": BASE
    | dict(data="digits", seeds=3, architectures=70, hyper_steps=400, steps=200, early=20)
    | dict(unseen=dict(test=24, wide=12, deep=6, no_norm=6))
    | dict(marks=[0, 5, 10, 20, 40, 80], after=20, continued=6),
    "full": BASE
    | dict(data="cifar10_jpeg", seeds=3, architectures=200, hyper_steps=8000, steps=1500)
    | dict(unseen=dict(test=40, wide=20, deep=20, no_norm=20), early=150, meta_batch=8)
    | dict(marks=[0, 50, 100, 200, 400, 800], after=100, continued=12),
}
SOURCE = "Knyazev et al. 2021, results file"
COLUMNS = (
    *("accuracy", "accuracy_wide", "accuracy_deep", "accuracy_no_norm"),
    *("kendall", "kendall_wide"),
)
PUBLISHED = tuple(
    dict(model=model, metric=metric, value=value, source=SOURCE, notes=(1, 2))
    for model, values in {
        "ghn2": (0.669, 0.640, 0.605, 0.368, 0.26, 0.50),
        "ghn1": (0.514, 0.431, 0.483, 0.137, 0.28, 0.47),
        "mlp": (0.422, 0.223, 0.379, 0.239, 0.10, -0.06),
        "trained": (0.885, 0.889, 0.845, 0.456, None, None),
        "parameter_count": (None, None, None, None, -0.02, 0.04),
    }.items()
    for metric, value in zip(COLUMNS, values, strict=True)
    if value is not None
)
RANKS = "the accuracy with predicted weights ranks networks as training does, and better than"
CLAIMS = tuple(
    Claim(preset="quick", ours=ours, baseline=baseline, metric=metric, what=what)
    for ours, baseline, metric, what in (
        (
            *("ghn2", "ghn1", "accuracy"),
            "Virtual edges and scaled weights give networks that were never trained on better "
            "weights than GHN-1 has for them (Knyazev et al. 2021).",
        ),
        (
            *("ghn2", "mlp", "accuracy"),
            "The graph matters: without it, weights made for unseen networks are worse (Knyazev et "
            "al. 2021).",
        ),
        (
            *("ghn2", "mlp", "accuracy_deep"),
            "The same for deeper networks than those trained on (Knyazev et al. 2021).",
        ),
        (
            *("ghn2", "trained", "accuracy_after_steps"),
            "Training from predicted weights is ahead of training from random ones at first "
            "(Knyazev et al. 2021).",
        ),
        (
            *("ghn1", "parameter_count", "kendall"),
            f"GHN-1: {RANKS} the number of parameters does (Zhang et al. 2019).",
        ),
        (
            *("ghn2", "parameter_count", "kendall"),
            f"GHN-2: {RANKS} the number of parameters does.",
        ),
        (
            *("smash", "parameter_count", "kendall"),
            f"SMASH: {RANKS} the number of parameters does (after Brock et al. 2017).",
        ),
        ("smash", "zeros", "kendall", f"SMASH: {RANKS} an empty code does."),
        ("smash", "shared", "kendall", f"SMASH: {RANKS} kernels that are shared freely do."),
    )
)


def data(name, config, data_dir):
    return _zoo(name, json.dumps(config, sort_keys=True), data_dir)


_kept: dict = {}


def _zoo(name, config, data_dir):
    """The last zoo is kept: its networks, compiled, and their training serve all models."""
    key = name, config, data_dir
    if key not in _kept:
        _kept.clear()
        _kept[key] = Zoo(_images(name, data_dir), json.loads(config))
    return _kept[key]


def _images(name, data_dir):
    if name == "digits":
        return images.digits(scale=1)
    splits = images.cifar10_jpeg(data_dir)
    return {
        split: (_halved(x[:most]), y[:most])
        for split, (x, y) in splits.items()
        for most in [None if split == "train" else 2000]
    }


def _halved(x):
    """Bytes [n, 32, 32, 3] → [n, 16, 16, 3] in [0, 1]."""
    n, side = x.shape[:2]
    return x.reshape(n, side // 2, 2, side // 2, 2, 3).mean((2, 4), dtype="float32") / 255


def measure(model, config, seed, data):
    truth = data.truth(seed)
    trained = truth["test"]["trained"]
    result, valid, parameters = dict.fromkeys(METRICS), {}, {}
    if model in HYPERNETWORKS:
        figures, curve, valid, parameters = _of_hypernetwork(model, config, seed, data)
    elif model == "trained":
        figures = {name: truth[name]["trained"] for name in SPLITS}
        curve = _curve(data, seed, lambda i, network: he_start(network, [seed, i]))
    else:
        figures = {name: truth[name][RANKERS[model]] for name in SPLITS}
        curve = None
    if model not in RANKERS:
        for name in SPLITS:
            key = "accuracy" if name == "test" else f"accuracy_{name}"
            result[key] = float(np.mean(figures[name]))
        result["accuracy_after_steps"] = curve[config["marks"].index(config["after"])]
    if model != "trained":
        low, high = ranking.interval(figures["test"], trained)
        result |= {
            "kendall": ranking.kendall(figures["test"], trained),
            "kendall_low": low,
            "kendall_high": high,
            "kendall_better_half": ranking.better_half(figures["test"], trained),
            "kendall_wide": ranking.kendall(figures["wide"], truth["wide"]["trained"]),
        }
    valid |= {"figures": figures, "trained": trained, "curve": curve}
    return {"metrics": {"valid": valid, "test": result}, "parameters": parameters}


def _of_hypernetwork(model, config, seed, data):
    """Accuracies with predicted weights, the curve of training from them, and what else is kept."""
    import keras

    from reproductions.tasks.architectures import networks

    keras.utils.set_random_seed(seed)
    network = networks.hypernetwork(model, config)
    x, y = data.batches([seed, 1], config["hyper_steps"], config["batch"])
    history = network.fit(
        x.reshape(-1, *x.shape[2:]),
        y.reshape(-1),
        targets=data.networks["training"],
        meta_batch_size=config["meta_batch"],
        batch_size=config["batch"],
        shuffle=False,
        verbose=0,
    )
    figures = {
        name: networks.predicted(network, data, data.networks[name]).tolist() for name in SPLITS
    }
    seen = networks.predicted(network, data, data.networks["training"][: len(figures["test"])])
    curve = _curve(data, seed, lambda i, target: network.assign(target))
    valid = {"seen": float(seen.mean()), "loss": history.history["loss"][-1]}
    generated = max(sum(w.size for w in target.get_weights()) for target in data.networks["test"])
    learned = sum(w.size for w in map(np.array, network.trainable_weights))
    return figures, curve, valid, {"trainable": learned, "generated": generated}


def _curve(data, seed, begin):
    """Mean accuracy after the steps `marks`, of training that `begin` starts."""
    chosen = data.networks["test"][: data.config["continued"]]
    curves = []
    for i, network in enumerate(chosen):
        begin(i, network)
        curves.append(data.train(network, [seed, i], data.config["marks"]))
    return np.mean(curves, axis=0).tolist()


TASK = Task(
    name="architectures",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=(
        "Means and Kendall's τ of the published columns are computed from the accuracies of each "
        "architecture in the authors' file `results_cifar10.json`; one seed. Statistics of batch "
        "norm are those of the test batch of 64 there.",
        "The published networks are of DeepNets-1M, a much larger space, on CIFAR-10 of 32×32 "
        "with 300 epochs of training; trained networks had 50 epochs. Here networks are small, "
        "and all hypernetworks see as many architectures a batch; there GHN-1 and the MLP saw one.",
        "GHN-1 has one round of messages, as in GHN-2's comparison, and its decoder starts small, "
        "since nothing scales its weights.",
        "SMASH generates 1×1 kernels of memory-bank networks and shares the rest; its code is an "
        "image that a convolutional network reads, beside noise. Here `smash` reads the nodes in "
        "a row by two dense layers, and makes all weights.",
    ),
    display=Display(
        claims=CLAIMS,
        families={
            "hypernetwork": ("ghn2", "ghn1", "mlp", "smash"),
            "bound": ("trained",),
        },
        only={
            "accuracy": (*HYPERNETWORKS, "trained"),
            "accuracy_wide": (*HYPERNETWORKS, "trained"),
            "accuracy_deep": (*HYPERNETWORKS, "trained"),
            "accuracy_no_norm": (*HYPERNETWORKS, "trained"),
            "accuracy_after_steps": (*HYPERNETWORKS, "trained"),
            "kendall": (*HYPERNETWORKS, *RANKERS),
            "kendall_low": (*HYPERNETWORKS, *RANKERS),
            "kendall_high": (*HYPERNETWORKS, *RANKERS),
            "kendall_better_half": (*HYPERNETWORKS, *RANKERS),
            "kendall_wide": (*HYPERNETWORKS, *RANKERS),
        },
        no_parameters=tuple(RANKERS),
    ),
    data=data,
    plot=plots.plot,
    measure=measure,
)
