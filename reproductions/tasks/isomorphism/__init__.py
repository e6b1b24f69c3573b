"""Are two directed graphs the same but for the order of their nodes? Graph networks compared.

This is the second experiment of the 2017 draft of the sparse adaptive hyperlayer: a task that
cannot be solved without detecting isomorphic graphs on the way. All base graphs have the same size,
the same in- and out-degrees and the same self-loops, and no two are isomorphic. An instance is a
pair of randomly permuted copies; its label is whether they are of one base graph, as in half of the
pairs. Each network embeds each graph, and sees the pair only through the two embeddings'
difference. In `bags` an instance is a bag of two to eight copies: all are of one base graph, or all
but one. It is seen only through the range of its embeddings, which for two is their difference.

Permutations are held out in `accuracy`, whole isomorphism classes in `accuracy_new`.
`adjusted_rand` compares k-means on the embeddings of held-out permutations with the true classes,
`silhouette` and `purity` (of nearest neighbors) need no clustering; `_new` says that the classes
are held out.

All but `dense` are invariant: they embed permuted copies alike, up to rounding errors, before any
training. So their embeddings cluster from the start, and clustering shows that unlike graphs are
told apart at all, not what was learned: that is in the accuracies, of how little unlike graphs may
differ. Random graphs are nearly always told apart by the Weisfeiler-Leman test, so that `gcn` and
`gin` can solve the task, too. `degrees` sees the nodes' degrees and self-loops alone. `dense` sees
the adjacency matrix, flattened, its nodes in the order of their self-loops and degrees. (A dense
map from adjacency matrix to adjacency matrix would have n⁴ weights, 20,736 for n = 12 and 331,776
for n = 24.) `wl` is logistic regression on the difference of two histograms of 1-WL colors.

`static`, `dynamic` and `sparse_adaptive` are the three families of hypernetworks. `static` is
`gin`, twice as wide, with all matrices made from embeddings by one generator. `dynamic` is a gated
graph network (Li et al. 2016): in each of three rounds a `HyperLSTMCell` updates the state of all
nodes from what their neighbors send. `recurrent` is the same with the LSTM cell that
`HyperLSTMCell` changes, layer norm included. `sparse_adaptive` reads learned neighbors.

In any order of nodes `dense` stays at chance: no permutation is seen twice. The order by degrees
leaves it the ties alone. In `demo` graphs have four nodes.
"""

from functools import cached_property

import numpy as np

from reproductions.engine.display import Display, Matrix
from reproductions.engine.task import Task
from reproductions.engine.tuning.space import Range

MODELS = (
    *("degrees", "dense", "wl", "gcn", "gin"),
    *("static", "dynamic", "recurrent", "sparse_adaptive"),
)
CLUSTERS = ("adjusted_rand", "silhouette", "purity")
FAMILIES = ("dense", "static", "dynamic", "sparse_adaptive", "recurrent")
METRICS = {
    "accuracy": "max",
    **dict.fromkeys(CLUSTERS, "max"),
    "accuracy_new": "max",
    **{f"{name}_new": "max" for name in CLUSTERS},
}
DATA = {
    "digraphs": "random directed graphs with the same degrees; needs no files",
    "bags": "the same, in bags of two to eight in the place of pairs",
}
BAG = 8  # copies at most
SMALL = dict(data="digraphs", batch=32, parameters=12000, learning_rate=3e-3)
PRESETS = {
    "smoke": SMALL
    | dict(nodes=6, edges=12, classes=4, new=3, pairs=20, copies=5, seeds=1, epochs=1, steps=2),
    "demo": SMALL
    | dict(models=FAMILIES, nodes=4, edges=8, classes=2, new=2, pairs=400, copies=10)
    | dict(batch=128, seeds=1, epochs=4, steps=30),
    "quick": SMALL
    | dict(nodes=12, edges=36, classes=16, new=8, pairs=1000, copies=30)
    | dict(seeds=3, epochs=6, steps=100),
    "full": SMALL
    | dict(nodes=24, edges=96, classes=100, new=50, pairs=4000, copies=30)
    | dict(seeds=5, epochs=30, steps=300),
}
SEARCH = {"*": dict(learning_rate=Range(low=3e-4, high=3e-2, log=True))}
KINDS = {"train": (2, 3, 4), "valid": (0,), "test": (1,)}  # of permutations


