"""Graphs to classify, from files or generated, and their batches as disjoint unions.

The TU Dortmund text format (Morris et al. 2020), and two tests of expressive power: circular skip
links (CSL) and strongly regular graphs (SR25). Edges are pairs (i, j), in both directions, each
once.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from reproductions.data.data_dir import DataError, find

SKIPS = (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)  # of CSL's ten classes
CSL_NODES, CSL_COPIES = 41, 15
EIGENVECTORS, DRAWN = 20, 8
READING = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


class Graphs:
    """Graphs with a label each, as one disjoint union: nodes of a graph stand together.

    Args:
        x: Float array `[n, f]`, node features.
        edges: Integer array `[e, 2]`, sorted.
        node_graph: Integer array `[n]`, ascending.
        labels: Integer array `[g]`.
        drawn: How many normal numbers each node gets besides, new ones in every batch.
        signed: How many of the last features have a sign drawn anew for every graph and batch.
    """

    def __init__(self, x, edges, node_graph, labels, drawn=0, signed=0):
        self.x, self.edges, self.node_graph = x, edges, node_graph
        self.labels, self.drawn, self.signed = labels.astype("int32"), drawn, signed
        numbers = np.arange(len(labels) + 1)
        self.nodes = np.searchsorted(node_graph, numbers)  # each graph's first
        self.first_edge = np.searchsorted(node_graph[edges[:, 0]], numbers)

    def __len__(self):
        return len(self.labels)

    @property
    def features(self) -> int:
        return self.x.shape[1] + self.drawn

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def batch(
        self, chosen: np.ndarray, rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The union of the chosen graphs, `x, edges, node_graph, counts`, and their labels."""
        counts = np.diff(self.nodes)[chosen].astype("int32")
        graph = np.repeat(np.arange(len(chosen), dtype="int32"), counts)
        first = np.cumsum(counts) - counts
        nodes = [np.arange(self.nodes[g], self.nodes[g + 1]) for g in chosen]
        edges = [
            self.edges[self.first_edge[g] : self.first_edge[g + 1]] + (start - self.nodes[g])
            for g, start in zip(chosen, first, strict=True)
        ]
        x = self.x[np.concatenate(nodes)]
        if self.signed:
            signs = rng.choice([-1, 1], (len(chosen), self.signed)).astype("float32")
            x[:, -self.signed :] *= signs[graph]
        if self.drawn:
            x = np.concatenate([x, rng.normal(size=(len(x), self.drawn))], axis=1, dtype="float32")
        edges = np.concatenate(edges).astype("int32")
        return dict(x=x, edges=edges, node_graph=graph, counts=counts), self.labels[chosen]


def both_ways(edges: Any) -> np.ndarray:
    """Each pair in both directions, once, sorted; edges to the node itself once."""
    edges = np.asarray(edges).reshape(-1, 2)
    return np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0).astype("int32")


def one_hot(labels: Any) -> np.ndarray:
    """Labels of any names as indicators `[n, number of names]`."""
    names, index = np.unique(labels, return_inverse=True)
    return np.eye(len(names), dtype="float32")[index]


# The TU Dortmund text format


def tu(name: str, data_dir: Path | None) -> Graphs:
    """A set of the TU Dortmund collection from `NAME.zip`: node labels are the features."""
    path = find(f"{name}.zip", data_dir, "tu", "graphs/tu", embedded="csl")
    try:
        with zipfile.ZipFile(path) as file:
            members = {member.rsplit("/", 1)[-1]: member for member in file.namelist()}

            def table(kind, columns=1):
                text = file.read(members[f"{name}_{kind}.txt"]).decode("ascii")
                return np.loadtxt(io.StringIO(text), "int64", delimiter=",", ndmin=2).reshape(
                    -1, columns
                )

            pairs = table("A", 2) - 1
            graph = table("graph_indicator")[:, 0] - 1
            labels, nodes = (table(f"{of}_labels")[:, 0] for of in ("graph", "node"))
        _check_tu(pairs, graph, labels, nodes)
    except READING as error:
        raise DataError(f"{path} is not a readable TU Dortmund set: {error}") from error
    return Graphs(
        one_hot(nodes), both_ways(pairs), graph, np.unique(labels, return_inverse=True)[1]
    )


