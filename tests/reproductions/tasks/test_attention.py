"""The attention task's own layer: where to look."""

import numpy as np
import pytest

from reproductions.tasks.attention import combinations, families, looks
from reproductions.tasks.attention.networks import SpatialSoftmax, glimpse_net


@pytest.fixture
def spots():
    """Scores of 10 × 12 cells with two spots, the second the brighter, and where these are."""
    places = np.array([[2, 3], [7, 9]])
    cells = np.indices((10, 12)).transpose(1, 2, 0)[:, :, None]  # [10, 12, 1, 2]
    near = np.exp(-((cells - places) ** 2).sum(-1) / 2)  # [10, 12, 2]
    return (near @ [20.0, 21.0])[None, :, :, None], places


def test_a_place_is_the_softmax_mean_in_training(spots):
    scores, _ = spots
    features = np.random.default_rng(0).normal(size=(1, 10, 12, 3))
    place, seen = SpatialSoftmax(pool=4)(
        scores.astype("float32"), features.astype("float32"), training=True
    )
    proportions = np.exp(scores[0, :, :, 0])
    proportions /= proportions.sum()
    # A score covers 4 × 4 pixels, the first one those from 0 to 3.
    pixels = np.indices((10, 12)) * 4 + 1.5
    np.testing.assert_allclose(place[0, 0], (proportions * pixels).sum((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(
        seen[0, 0], (proportions[:, :, None] * features[0]).sum((0, 1)), rtol=1e-4, atol=1e-5
    )


def test_a_place_between_two_spots_moves_to_the_brighter_at_inference(spots):
    scores, places = spots
    inputs = scores.astype("float32"), np.ones((1, 10, 12, 1), "float32")
    layer = SpatialSoftmax(pool=4)
    between, found = (np.array(layer(*inputs, training=t)[0])[0, 0] for t in (True, False))
    brighter = places[1] * 4 + 1.5
    assert np.linalg.norm(between - brighter) > 8
    assert np.linalg.norm(found - brighter) < np.linalg.norm(between - brighter) / 3


def test_several_grids_start_interleaved_around_the_brightest_place():
    image = np.zeros((1, 100, 100, 1), "float32")
    image[:, 36:56, 48:68] = 1
    reader = dict(filters=(2, 2, 2, 2), units=3, precision="float32")
    network = glimpse_net((100, 100, 1), 8, 12, "conv", reader, 4)
    points = np.asarray(network.get_layer("glimpse").source(image)[0]).reshape(8, -1, 2)
    middles = points.mean(1)
    # A grid begins at its first edge and ends a step before its second.
    np.testing.assert_allclose(middles.mean(0), [44.25, 56.5], atol=0.1)
    assert (np.ptp(middles, axis=0) < [2.5, 2]).all()  # less than between a grid's own points
    pixels = middles.mean(0) + np.indices((21, 21)).reshape(2, -1).T - 10
    distances = np.linalg.norm(pixels[:, None] - points.reshape(-1, 2), axis=-1).min(1)
    assert distances.max() < 0.8


def test_generated_weights_are_kernels_or_a_steps_scales_and_shifts():
    tiny = (20, 20, 1)
    static = families.static_net(tiny, (16, 16, 32), 3, 4, 2)
    assert looks.generated_weights(static) == 9 * 16 * (16 + 32)
    counts = {}
    for kind in ("dynamic", "recurrent"):
        network = families.reading_net((32, 32, 1), 2, families.cell(kind, 5), 6, looks=2)
        counts[kind] = looks.generated_weights(network)
        assert network(np.zeros((3, 32, 32, 1), "float32")).shape == (3, 10)
    assert counts == {"dynamic": 12 * 5, "recurrent": 0}


def test_a_reader_attends_by_what_it_saw():
    """Without weights for the state all looks are alike; with them they differ."""
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(1, 5, 4)).astype("float32")
    reader = families.Reader(families.cell("recurrent", 3), 6, looks=3)
    seen, step = [], reader.cell.call

    def watched(inputs, states, training=False):
        seen.append(np.array(inputs))
        return step(inputs, states, training)

    reader.cell.call = watched
    reader(parts)
    assert len(seen) == 3 and not np.allclose(seen[0], seen[1], atol=1e-5)
    seen.clear()
    reader.attention.state.kernel.assign(0 * reader.attention.state.kernel)
    reader(parts)
    np.testing.assert_allclose(seen[1], seen[0], rtol=1e-5)


READER = dict(filters=(2, 2, 2, 2), units=3, precision="float32")


def test_a_looker_starts_at_the_brightest_place_and_is_moved_by_its_state():
    image = np.zeros((1, 40, 40, 1), "float32")
    image[:, 9:19, 21:31] = 1
    network = combinations.looking_net((40, 40, 1), 16, READER, 2, looks=3)
    looker = network.get_layer("looker")
    points = np.asarray(looker.grids(image))[0]  # [looks, rows, columns, 2]
    np.testing.assert_allclose(points.mean((1, 2)), [[13.5, 25.5]] * 3, atol=1)
    # A state of its own moves all looks but the first, which has none.
    kernel = np.zeros(looker.moves.kernel.shape, "float32")
    kernel[16:, 1] = 2500.0  # columns
    looker.moves.kernel.assign(kernel)
    moved = np.asarray(looker.grids(image))[0]
    np.testing.assert_allclose(moved[0], points[0], atol=1e-4)
    assert (abs(moved - points)[1:, ..., 1] > 0.1).all()
    np.testing.assert_allclose(moved[..., 0], points[..., 0], atol=1e-3)  # rows
    assert looks.generated_weights(network) == 3 * 16 * 16 + 12 * 3


def test_each_crop_has_a_classifier_of_its_own():
    shape = (40, 40, 1)
    network = combinations.generated_classifier_net(shape, 16, READER, 2)
    classifier = network.get_layer("classifier")
    assert classifier.per_sample and looks.generated_weights(network) == 16**2 + 10 * 9
    images = np.random.default_rng(0).random((3, *shape)).astype("float32")
    together = np.asarray(network(images))
    assert together.shape == (3, 10)
    alone = np.concatenate([np.asarray(network(images[k : k + 1])) for k in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
