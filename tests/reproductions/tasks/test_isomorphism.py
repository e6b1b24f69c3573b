"""The isomorphism task: its graphs and pairs, what degrees tell, networks, records."""

import functools
import json
import math

import networkx as nx
import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.tasks import isomorphism
from reproductions.tasks.isomorphism import networks

SMOKE = isomorphism.PRESETS["smoke"]
PAIRS = isomorphism.Pairs(SMOKE)


@functools.cache
def built(model):
    """A network that no test trains."""
    return isomorphism.build(model, SMOKE, PAIRS)


@pytest.mark.parametrize("nodes, edges, count", [(6, 12, 7), (12, 36, 24)])
def test_base_graphs_differ_in_nothing_but_their_isomorphism_class(nodes, edges, count):
    graphs = [nx.DiGraph(one.tolist()) for one in isomorphism.base_graphs(nodes, edges, count)]
    sizes = {(len(g), g.number_of_edges()) for g in graphs}
    assert sizes == {(nodes, edges)}
    told = {
        tuple((g.in_degree(i), g.out_degree(i), g.has_edge(i, i)) for i in range(nodes))
        for g in graphs
    }
    assert len(told) == 1
    assert any(loop for *_, loop in told.pop())
    for a in range(count):
        for b in range(a):
            assert not nx.is_isomorphic(graphs[a], graphs[b])


def test_too_many_classes_are_refused():
    with pytest.raises(ValueError, match="ask for more nodes"):
        isomorphism.base_graphs(3, 4, 6)


def test_pairs_are_balanced_and_as_labeled():
    (x, y), e = PAIRS.valid, SMOKE["edges"]
    assert x.shape == (SMOKE["pairs"], 2, e, 2) and y.mean() == 0.5
    for (one, other), same in zip(x, y, strict=True):
        graphs = [nx.DiGraph(edges.tolist()) for edges in (one, other)]
        assert nx.is_isomorphic(*graphs) == bool(same)
    assert {len(np.unique(one, axis=0)) for one in x.reshape(-1, e, 2)} == {e}


def test_bags_hold_copies_of_one_graph_and_perhaps_another():
    bags = isomorphism.data("bags", SMOKE, None)
    x, y = bags.valid
    assert x.shape == (SMOKE["pairs"], 8, SMOKE["edges"], 2) and y.mean() == 0.5
    sizes = set()
    for bag, same in zip(x, y, strict=True):
        graphs = [nx.DiGraph(edges.tolist()) for edges in bag]
        like = [sum(nx.is_isomorphic(one, other) for other in graphs) for one in graphs]
        assert (set(like) == {8}) == bool(same)
        sizes.add(len(np.unique(bag, axis=0)))
    assert min(sizes) >= 2 and len(sizes) > 3
    # A bag filled up is what it was.
    found = [built("gcn")(part) for part in (x[:, :2], np.concatenate([x[:, :2], x[:, :1]], 1))]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


def test_permutations_and_classes_are_held_out():
    rng = np.random.default_rng(0)
    seen = {
        split: {tuple(PAIRS.permutation(rng, split)) for _ in range(400)}
        for split in isomorphism.KINDS
    }
    assert min(len(one) for one in seen.values()) > 50
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["valid"]
    assert not seen["valid"] & seen["test"]
    assert len(PAIRS.old) == SMOKE["classes"] and len(PAIRS.new) == SMOKE["new"]
    first, again, other = (next(PAIRS.train(*p))[0] for p in ((0, 0), (0, 0), (0, 1)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_models_have_like_parameter_counts():
    count = networks.parameters
    models = [model for model in isomorphism.MODELS if model != "wl"]
    for model in models:
        found = sum(math.prod(weight.shape) for weight in built(model).trainable_weights)
        assert found in {count(model, SMOKE["nodes"], w) for w in range(1, 100)}, model
    for preset in ("quick", "full"):
        settings = isomorphism.PRESETS[preset]
        for model in models:
            near = min(
                abs(count(model, settings["nodes"], w) / settings["parameters"] - 1)
                for w in range(1, 512)
            )
            assert near < 0.05, (preset, model, near)
    for preset in ("demo", "quick", "full"):
        settings = isomorphism.PRESETS[preset]
        nodes, size = settings["nodes"], settings["parameters"]
        sizes = [
            min((count(model, nodes, w) for w in range(1, 512)), key=lambda n: abs(n - size))
            for model in isomorphism.FAMILIES
        ]
        assert max(sizes) / min(sizes) < 1.05, (preset, sizes)


def test_generated_weights_are_counted():
    found = {
        model: isomorphism.generated(built(model))
        for model in ("gin", "static", "dynamic", "recurrent")
    }
    assert found.pop("static") == 3 * 2 * 2 * 64 * 64 and found.pop("dynamic") == 12 * 26
    assert set(found.values()) == {0}


@pytest.mark.parametrize("model", isomorphism.MODELS)
def test_all_but_dense_embed_permuted_copies_alike(model):
    network = built(model)
    z, classes = isomorphism.embedded(network, PAIRS, PAIRS.old)
    within = max(np.ptp(z[classes == c], axis=0).max() for c in range(SMOKE["classes"]))
    assert (within < 1e-4 * np.abs(z).max()) == (model != "dense")
    between = np.ptp(z, axis=0).max()
    assert (between < 1e-4 * np.abs(z).max()) == (model == "degrees")
    if model == "degrees":  # so it can't be better than chance, nor worse
        _, accuracy = network.evaluate(*PAIRS.test, verbose=0)
        assert accuracy == 0.5


def test_clustering_of_right_and_of_equal_embeddings():
    classes = np.repeat(np.arange(4), 6)
    right = np.eye(4)[classes] + np.random.default_rng(0).normal(size=(24, 4), scale=1e-3)
    found = isomorphism.clustering(right, classes)
    assert found["adjusted_rand"] == found["purity"] == 1 and found["silhouette"] > 0.9
    for noise in (0, 1e-7):
        same = 1 + np.random.default_rng(0).normal(size=(24, 4), scale=noise)
        found = isomorphism.clustering(same, classes)
        assert found["adjusted_rand"] == 0 and found["purity"] < 0.5


def test_a_run_leaves_records_and_pictures(tmp_path):
    words = ["run", "isomorphism", "--preset", "smoke", "--models", "wl,static,dynamic"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "isomorphism" / "smoke"
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        assert record["status"] == "finished", record["error"]
        assert set(record["metrics"]["test"]) == set(isomorphism.METRICS)
    assert len(list(folder.glob("*.json"))) == 3 and len(list(folder.glob("*.png"))) == 4
    assert isomorphism.TASK.settings("gin", "quick", "digraphs")
