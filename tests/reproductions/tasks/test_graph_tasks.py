"""The tasks on graphs: files that are read or refused, unions, folds, networks, records."""

import io
import json
import math
import zipfile

import keras
import networkx as nx
import numpy as np
import pytest
from scipy import sparse

from baselines.graph_networks import wl_colors
from reproductions.__main__ import main
from reproductions.data import citation_graphs, graph_sets
from reproductions.data.data_dir import DataError
from reproductions.tasks import graph_classification, node_classification
from reproductions.tasks.graph_classification import networks

TU = {  # a path of three nodes, a triangle, and an edge whose other direction isn't there
    "A": "2, 1\n1, 2\n3, 2\n2, 3\n4, 5\n5, 4\n5, 6\n6, 5\n4, 6\n6, 4\n7, 8\n",
    "graph_indicator": "1\n1\n1\n2\n2\n2\n3\n3\n",
    "graph_labels": "1\n-1\n1\n",
    "node_labels": "0\n5\n0\n5\n5\n5\n0\n0\n",
}


def write_tu(folder, **changes):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for kind, text in (TU | changes).items():
            if text is not None:
                file.writestr(f"SMALL//SMALL_{kind}.txt", text)
    path = folder / "SMALL.zip"
    path.write_bytes(content.getvalue())
    return path


# Graphs to classify


def test_a_tu_set_is_read(tmp_path):
    (tmp_path / "tu").mkdir()
    write_tu(tmp_path / "tu")
    found = graph_sets.tu("SMALL", tmp_path)
    assert len(found) == 3 and found.labels.tolist() == [1, 0, 1] and found.features == 2
    np.testing.assert_array_equal(found.x[:, 1], [0, 1, 0, 1, 1, 1, 0, 0])
    pairs = {(0, 1), (1, 2), (3, 4), (4, 5), (3, 5), (6, 7)}
    assert set(map(tuple, found.edges.tolist())) == pairs | {(b, a) for a, b in pairs}


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(node_labels="0\n5\n0\n"), "3 node labels for 8 nodes"),
        (dict(graph_indicator="1\n1\n1\n2\n2\n2\n2\n2\n"), "graphs 1 to 3"),
        (dict(graph_labels="1\n-1\n"), "graphs 1 to 2"),
        (dict(A="1, 2\n2, 9\n"), "nodes other than 1 to 8"),
        (dict(A="1, 2\n3, 4\n"), "from one graph to another"),
        (dict(A="1, 2\n2, x\n"), "x"),
        (dict(node_labels=None), "SMALL_node_labels.txt"),
    ],
)
def test_a_damaged_tu_set_is_named(tmp_path, changes, message):
    write_tu(tmp_path, **changes)
    with pytest.raises(DataError, match=rf"SMALL.zip is not a readable TU.*{message}"):
        graph_sets.tu("SMALL", tmp_path)


