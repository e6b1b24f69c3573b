"""The sorting task: its data, what counts as sorted, its losses, records and pictures."""

import json
import math

import keras
import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.tasks import sorting, sorting_gradient
from reproductions.tasks.sorting import families
from reproductions.tasks.sorting.networks import Sorter


def built(model, **changes):
    config = sorting.TASK.settings(model, "smoke", "digits")[0] | changes
    numbers = sorting.data("digits", config, None)
    return sorting.build(model, config, numbers), numbers, config


def test_numbers_are_their_digits_side_by_side():
    _, numbers, _ = built("quicksort", digits=3, pool=50)
    digits = np.stack([np.full((8, 8, 1), value / 10, "float32") for value in range(10)])
    numbers.splits = dict.fromkeys(("train", "test"), (digits, np.arange(10)))
    for (images, sets), values in (next(numbers.train(0, 0)), numbers.test):
        assert images.shape[1:] == (8, 24, 1) and values.shape == (len(sets), 3)
        found, expected = images[sets], values
        read = np.round(found[:, :, 0, ::8, 0] * 10) @ [100, 10, 1]
        np.testing.assert_array_equal(read, expected)


def test_recombined_numbers_are_of_the_images_digits():
    _, numbers, _ = built("quicksort", digits=3, images=4, batch=5, recombined=True)
    digits = np.stack([np.full((8, 8, 1), value / 10, "float32") for value in range(10)])
    numbers.splits = dict(train=(digits, np.arange(10)))
    (images, sets), values = next(numbers.train(0, 0))
    assert sets.shape == (5, 3, 3) and sets.max() < 12 and len(np.unique(sets)) > 8
    read = np.round(images[:, 0, ::8, 0] * 10).ravel()[sets] @ [100, 10, 1]
    np.testing.assert_array_equal(read, values)


def test_recombined_features_are_those_of_images_put_together_anew():
    keras.utils.set_random_seed(0)
    network = Sorter("quicksort", 3, (8, 48, 1), (4, 6), 5, 1.0, None, "float32")
    network.hidden.bias.assign(np.arange(5) / 10)
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(4, 8, 3, 16, 1)).astype("float32")
    images[:, :, :, [*range(7), *range(9, 16)]] = 0  # ink must reach no neighbor's features
    sets = rng.integers(0, 12, (5, 3, 3))
    anew = images.swapaxes(1, 2).reshape(12, 8, 16, 1)[sets]  # [5, 3, 3, 8, 16, 1]
    anew = anew.swapaxes(2, 3).reshape(15, 8, 48, 1)
    found = network((images.reshape(4, 8, 48, 1), sets))
    np.testing.assert_allclose(found, np.reshape(network.image(anew), (5, 3)), rtol=1e-4, atol=1e-6)
    assert np.std(found) > 0.01


def test_batches_are_a_function_of_seed_and_epoch():
    _, numbers, _ = built("quicksort")

    def first(*position):
        return next(numbers.train(*position))[1]

    np.testing.assert_array_equal(first(0, 1), first(0, 1))
    assert len({tuple(first(*p).ravel()) for p in ((0, 0), (0, 1), (1, 0))}) == 3
    assert numbers.valid[1].shape == numbers.test[1].shape == (20, 3)


class Known:
    """A network that gives each image its first pixel."""

    def __init__(self):
        self.image = self

    def predict(self, images, **kwargs):
        return images[:, 0, 0]

    def scores(self, features):
        return features[..., 0]

    def places(self, scores):
        return np.argsort(scores, axis=1)


@pytest.mark.parametrize(
    "keys, exact, elementwise",
    [([1, 2, 3], 1, 1), ([2, 1, 3], 0, 1 / 3), ([3, 2, 1], 0, 1 / 3), ([2, 3, 1], 0, 0)],
)
def test_exact_and_elementwise_accuracy(keys, exact, elementwise):
    pool = np.array(keys, "float32")[:, None, None, None]
    found = sorting.evaluate(Known(), (pool, np.array([[0, 1, 2]])), np.array([[10, 20, 30]]), {})
    assert found == {"exact": exact, "elementwise": pytest.approx(elementwise)}


@pytest.mark.parametrize("model", sorting.MODELS)
def test_right_keys_have_a_lower_loss_than_wrong_ones(model):
    network, _, _ = built(model)
    labels = np.array([[7, 40, 22]])
    right = np.array([[-1.0, 2.0, 0.5]], "float32")
    if network.method in ("row_stochastic", "sinkhorn", "gumbel_sinkhorn", "pointer"):
        right = 9 * np.eye(3, dtype="float32")[None, [0, 2, 1]]
        wrong = right[:, ::-1]
    else:
        wrong = -right
    np.testing.assert_array_equal(network.places(right), [[0, 2, 1]])
    losses = [float(network.compute_loss(y=labels, y_pred=scores)) for scores in (right, wrong)]
    assert losses[0] < losses[1] - 0.05


def test_matrices_are_of_sets_and_places():
    for model in sorting.MODELS:
        network, numbers, config = built(model)
        trace = np.array(sorting.trace(network, numbers, config))
        assert trace.shape == (3, 3)
        np.testing.assert_allclose(trace.sum(1), 1, rtol=1e-3)