def _check_tu(pairs, graph, labels, nodes):
    if len(nodes) != len(graph):
        raise ValueError(f"{len(nodes)} node labels for {len(graph)} nodes")
    if (np.diff(graph) < 0).any() or set(graph) != set(range(len(labels))):
        raise ValueError(f"nodes are not those of graphs 1 to {len(labels)}, in this order")
    if pairs.min() < 0 or pairs.max() >= len(graph):
        raise ValueError(f"edges name nodes other than 1 to {len(graph)}")
    if (graph[pairs[:, 0]] != graph[pairs[:, 1]]).any():
        raise ValueError("edges lead from one graph to another")


# What the Weisfeiler-Leman test cannot tell apart


def csl(data_dir: Path | None = None, identities: str | None = None) -> Graphs:
    """Circular skip links (Murphy et al. 2019): 10 classes of 15 permuted copies, 4-regular.

    From `csl.npz` in the folder; without one, generated.
    """
    graphs, labels = _csl_graphs() if data_dir is None else _read_csl(data_dir)
    return _identified(graphs, labels, identities)


def sr25(data_dir: Path | None, identities: str | None = None) -> Graphs:
    """The 15 strongly regular graphs of 25 nodes and degree 12, a class each, from graph6.

    A line that is not such a graph is left out: in a copy that is about, two of them are damaged.
    """
    import networkx as nx

    path = find("sr251256.g6", data_dir, "iso", "graphs/iso", embedded="csl")
    try:
        graphs = [nx.from_graph6_bytes(line) for line in path.read_bytes().split()]
        graphs = [graph for graph in graphs if _is_strongly_regular(graph)]
        if len(graphs) < 2:
            raise ValueError(f"{len(graphs)} of its graphs are strongly regular (25, 12, 5, 6)")
    except (*READING, nx.NetworkXError) as error:
        raise DataError(f"{path} is not the graph6 file of SR25: {error}") from error
    return _identified(graphs, range(len(graphs)), identities)


def _is_strongly_regular(graph):
    """Whether nodes have 12 neighbors, adjacent ones 5 in common, others 6."""
    import networkx as nx

    a = nx.to_numpy_array(graph)
    return len(a) == 25 and np.array_equal(a @ a, 6 + 6 * np.eye(25) - a)


def _csl_graphs():
    import networkx as nx

    rng, graphs = np.random.default_rng(0), []
    for skip in SKIPS:
        graph = nx.circulant_graph(CSL_NODES, [1, skip])
        for _ in range(CSL_COPIES):
            names = rng.permutation(CSL_NODES).tolist()
            graphs.append(nx.from_edgelist((names[a], names[b]) for a, b in graph.edges))
    return graphs, np.repeat(np.arange(len(SKIPS)), CSL_COPIES)


def _read_csl(data_dir):
    import networkx as nx

    path = find("csl.npz", data_dir, "iso", "graphs/iso", embedded="csl")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            edges, labels, nodes = file["edges"], file["labels"], int(file["num_nodes"])
        if edges.ndim != 3 or edges.shape[2] != 2 or len(edges) != len(labels):
            raise ValueError(f"edges {edges.shape} and labels {labels.shape}")
        if edges.min() < 0 or edges.max() >= nodes:
            raise ValueError(f"edges name nodes other than 0 to {nodes - 1}")
    except READING as error:
        raise DataError(f"{path} is not a readable set of CSL graphs: {error}") from error
    graphs = []
    for pairs in edges.tolist():
        graphs.append(nx.empty_graph(nodes))
        graphs[-1].add_edges_from(pairs)
    return graphs, labels


def _identified(graphs, labels, identities):
    """Regular graphs, whose nodes are alike but for "random" or "laplacian" features."""
    sizes = [len(graph) for graph in graphs]
    starts = np.cumsum(sizes) - sizes
    edges = [np.array(g.edges) + start for g, start in zip(graphs, starts, strict=True)]
    columns = [np.ones((sum(sizes), 1))]
    if identities == "laplacian":
        columns.append(np.concatenate([_eigenvectors(graph) for graph in graphs]))
    return Graphs(
        np.concatenate(columns, axis=1).astype("float32"),
        both_ways(np.concatenate(edges)),
        np.repeat(np.arange(len(graphs)), sizes),
        np.array(labels),
        drawn=DRAWN if identities == "random" else 0,
        signed=EIGENVECTORS if identities == "laplacian" else 0,
    )


def _eigenvectors(graph):
    """Those of the Laplacian's smallest eigenvalues but the first, of mean square 1."""
    import networkx as nx

    matrix = nx.laplacian_matrix(graph, nodelist=range(len(graph))).toarray().astype("float64")
    _, vectors = np.linalg.eigh(matrix)
    return vectors[:, 1 : 1 + EIGENVECTORS] * np.sqrt(len(graph))