def test_cut_and_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match="SMALL.zip was not found in .*--data-dir"):
        graph_sets.tu("SMALL", tmp_path)
    path = write_tu(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="SMALL.zip is not a readable"):
        graph_sets.tu("SMALL", tmp_path)
    (tmp_path / "csl.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="csl.npz is not a readable"):
        graph_sets.csl(tmp_path)
    np.savez(tmp_path / "csl.npz", edges=np.full((2, 3, 2), 9), labels=[0, 1], num_nodes=4)
    with pytest.raises(DataError, match="nodes other than 0 to 3"):
        graph_sets.csl(tmp_path)
    (tmp_path / "sr251256.g6").write_bytes(b"X}rM\\QT\n")
    with pytest.raises(DataError, match="sr251256.g6 is not the graph6 file"):
        graph_sets.sr25(tmp_path)


def as_networkx(x, graph):
    nodes = np.flatnonzero(x["node_graph"] == graph)
    kept = x["edges"][x["node_graph"][x["edges"][:, 0]] == graph]
    found = nx.Graph(kept.tolist())
    found.add_nodes_from(nodes.tolist())
    return found


def test_a_batch_is_the_union_of_its_graphs(tmp_path):
    write_tu(tmp_path)
    x, y = graph_sets.tu("SMALL", tmp_path).batch([2, 1], np.random.default_rng(0))
    assert x["counts"].tolist() == [2, 3] and y.tolist() == [1, 0]
    assert x["node_graph"].tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(x["x"][:, 1], [0, 0, 1, 1, 1])
    assert nx.is_isomorphic(as_networkx(x, 0), nx.path_graph(2))
    assert nx.is_isomorphic(as_networkx(x, 1), nx.cycle_graph(3))


def test_skip_links_are_regular_of_ten_classes_and_one_to_1_wl():
    found = graph_sets.csl()
    assert np.bincount(found.labels).tolist() == [15] * 10
    x, _ = found.batch([0, 1, 15, 149], np.random.default_rng(0))
    one, copy, other, last = (as_networkx(x, g) for g in range(4))
    assert {degree for graph in (one, copy, other, last) for _, degree in graph.degree} == {4}
    assert nx.is_isomorphic(one, copy) and set(one.edges) != set(copy.edges)
    walks = [np.trace(np.linalg.matrix_power(nx.to_numpy_array(g), 6)) for g in (one, other, last)]
    assert len(set(walks)) == 3  # so no two are isomorphic
    assert len(np.unique(wl_colors(x["edges"], np.zeros(4 * 41)))) == 1


def test_a_csl_file_is_read(tmp_path):
    edges = [list(nx.circulant_graph(7, [1, skip]).edges) for skip in (2, 3)]
    np.savez(tmp_path / "csl.npz", edges=edges, labels=[0, 1], num_nodes=7)
    found = graph_sets.csl(tmp_path)
    assert found.labels.tolist() == [0, 1] and len(found.edges) == 2 * 2 * 14


def test_strongly_regular_graphs_are_kept(tmp_path):
    latin = nx.Graph()  # cells of the cyclic Latin square of order 5: in a line, or alike
    cells = [(r, c, (r + c) % 5, (r + 2 * c) % 5) for r in range(5) for c in range(5)]
    for a in range(25):
        for b in range(a):
            if any(p == q for p, q in zip(cells[a][:3], cells[b][:3], strict=True)):
                latin.add_edge(a, b)
    latin = nx.convert_node_labels_to_integers(latin, ordering="sorted")
    broken = latin.copy()
    broken.remove_edge(*next(iter(latin.edges)))
    lines = [nx.to_graph6_bytes(g, header=False) for g in (latin, broken, nx.complement(latin))]
    (tmp_path / "sr251256.g6").write_bytes(b"".join(lines))
    found = graph_sets.sr25(tmp_path, "random")
    assert len(found) == 2 and found.features == 1 + graph_sets.DRAWN
    assert {degree for _, degree in as_networkx(found.batch([0], rng())[0], 0).degree} == {12}


def rng():
    return np.random.default_rng(0)


def test_identities_are_drawn_in_every_batch():
    one, two = (graph_sets.csl(None, kind) for kind in ("random", "laplacian"))
    draw = np.random.default_rng(0)
    first, again = (one.batch([3], draw)[0]["x"] for _ in range(2))
    assert first.shape == (41, 9) == (41, one.features) and (first[:, 1:] != again[:, 1:]).all()
    np.testing.assert_array_equal(first[:, 0], 1)
    first, again = (two.batch([3], draw)[0]["x"] for _ in range(2))
    np.testing.assert_array_equal(np.abs(first), np.abs(again))
    signs = first[:, 1:] * again[:, 1:]
    assert len(set(np.sign(signs.sum(axis=0)))) == 2
    v = first[:, 1:].astype("float64")
    np.testing.assert_allclose(v.T @ v / 41, np.eye(20), atol=1e-5)
    laplacian = nx.laplacian_matrix(as_networkx(two.batch([3], draw)[0], 0), range(41)) @ v
    np.testing.assert_allclose(laplacian, v * (laplacian * v).mean(axis=0), atol=1e-4)


def test_folds_are_stratified_and_apart():
    labels = np.repeat([0, 1], [40, 20])
    found, other = (graph_classification.folds(labels, 10, seed) for seed in (0, 1))
    np.testing.assert_array_equal(np.sort(np.concatenate([t for *_, t in found])), np.arange(60))
    for train, valid, test in found:
        assert sorted(map(len, (train, valid, test))) == [6, 6, 48]
        assert len(set(np.concatenate([train, valid, test]))) == 60
        assert labels[test].sum() == labels[valid].sum() == 2
    assert any((a[2] != b[2]).any() for a, b in zip(found, other, strict=True))
    ((train, valid, test),) = graph_classification.folds(labels, 1, 0)
    assert len(train) == len(valid) == len(test) == 60


NEURAL = [model for model in graph_classification.MODELS if model != "wl"]


@pytest.mark.parametrize("model", NEURAL)
def test_graph_networks_have_like_sizes_and_know_no_order(model):
    keras.utils.set_random_seed(0)
    data = graph_sets.csl(None, "laplacian")
    network = graph_classification.build(
        model, graph_classification.PRESETS["smoke"] | {"parameters": 4000}, data
    )
    count = networks.parameters
    found = sum(math.prod(weight.shape) for weight in network.trainable_weights)
    assert found in {count(model, 21, 10, w) for w in range(1, 100)}
    sizes = [count(model, f, c, w) for f, c in ((7, 2), (1, 10)) for w in range(1, 512)]
    assert min(abs(size / 10000 - 1) for size in sizes) < 0.05
    x, _ = data.batch([0, 50], rng())
    there = rng().permutation(82)
    moved = x | dict(
        x=x["x"][np.argsort(there)],
        edges=there[x["edges"]].astype("int32"),
        node_graph=x["node_graph"][np.argsort(there)],
    )
    scores = np.array(network(x))
    np.testing.assert_allclose(network(moved), scores, rtol=1e-2, atol=1e-2)
    alone, _ = graph_sets.csl().batch([0, 50], rng())
    plain = graph_classification.build(
        model, graph_classification.PRESETS["smoke"], graph_sets.csl()
    )
    scores = np.array(plain(alone))  # of graphs that 1-WL cannot tell apart
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4, atol=1e-4)


