"""Graphs whose nodes are classified: Cora and Citeseer from npz files, and a generated one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reproductions.data.data_dir import DataError, find
from reproductions.data.graph_sets import READING, both_ways


class Nodes:
    """One graph whose nodes have labels: sparse features, edges, and indices of three splits."""

    def __init__(self, x, edges, labels, splits, config):
        self.x, self.edges, self.labels = x.tocsr(), edges, labels.astype("int32")
        self.splits, self.config = splits, config

    def train(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _ in range(self.config["steps"]):
            yield self.part("train")

    def part(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.splits[split].astype("int32")
        return chosen, self.labels[chosen]

    @property
    def valid(self) -> tuple[np.ndarray, np.ndarray]:
        return self.part("valid")

    @property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        return self.part("test")

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


def normalized(x: Any) -> Any:
    """Sparse rows whose sum is 1; empty ones stay."""
    from sklearn.preprocessing import normalize

    return normalize(x, norm="l1").astype("float32")


def planetoid(name: str, config: dict[str, Any], data_dir: Path | None) -> Nodes:
    """Cora or Citeseer with the public split of Yang et al. (2016)."""
    from scipy import sparse

    path = find(f"{name}.npz", data_dir, "planetoid", "graphs/planetoid", embedded="blocks")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            parts = tuple(file[f"x_{part}"] for part in ("data", "indices", "indptr"))
            x = sparse.csr_matrix(parts, shape=file["x_shape"].tolist())
            edges, labels = file["edges"], file["labels"]
            splits = {s: file[k] for s, k in (("train", "train"), ("valid", "val"), ("test",) * 2)}
        x.check_format()
        n = x.shape[0]
        if len(labels) != n or edges.ndim != 2 or edges.shape[1] != 2:
            raise ValueError(f"features of {n} nodes, labels {labels.shape}, edges {edges.shape}")
        for what, nodes in (("edges", edges), *splits.items()):
            if nodes.min() < 0 or nodes.max() >= n:
                raise ValueError(f"{what} name nodes other than 0 to {n - 1}")
        if min(labels[nodes].min() for nodes in splits.values()) < 0:
            raise ValueError("nodes of a split have no label")
    except READING as error:
        raise DataError(f"{path} is not a readable set of nodes: {error}") from error
    return Nodes(normalized(x), both_ways(edges), labels, splits, config)


def blocks(config: dict[str, Any], classes: int = 4, size: int = 150, words: int = 100) -> Nodes:
    """A stochastic block model, whose nodes hold words that their class is somewhat fond of."""
    import networkx as nx
    from scipy import sparse

    rng, n = np.random.default_rng(0), classes * size
    inside, outside = 4 / size, 2 / n
    chances = np.where(np.eye(classes), inside, outside)
    graph = nx.stochastic_block_model([size] * classes, chances, seed=0)
    labels = np.repeat(np.arange(classes), size)
    share, held = words // classes, 8
    own = labels[:, None] * share + rng.integers(0, share, (n, held))
    drawn = np.where(rng.random((n, held)) < 0.25, own, rng.integers(0, words, (n, held)))
    x = np.zeros((n, words), "float32")
    np.put_along_axis(x, drawn, 1, axis=1)
    order = rng.permutation(n)
    train = np.concatenate([order[labels[order] == c][:20] for c in range(classes)])
    rest = order[~np.isin(order, train)]
    splits = {"train": train, "valid": rest[: len(rest) // 2], "test": rest[len(rest) // 2 :]}
    edges = both_ways(np.array(graph.edges))
    return Nodes(normalized(sparse.csr_matrix(x)), edges, labels, splits, config)
