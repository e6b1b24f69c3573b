"""The space of architectures, how they are ranked, and what the records of all models say."""

import json
import math

import keras
import numpy as np
import pytest

from hyperkeras import models
from reproductions import __main__ as command_line
from reproductions.tasks import architectures
from reproductions.tasks.architectures import networks, ranking, space
from reproductions.tasks.architectures.zoo import Zoo, he_start


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """{model: its record of a smoke run}."""
    folder = tmp_path_factory.mktemp("records")
    words = ["run", "architectures", "--preset", "smoke", "--out", str(folder)]
    assert command_line.main(words) == 0
    assert (folder / "architectures/smoke/curves.png").exists()
    found = [json.loads(p.read_text()) for p in folder.glob("architectures/smoke/*.json")]
    return {record["model"]: record for record in found}


@pytest.fixture(scope="module")
def small():
    """A zoo of random images."""
    rng = np.random.default_rng(0)
    images = {
        split: (rng.normal(size=(40, 4, 4, 1)).astype("float32"), rng.integers(0, 10, 40))
        for split in ("train", "valid", "test")
    }
    return Zoo(images, architectures.PRESETS["smoke"])


def test_every_model_leaves_a_record(records):
    assert set(records) == set(architectures.TASK.models_of("smoke"))
    for model, record in records.items():
        assert record["status"] == "finished", record["error"]
        test = record["metrics"]["test"]
        assert set(test) == set(architectures.METRICS)
        assert (test["accuracy"] is None) == (model in architectures.RANKERS)
        assert (test["kendall"] is None) == (model == "trained")
        # What training makes of the networks is the same for all models.
        assert (
            record["metrics"]["valid"]["trained"]
            == records["trained"]["metrics"]["valid"]["trained"]
        )
        assert bool(record["parameters"]) == (model in architectures.HYPERNETWORKS)
    counts = records["parameter_count"]["metrics"]["valid"]["figures"]
    assert min(min(values) for values in counts.values()) > 100


def test_draws_are_new_and_follow_the_seed():
    known = space.draw_new(np.random.default_rng(0), 30)
    assert known == space.draw_new(np.random.default_rng(0), 30)
    others = space.draw_new(np.random.default_rng(0), 30, known)
    assert len({*known, *others}) == 60
    for architecture in known:
        units = architecture.stem
        for block in architecture.blocks:
            assert not block.skip or block.units == units
            units = block.units
        assert sum(block.pool is not None for block in architecture.blocks) <= space.POOLS
    deep = space.draw_new(np.random.default_rng(1), 5, **space.SPLITS["deep"])
    assert all(len(architecture.blocks) in space.DEEP for architecture in deep)


def test_networks_are_what_is_described():
    blocks = (space.Block("conv3", 6, False, "max"), space.Block("separable", 6, True, None))
    network = space.build(space.Architecture(4, blocks), (8, 8, 1), 10)
    shapes = [w.shape for w in network.trainable_weights if len(w.shape) > 1]
    assert shapes == [(3, 3, 1, 4), (3, 3, 4, 6), (3, 3, 6, 1), (1, 1, 6, 6), (6, 10)]
    kinds = models.computation_graph(network).kinds
    assert kinds.count("Add") == kinds.count("MaxPooling2D") == 1
    assert kinds.count("BatchNormalization/gamma") == 3 and "Conv2D/bias" not in kinds
    plain = space.build(space.Architecture(4, blocks, normalized=False), (8, 8, 1), 10)
    kinds = models.computation_graph(plain).kinds
    assert kinds.count("Conv2D/bias") == 3 and "BatchNormalization/gamma" not in kinds
    block = space.Block("separable", 4, True, None)
    longest = space.Architecture(4, (block._replace(pool="max"), *(max(space.DEEP) - 1) * [block]))
    graph = models.computation_graph(space.build(longest, (8, 8, 1), 10))
    assert len(graph.kinds) <= networks.MOST_NODES


def test_accuracy_is_by_statistics_of_training_images(small):
    network = small.networks["test"][0]
    he_start(network, 0)
    norm = next(x for x in network.layers if isinstance(x, keras.layers.BatchNormalization))
    norm.moving_mean.assign(np.full(norm.moving_mean.shape, 5.0))
    small.accuracy(network)
    before = keras.Model(network.input, norm.input)(small.images["train"][0])
    np.testing.assert_allclose(norm.moving_mean, np.mean(before, (0, 1, 2)), atol=1e-5)


def test_a_he_start_keeps_activations(small):
    network = space.build(small.architectures["wide"][0], (4, 4, 1), 10)
    he_start(network, 0)
    kernels = [w for w in network.trainable_weights if len(w.shape) > 1]
    assert all(np.std(w) > 0 for w in kernels)
    stem = np.array(kernels[0])
    assert np.var(stem) == pytest.approx(2 / 9, rel=0.4)


def test_training_begins_anew(small):
    network = small.networks["test"][0]
    found = []
    for _ in range(2):
        he_start(network, 1)
        small.train(network, 3, (1,))
        found.append(network.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_places_share_kernels_and_nothing_else():
    """Two networks have the same weights where their nodes have the same places."""
    network = networks.hypernetwork("shared", architectures.PRESETS["smoke"])
    blocks = (space.Block("conv3", 6, False, None), space.Block("conv1", 8, False, None))
    long = network.generate(space.build(space.Architecture(4, blocks), (8, 8, 1), 10))
    short = network.generate(space.build(space.Architecture(4, blocks[:1]), (8, 8, 1), 10))
    assert network.count_params() >= network.decoder.count_params()
    for one, other in zip(long[:6], short[:6], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(
        long[3], network.decoder.kernels[5][..., :4, :6] * math.sqrt(2 / 36), rtol=1e-5
    )


def test_a_code_of_zeros_knows_places_alone():
    network = networks.hypernetwork("zeros", architectures.PRESETS["smoke"])
    made = [
        network.generate(
            space.build(
                space.Architecture(4, (space.Block("conv3", 6, skip, None),)), (8, 8, 1), 10
            )
        )[0]
        for skip in (False, False)
    ]
    wider = network.generate(space.build(space.Architecture(8, ()), (8, 8, 1), 10))[0]
    np.testing.assert_array_equal(made[0], made[1])
    # Scaled by their norms, cut kernels agree up to a factor.
    ratio = np.array(wider)[..., :4] / np.array(made[0])
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-3)


def test_ranking():
    trained = np.linspace(0.5, 0.9, 20)
    assert ranking.kendall(trained, trained) == pytest.approx(1)
    assert ranking.kendall(-trained, trained) == pytest.approx(-1)
    assert ranking.kendall(np.ones(20), trained) == 0
    figures = np.concatenate([trained[:10], trained[:9:-1]])  # the better half in reverse
    assert ranking.better_half(figures, trained) == pytest.approx(-1)
    low, high = ranking.interval(figures, trained, draws=50)
    assert -1 <= low < ranking.kendall(figures, trained) < high <= 1