def test_the_epoch_is_chosen_on_validation(monkeypatch):
    curves = [
        [(0.5, 1.0, 0.9), (0.7, 0.9, 0.4), (0.7, 0.5, 0.6)],
        [(0.8, 0.1, 0.2), (0.8, 0.2, 1.0), (0.1, 0.0, 1.0)],
    ]
    monkeypatch.setattr(graph_classification, "_networks", lambda *_: (curves, {"trainable": 1}))
    data = graph_sets.csl()
    found = graph_classification.measure("gcn", graph_classification.PRESETS["smoke"], 0, data)[
        "metrics"
    ]
    assert found["valid"]["epochs"] == [3, 1]
    assert found["test"]["accuracy"] == pytest.approx((0.6 + 0.2) / 2)
    assert found["test"]["fold_std"] == pytest.approx(np.std([0.6, 0.2], ddof=1))
    assert found["test"]["peak"] == pytest.approx((0.6 + 1.0) / 2)


def test_wl_tells_what_it_can_and_stays_at_chance_where_it_cannot(tmp_path):
    config = graph_classification.PRESETS["smoke"] | dict(folds=3)
    found = graph_classification.measure("wl", config, 0, graph_sets.csl())["metrics"]["test"]
    assert found["accuracy"] == pytest.approx(0.1)
    made = [nx.path_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.path_graph(3))] * 12
    data = graph_sets._identified(made, [0, 1] * 12, None)
    found = graph_classification.measure("wl", config, 0, data)["metrics"]["test"]
    assert found["accuracy"] == 1


