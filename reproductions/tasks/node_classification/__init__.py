"""Classifying papers by topic: sparse graph layers against GCN and GIN.

The topic is told from a paper's words and from its citations, in Cora and Citeseer.

The public split: 20 labeled papers a class for training, 500 for validation, 1000 for testing; all
words and citations are seen in training. All models project the words to `hidden` numbers with
dropout 0.5 and a penalty on the squared weights, and have one hidden layer. `mlp` sees no edges;
`gcn` is the published network; `gin` sums over neighbors; `sparse_adaptive` reads four neighbors
that each node chooses; `sparse_transform` (16 numbers only) reads through edges that it moves.

In training a chosen neighbor is a weighted mean, and at inference the one that is nearest:
`accuracy_soft` keeps the mean, without dropout, and equals `accuracy` for the other models.

`blocks` is made up: four blocks of 150 nodes, and words that a block is somewhat fond of.
"""

from reproductions.data import citation_graphs
from reproductions.engine.display import Display, Headline
from reproductions.engine.task import Task

MODELS = ("mlp", "gcn", "gin", "sparse_adaptive", "sparse_transform")
METRICS = {"accuracy": "max", "accuracy_soft": "max"}
LABELS = ("hidden",)
DATA = {
    "blocks": "a stochastic block model with words; needs no files",
    "cora": "2708 papers, 7 classes: cora.npz (Planetoid's split) in --data-dir",
    "citeseer": "3327 papers, 6 classes: citeseer.npz in --data-dir",
}
BASE = dict(dropout=0.5, l2=5e-4, learning_rate=0.01)
PRESETS = {
    "smoke": BASE | dict(data="blocks", seeds=1, epochs=1, steps=2, hidden=4),
    "quick": BASE | dict(data="blocks", seeds=2, epochs=20, steps=10, hidden=16),
    "full": BASE
    | dict(data="cora", seeds=3, more_seeds={"gcn": 5}, epochs=20, steps=10, hidden=(16, 64)),
}
PUBLISHED = tuple(
    dict(model="gcn", metric="accuracy", value=value, data=data, hidden=16)
    | dict(source="Kipf & Welling 2017", notes=(1,))
    for data, value in (("cora", 0.815), ("citeseer", 0.703))
)
DEVIATIONS = (
    "There training ends where the validation loss has not fallen for 10 steps, here after 200; "
    "the weights are those of the best validation accuracy, looked at every tenth step.",
)


def configurations(model, preset, data):
    settings = PRESETS[preset] | dict(dataset=data)
    widths = settings["hidden"] if preset == "full" else (settings["hidden"],)
    widths = widths[:1] if model == "sparse_transform" else widths
    return [settings | dict(hidden=hidden) for hidden in widths]


def data(name, config, data_dir):
    if name == "blocks":
        return citation_graphs.blocks(config)
    return citation_graphs.planetoid(name, config, data_dir)


def build(model, config, data):
    import keras

    from reproductions.engine import training
    from reproductions.tasks.node_classification.networks import NodeNetwork

    network = NodeNetwork(model, data, config)
    training.compile_classifier(network, keras.optimizers.Adam(config["learning_rate"]))
    return network


def evaluate(network, x, y, config):
    return {"accuracy": float((network.predict_on_batch(x).argmax(axis=1) == y).mean())}


def transfer(network, model, data, config):
    """Chosen neighbors as in training, without dropout."""
    import numpy as np

    x, y = data.test
    scores = np.asarray(network(x, soft=True))
    return {"accuracy_soft": float((scores.argmax(axis=1) == y).mean())}


def plot(records, path):
    from reproductions.plots import graphs

    graphs.compare(records, MODELS, ("accuracy",), path)


TASK = Task(
    name="node_classification",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=DEVIATIONS,
    labels=LABELS,
    display=Display(
        headline=Headline(
            preset="full",
            baseline="gcn",
            ours="sparse_adaptive",
            what="Cora, public split: accuracy",
            data="cora",
            labels={"hidden": 16},
        ),
        families={"sparse": ("sparse_*",)},
        panels=("hidden",),
    ),
    configurations=configurations,
    data=data,
    build=build,
    evaluate=evaluate,
    transfer=transfer,
    plot=plot,
)