def base_graphs(nodes, edges, count, seed=0):
    """`count` edge lists `[edges, 2]` of one size and degrees, no two of them isomorphic."""
    import networkx as nx

    rng = np.random.default_rng([nodes, edges, seed])
    loops = max(1, nodes // 4)
    chosen = rng.choice(nodes * (nodes - 1), edges - loops, replace=False)
    i, j = np.divmod(chosen, nodes - 1)
    first = {(a, b + (b >= a)) for a, b in zip(i.tolist(), j.tolist(), strict=True)}
    first |= {(a, a) for a in range(loops)}
    by_invariant = {}  # where invariants differ, the graphs are not isomorphic
    kept = []
    for _ in range(100 * count):
        if len(kept) == count:
            return kept
        graph = nx.DiGraph(sorted(_rewired(first, rng)))
        digest = _invariant(graph.edges, nodes)
        if not any(nx.is_isomorphic(graph, other) for other in by_invariant.get(digest, ())):
            by_invariant.setdefault(digest, []).append(graph)
            kept.append(np.array(graph.edges, "int32"))
    raise ValueError(
        f"Found {len(kept)} of {count} graphs of {nodes} nodes and {edges} edges with the same "
        "degrees that are not isomorphic; ask for more nodes."
    )


def _invariant(edges, nodes):
    """Numbers of walks from and to each node, in an order that doesn't depend on names."""
    a = np.zeros((nodes, nodes), "int64")
    a[tuple(np.array(edges).T)] = 1
    powers = [a @ a, a @ a @ a, a @ a @ a @ a]
    columns = [f for p in powers for f in (p.sum(0), p.sum(1), p.diagonal())]
    return tuple(sorted(zip(*(column.tolist() for column in columns), strict=True)))


def _rewired(edges, rng, swaps=20):
    """The same in- and out-degrees and self-loops: targets of two edges swapped, many times."""
    edges = set(edges)
    for _ in range(swaps * len(edges)):
        plain = sorted((a, b) for a, b in edges if a != b)
        (a, b), (c, d) = (plain[i] for i in rng.choice(len(plain), 2, replace=False))
        new = {(a, d), (c, b)}
        if a != d and b != c and not new & edges:
            edges = edges - {(a, b), (c, d)} | new
    return edges


class Pairs:
    """Pairs of permuted copies: x are edges `[b, 2, e, 2]`, y whether they are isomorphic.

    Each permutation belongs to one split, for all graphs.
    """

    def __init__(self, config):
        self.config = config
        graphs = base_graphs(config["nodes"], config["edges"], config["classes"] + config["new"])
        self.old, self.new = (
            np.stack(part) for part in (graphs[: config["classes"]], graphs[config["classes"] :])
        )

    def permutation(self, rng, split):
        while True:
            order = rng.permutation(self.config["nodes"])
            if int(order @ np.arange(len(order))) % 5 in KINDS[split]:
                return order

    def copies(self, rng, graphs, split):
        """A permuted copy of each graph, its edges in random order."""
        return np.stack(
            [
                rng.permutation(self.permutation(rng, split)[graph]).astype("int32")
                for graph in graphs
            ]
        )

    def pairs(self, rng, graphs, split, count):
        """`count` pairs, of which the first half are isomorphic."""
        classes = rng.integers(0, len(graphs), count)
        others = (classes + rng.integers(1, len(graphs), count)) % len(graphs)
        same = np.arange(count) < count // 2
        x = self.instances(rng, graphs, split, classes, np.where(same, classes, others))
        return x, same.astype("int32")

    def instances(self, rng, graphs, split, classes, others):
        """Copies of a graph of each class, and of one other: `[count, 2, e, 2]`."""
        chosen = np.stack([classes, others], axis=1)
        x = self.copies(rng, graphs[chosen.ravel()], split)
        return x.reshape(len(classes), 2, *x.shape[1:])

    def train(self, seed, epoch):
        rng = np.random.default_rng([0, seed, epoch])
        for _ in range(self.config["steps"]):
            yield self.pairs(rng, self.old, "train", self.config["batch"])

    @cached_property
    def valid(self):
        return self.pairs(np.random.default_rng(1), self.old, "valid", self.config["pairs"])

    @cached_property
    def test(self):
        return self.pairs(np.random.default_rng(2), self.old, "test", self.config["pairs"])

    @cached_property
    def test_new(self):
        return self.pairs(np.random.default_rng(3), self.new, "test", self.config["pairs"])

    def labeled(self, graphs):
        """Copies of held-out permutations, and their classes."""
        classes = np.repeat(np.arange(len(graphs)), self.config["copies"])
        return self.copies(np.random.default_rng(4), graphs[classes], "test"), classes


class Bags(Pairs):
    """Bags of two to eight copies, `[b, 8, e, 2]`: one may be of another graph.

    Smaller bags are filled up with their first copy, which changes no range.
    """

    def instances(self, rng, graphs, split, classes, others):
        count, place = len(classes), np.arange(BAG)
        sizes = rng.integers(2, BAG + 1, count)[:, None]
        odd = rng.integers(0, sizes)
        chosen = np.where(place == odd, others[:, None], classes[:, None])
        x = self.copies(rng, graphs[chosen.ravel()], split)
        x = x.reshape(count, BAG, *x.shape[1:])
        return np.where((place < sizes)[..., None, None], x, x[:, :1])


def data(name, config, data_dir):
    try:
        return (Bags if name == "bags" else Pairs)(config)
    except ImportError:
        from reproductions.data.data_dir import DataError

        message = "The data `digraphs` needs networkx: pip install networkx"
        raise DataError(message) from None


def build(model, config, data):
    import keras

    from reproductions.engine import training
    from reproductions.tasks.isomorphism.networks import PairNetwork

    network = PairNetwork(model, config["nodes"], config["edges"], config["parameters"])
    training.compile_classifier(network, keras.optimizers.Adam(config["learning_rate"]))
    return network


def generated(network):
    from reproductions.tasks.isomorphism import networks

    return networks.generated(network)


def transfer(network, model, data, config):
    """Held-out classes, and how well embeddings cluster."""
    _, accuracy = network.evaluate(*data.test_new, batch_size=250, verbose=0)
    figures = clustering(*embedded(network, data, data.old))
    figures |= {f"{k}_new": v for k, v in clustering(*embedded(network, data, data.new)).items()}
    return figures | {"accuracy_new": float(accuracy)}


def embedded(network, data, graphs):
    edges, classes = data.labeled(graphs)
    return np.asarray(network.embed(edges)), classes


def clustering(z, classes):
    """How well embeddings `[m, d]` cluster by class; each number of them scaled to variance 1."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, silhouette_score
    from sklearn.neighbors import NearestNeighbors

    spread = z.std(axis=0)
    # What differs by rounding errors alone is the same.
    z = np.where(spread > 1e-5 * (1e-3 + np.abs(z).max()), z - z.mean(axis=0), 0)
    z = np.round(z / np.where(spread > 0, spread, 1), 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct points than classes: a bad score
        means = KMeans(len(np.unique(classes)), n_init=20, random_state=0).fit(z)
    _, near = NearestNeighbors(n_neighbors=2).fit(z).kneighbors(z)
    # Where many points are the same, a point needs not be its own first neighbor.
    own = near[:, 0] == np.arange(len(z))
    nearest = np.where(own, near[:, 1], near[:, 0])
    return {
        "adjusted_rand": float(adjusted_rand_score(classes, means.labels_)),
        "silhouette": float(silhouette_score(z, classes)),
        "purity": float(np.mean(classes[nearest] == classes)),
    }


def draw(network, data, config, path, traces):
    from reproductions.tasks.isomorphism import plots

    parts = {
        "held-out permutations": embedded(network, data, data.old),
        "held-out classes": embedded(network, data, data.new),
    }
    plots.embeddings(parts, path)


TASK = Task(
    name="isomorphism",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    search=SEARCH,
    display=Display(
        matrix=Matrix(
            what="are two graphs isomorphic? accuracy",
            models={"sparse": "sparse_adaptive"},
            chance=lambda config: 0.5,
        ),
        families={"static": ("static",), "dynamic": ("dynamic",), "sparse": ("sparse_*",)},
    ),
    data=data,
    build=build,
    generated=generated,
    transfer=transfer,
    draw=draw,
)