def test_a_run_on_graphs_leaves_records_and_a_picture(tmp_path):
    words = ["run", "graph_classification", "--preset", "smoke", "--models", "mlp,dynamic"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "graph_classification" / "smoke"
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        assert record["status"] == "finished", record["error"]
        assert set(record["metrics"]["test"]) == set(graph_classification.METRICS)
        assert record["config"]["dataset"] == record["data"] == "csl"
    assert len(list(folder.glob("*.json"))) == 2 and (folder / "curves.png").exists()


def test_published_figures_stand_beside_their_data_set():
    from reproductions.engine.results import pages, summary

    task = graph_classification.TASK
    found = [
        pages.figures(task, "full", summary.Row("gin", {}, name, "", []))
        for name in ("mutag", "proteins", "csl")
    ]
    assert [text.partition(" (")[0] for text in found] == ["peak 0.894", "peak 0.762", ""]


# Nodes to classify


def write_nodes(folder, **changes):
    x = sparse.csr_matrix(np.eye(6, 4, dtype="float32") + np.eye(6, 4, k=-2, dtype="float32"))
    arrays = dict(x_data=x.data, x_indices=x.indices, x_indptr=x.indptr, x_shape=x.shape)
    arrays |= dict(labels=[0, 1, 2, 0, 1, -1], edges=[[0, 1], [1, 2], [4, 5]])
    arrays |= dict(train=[0, 1, 2], val=[3], test=[4])
    np.savez(folder / "cora.npz", **arrays | changes)


CONFIG = node_classification.configurations("gcn", "smoke", "cora")[0]


def test_planetoid_files_are_read(tmp_path):
    write_nodes(tmp_path)
    found = node_classification.data("cora", CONFIG, tmp_path)
    assert found.edges.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1], [4, 5], [5, 4]]
    np.testing.assert_allclose(found.x.sum(axis=1).ravel(), 1)
    assert [part.tolist() for part in found.valid] == [[3], [0]]
    assert [part.tolist() for part in found.test] == [[4], [1]]
    assert len(list(found.train(0, 0))) == CONFIG["steps"] and found.classes == 3


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(labels=[0, 1]), "labels"),
        (dict(edges=[[0, 6]]), "edges name nodes other than 0 to 5"),
        (dict(val=[-1]), "valid name nodes other than"),
        (dict(test=[5]), "no label"),
        (dict(x_indptr=[0, 1]), "index"),
    ],
)
def test_damaged_planetoid_files_are_named(tmp_path, changes, message):
    write_nodes(tmp_path, **changes)
    with pytest.raises(DataError, match=f"cora.npz is not a readable set of nodes.*{message}"):
        node_classification.data("cora", CONFIG, tmp_path)


def test_blocks_are_the_same_every_time_and_split_apart():
    one, two = (citation_graphs.blocks(CONFIG) for _ in range(2))
    assert (one.x != two.x).nnz == 0
    np.testing.assert_array_equal(one.edges, two.edges)
    assert np.bincount(one.labels[one.splits["train"]]).tolist() == [20] * 4
    assert len(set(np.concatenate(list(one.splits.values())))) == 600
    same = (one.labels[one.edges[:, 0]] == one.labels[one.edges[:, 1]]).mean()
    assert 0.6 < same < 0.9


def test_gcn_is_the_published_network():
    keras.utils.set_random_seed(0)
    data = citation_graphs.blocks(CONFIG)
    network = node_classification.build("gcn", CONFIG, data)
    n, x = len(data.labels), data.x.toarray().astype("float64")
    a = np.eye(n)
    a[tuple(data.edges.T)] = 1
    a /= np.sqrt(np.outer(a.sum(axis=1), a.sum(axis=0)))
    first, bias = network.words.kernel.numpy(), network.bias.numpy() + 0.1
    network.bias.assign(bias)
    second = [weight.numpy() for weight in network.second.weights]
    assert len(network.weights) == 4
    expected = a @ np.maximum(a @ x @ first + bias, 0) @ second[0] + second[1]
    nodes = np.array([5, 3, 599], "int32")
    np.testing.assert_allclose(network(nodes), expected[nodes], rtol=1e-4, atol=1e-5)
    penalty = CONFIG["l2"] / 2 * (first**2).sum()
    np.testing.assert_allclose(sum(map(float, network.losses)), penalty, rtol=1e-4)


@pytest.mark.parametrize("model", node_classification.MODELS)
def test_only_mlp_sees_no_edges(model):
    keras.utils.set_random_seed(0)
    data = citation_graphs.blocks(CONFIG)
    network = node_classification.build(model, CONFIG, data)
    nodes = np.arange(100, dtype="int32")
    before = np.array(network(nodes, soft=True))
    network.edges = np.roll(data.edges, 7, axis=0)[:, ::-1][: len(data.edges) // 2]
    after = np.array(network(nodes, soft=True))
    assert np.allclose(before, after, rtol=1e-3, atol=1e-6) == (model == "mlp")


def test_a_run_on_nodes_leaves_records(tmp_path):
    words = ["run", "node_classification", "--preset", "smoke", "--models", "gcn"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "node_classification" / "smoke"
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        assert record["status"] == "finished", record["error"]
        assert set(record["metrics"]["test"]) == set(node_classification.METRICS)
    assert len(list(folder.glob("*.json"))) == 1
    assert len(node_classification.TASK.settings("gcn", "full", "citeseer")) == 2