def test_what_learns_from_keys_sorts_other_sizes():
    network, numbers, config = built("quicksort", size=5)
    found = sorting.transfer(network, "quicksort", numbers, config)
    assert found["exact_5"] is None  # which is `exact`
    assert all(0 <= found[f"{key}_{n}"] <= 1 for key in ("exact", "elementwise") for n in (3, 64))
    assert set(sorting.transfer(network, "sinkhorn", numbers, config).values()) == {None}


@pytest.mark.parametrize("preset", ["demo", "quick"])
def test_models_of_the_matrix_have_like_parameter_counts(preset):
    counts, matrix = {}, sorting.TASK.display.matrix
    for model in matrix.all_models():
        (config,) = sorting.TASK.settings(model, preset, "digits")
        network = sorting.build(model, config, sorting.data("digits", config, None))
        counts[model] = sum(math.prod(weight.shape) for weight in network.trainable_weights)
    assert max(counts.values()) < 1.05 * min(counts.values()), counts


@pytest.mark.parametrize("kind", ["dynamic", "recurrent"])
def test_a_pointer_does_not_care_for_the_order_of_its_elements(kind):
    keras.utils.set_random_seed(0)
    pointer = families.Pointer(families.cell(kind, 6), 5)
    elements = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    order = [2, 0, 3, 1]
    scores = np.array(pointer(elements))
    assert scores.shape == (2, 4, 4)
    moved = np.array(pointer(elements[:, order]))
    np.testing.assert_allclose(moved, scores[:, :, order], rtol=1e-4, atol=1e-5)
    # Where the state says nothing, all that changes is what was pointed to before.
    pointer.attention.state.kernel.assign(0 * pointer.attention.state.kernel)
    scores = np.array(pointer(elements), "float64")
    first, taken = scores[:, 0], np.zeros((2, 4))
    for place in range(4):
        expected = first + np.log(1 - taken + 1e-4) - np.log(1 + 1e-4)
        np.testing.assert_allclose(scores[:, place], expected, rtol=1e-4, atol=1e-4)
        taken = np.minimum(taken + np.exp(expected) / np.exp(expected).sum(1, keepdims=True), 1)


def test_the_full_setting_has_the_slides_three_digits_and_longer_runs():
    configs = sorting.TASK.settings("quicksort_cauchy", "full", "mnist")
    trained = [(one["size"], one["digits"], one["epochs"]) for one in configs]
    assert trained == [(5, 4, 5), (4, 3, 5), (5, 4, 40), (5, 4, 240), (15, 4, 25)]
    assert {one["digits"] for one in sorting.configurations("sinkhorn", "full", "mnist")} == {4}
    (matrix,) = sorting.configurations("row_stochastic", "full", "mnist")
    assert matrix["learning_rate"] == configs[0]["learning_rate"] / 4


def test_only_training_digits_move():
    _, numbers, _ = built("quicksort", reach=2)
    still = built("quicksort")[1]
    draws = [one.draw(np.random.default_rng(0), "valid", 4) for one in (numbers, still)]
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    ink = [next(one.train(0, 0))[0][0].sum(axis=(1, 2, 3)) for one in (numbers, still)]
    assert (ink[0] != ink[1]).any()  # some of a digit is moved out


def test_quicksort_learns_an_order():
    """Numbers of one digit, from a few steps."""
    keras.utils.set_random_seed(0)
    for model in ("quicksort", "quicksort_sampled", "quicksort_likelihood", "quicksort_random"):
        network, numbers, config = built(model, digits=1, steps=40, batch=20, learning_rate=5e-3)
        before = sorting.evaluate(network, *numbers.test, config)["elementwise"]
        network.fit(numbers.train(0, 0), steps_per_epoch=40, shuffle=False, verbose=0)
        after = sorting.evaluate(network, *numbers.test, config)["elementwise"]
        assert after > max(0.7, before + 0.1), (model, before, after)


def test_a_run_leaves_records_and_pictures(tmp_path):
    names = "quicksort,neural_sort_stochastic"
    words = ["run", "sorting", "--preset", "smoke", "--models", names, "--out", str(tmp_path)]
    assert main(words) == 0
    folder = tmp_path / "sorting" / "smoke"
    found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert {record["model"] for record in found} == set(names.split(","))
    for record in found:
        assert record["status"] == "finished" and 0 <= record["metrics"]["test"]["exact"] <= 1
        assert 0 <= record["metrics"]["test"]["elementwise_64"] <= 1
    assert len(list(folder.glob("*.png"))) == 2 + 1


def test_samples_bring_the_gradient_nearer_to_the_exact_one(tmp_path):
    words = ["run", "sorting_gradient", "--preset", "smoke", "--out", str(tmp_path)]
    assert main(words) == 0
    paths = (tmp_path / "sorting_gradient" / "smoke").glob("*.json")
    found = {
        run["model"]: run["metrics"]["test"]
        for run in (json.loads(path.read_text()) for path in paths)
    }
    assert set(found) == set(sorting_gradient.MODELS)
    # Of three elements one choice vector of three is rounded, and few samples miss one.
    assert all(0.01 < test["bias"] < 1 and test["cosine"] > 0.8 for test in found.values())
    few = sorting_gradient.configurations("buckets", "smoke", "keys")[0]
    more = sorting_gradient.measure("buckets", few | dict(samples=30), 0, None)["metrics"]["test"]
    assert more["bias"] < 1e-3 and more["deviation"] < 1e-2 and more["cosine"] > 0.9999
