"""The published relaxations of sorting: what each promises."""

import keras
import numpy as np
import pytest
from keras import ops

from baselines import sorting

rng = np.random.default_rng(0)
KEYS = rng.permutation(np.linspace(-1.5, 2, 8))[None].astype("float32") * [[1], [-1], [2]]
KEYS = KEYS.astype("float32")
ORDER = np.argsort(KEYS, axis=1)
EXACT = np.eye(8, dtype="float32")[ORDER]
BY_KEYS = {
    "neural_sort": lambda keys, t: sorting.neural_sort(keys, t),
    "soft_sort": lambda keys, t: sorting.soft_sort(keys, t),
    "odd_even": lambda keys, t: sorting.network_sort(keys, 1 / t, "logistic")[0],
    "odd_even_optimal": lambda keys, t: sorting.network_sort(keys, 1 / t)[0],
    "bitonic": lambda keys, t: sorting.network_sort(keys, 1 / t, "logistic", "bitonic")[0],
    "bitonic_optimal": lambda keys, t: sorting.network_sort(keys, 1 / t, network="bitonic")[0],
}
by_keys = pytest.mark.parametrize("name", BY_KEYS)


@by_keys
def test_matrices_are_stochastic_and_cold_ones_permutations(name):
    warm = np.array(BY_KEYS[name](KEYS, 1.0))
    np.testing.assert_allclose(warm.sum(2), 1, rtol=1e-5)
    assert (warm >= 0).all() and warm.max() < 0.999
    if "_sort" not in name:  # networks, whose layers are doubly stochastic
        np.testing.assert_allclose(warm.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(BY_KEYS[name](KEYS, 1e-4), EXACT, atol=2e-3)


@pytest.mark.parametrize("name", ["neural_sort", "soft_sort"])
def test_a_permuted_set_has_permuted_columns(name):
    moved, whole = rng.permutation(8), np.array(BY_KEYS[name](KEYS, 0.5))
    np.testing.assert_allclose(BY_KEYS[name](KEYS[:, moved], 0.5), whole[:, :, moved], rtol=1e-4)


def test_neural_sort_and_soft_sort_are_their_equations():
    k, n, tau = KEYS[0].astype("float64"), 8, 0.7
    distances = np.abs(k[:, None] - k).sum(1)
    for i in range(n):
        rows = ((2 * (i + 1) - n - 1) * k - distances) / tau, -np.abs(np.sort(k)[i] - k) / tau
        found = sorting.neural_sort(KEYS[:1], tau), sorting.soft_sort(KEYS[:1], tau)
        for row, matrix in zip(rows, found, strict=True):
            expected = np.exp(row - row.max())
            np.testing.assert_allclose(
                matrix[0, i], expected / expected.sum(), rtol=1e-3, atol=1e-6
            )


def test_neural_sorts_rows_are_unimodal():
    keys = rng.normal(size=(50, 9)).astype("float32")
    best = np.argmax(sorting.neural_sort(keys, 5.0), axis=2)
    np.testing.assert_array_equal(best, np.argsort(keys, axis=1))


def test_stochastic_neural_sort_draws_each_element_first_as_often_as_its_key_says():
    keys = np.log([[0.5, 0.2, 0.3]]).astype("float32")
    drawn = sorting.neural_sort_stochastic(keys, 1e-3, samples=4000, seed=1)
    assert drawn.shape == (1, 4000, 3, 3)
    last = np.mean(drawn[0, :, -1], axis=0)  # the largest: softmax of the keys (Plackett-Luce)
    np.testing.assert_allclose(last, [0.5, 0.2, 0.3], atol=0.03)


def test_sinkhorn_is_doubly_stochastic_and_finds_the_best_permutation():
    logits = rng.normal(size=(4, 5, 5)).astype("float32")
    warm = np.array(sorting.sinkhorn(logits, 1.0, 50))
    np.testing.assert_allclose(warm.sum(1), 1, atol=1e-4)
    np.testing.assert_allclose(warm.sum(2), 1, atol=1e-4)
    from scipy.optimize import linear_sum_assignment

    for one, matrix in zip(logits, sorting.sinkhorn(logits, 0.02, 500), strict=True):
        _, columns = linear_sum_assignment(-one)
        np.testing.assert_array_equal(np.argmax(matrix, axis=1), columns)


def test_gumbel_sinkhorn_draws():
    logits = np.zeros((1, 3, 3), "float32")
    first, again, other = (
        np.array(sorting.gumbel_sinkhorn(logits, 0.1, 50, seed=seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    np.testing.assert_allclose(first.sum(2), 1, atol=1e-4)
    calm = sorting.gumbel_sinkhorn(logits, noise=0.0)
    np.testing.assert_allclose(calm, np.full((1, 3, 3), 1 / 3), rtol=1e-5)


def test_the_optimal_sigmoid_is_a_sigmoid_with_its_known_slopes():
    x = np.linspace(-3, 3, 601)
    y = np.array(sorting.optimal_sigmoid(x))
    np.testing.assert_allclose(y + y[::-1], 1, atol=1e-6)
    assert (np.diff(y) > 0).all() and y[0] == pytest.approx(1 / 48)
    # Lipschitz with constant 1, and a gradient that falls off as 1 / x², no faster.
    assert np.abs(np.diff(y) / np.diff(x)).max() < 1 + 1e-3
    assert float(sorting.optimal_sigmoid(100.0)) == pytest.approx(1 - 1 / 1600)


@pytest.mark.parametrize("network", sorting.NETWORKS)
@pytest.mark.parametrize("sigmoid, monotonic", [("optimal", True), ("logistic", False)])
def test_with_the_optimal_sigmoid_networks_are_monotonic(network, sigmoid, monotonic):
    keys = np.tile(rng.normal(size=(1, 4)), (2001, 1)).astype("float32")
    keys[:, 1] = np.linspace(-8, 8, 2001)
    ascending = np.diff(sorting.network_sort(keys, 3.0, sigmoid, network)[1], axis=0)
    assert (ascending.min() > -1e-5) == monotonic


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16])
def test_networks_sort(n):
    for make in sorting.NETWORKS.values():
        keys = rng.permutation(n)
        for pairs in make(n):
            assert len({i for pair in pairs for i in pair}) == 2 * len(pairs)
            for i, j in pairs:
                keys[i], keys[j] = min(keys[i], keys[j]), max(keys[i], keys[j])
        np.testing.assert_array_equal(keys, range(n))
    assert len(sorting.bitonic_network(n)) == n.bit_length() * (n.bit_length() - 1) // 2


def test_fast_rank_is_exact_when_weak_and_flat_when_strong():
    ranks = np.argsort(ORDER, axis=1) + 1
    np.testing.assert_allclose(sorting.fast_rank(KEYS, 1e-2), ranks, atol=1e-3)
    np.testing.assert_allclose(sorting.fast_rank(KEYS, 1e4), np.full((3, 8), 4.5), atol=1e-2)
    middle = np.array(sorting.fast_rank(KEYS, 1.0))
    np.testing.assert_allclose(middle.sum(1), 36, rtol=1e-5)  # on the permutahedron
    np.testing.assert_array_equal(np.argsort(middle, axis=1), ORDER)


def test_fast_rank_is_the_nearest_point_of_the_permutahedron():
    from scipy.optimize import minimize

    z = np.array([0.3, 2.0, -0.1, 1.8])
    sums = {"type": "eq", "fun": lambda r: r.sum() - 10}
    subsets = [
        {"type": "ineq", "fun": lambda r, s=s: r[list(s)].sum() - len(s) * (len(s) + 1) / 2}
        for s in ([i for i in range(4) if bits >> i & 1] for bits in range(1, 15))
    ]
    nearest = minimize(
        lambda r: ((r - z) ** 2).sum(), np.full(4, 2.5), constraints=[sums, *subsets]
    )
    found = sorting.fast_rank(z[None].astype("float32"))[0]
    np.testing.assert_allclose(found, nearest.x, atol=1e-3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients by a tape")
@pytest.mark.parametrize("name", [*BY_KEYS, "sinkhorn", "fast_rank"])
def test_gradients_are_those_of_finite_differences(name):
    import tensorflow as tf

    if name == "sinkhorn":
        x, function = rng.normal(size=(1, 4, 4)), sorting.sinkhorn
    elif name == "fast_rank":
        x, function = KEYS[:1].astype("float64"), sorting.fast_rank
    else:
        x, function = KEYS[:1].astype("float64"), lambda keys: BY_KEYS[name](keys, 0.5)
    x = tf.constant(x, "float64")
    weights = rng.normal(size=function(x).shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = ops.sum(function(x) * weights)
    found = np.array(tape.gradient(y, x))
    for i in np.ndindex(found.shape):
        step = np.zeros(found.shape)
        step[i] = 1e-6
        slope = (np.sum(function(x + step) * weights) - np.sum(function(x - step) * weights)) / 2e-6
        np.testing.assert_allclose(found[i], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sorting.neural_sort(KEYS, 0), "`temperature`.*temperature=0"),
        (lambda: sorting.soft_sort(KEYS, -1), "`temperature`.*temperature=-1"),
        (lambda: sorting.sinkhorn(EXACT, 0), "`temperature`.*temperature=0"),
        (lambda: sorting.sinkhorn(EXACT, iterations=0), "`iterations`.*iterations=0"),
        (lambda: sorting.neural_sort_stochastic(KEYS, samples=0), "`samples`.*samples=0"),
        (lambda: sorting.network_sort(KEYS, 0), "`steepness`.*steepness=0"),
        (lambda: sorting.network_sort(KEYS, sigmoid="tanh"), "`sigmoid`.*logistic.*'tanh'"),
        (lambda: sorting.network_sort(KEYS, network="x"), "`network`.*odd_even, bitonic.*'x'"),
        (lambda: sorting.bitonic_network(6), "`n`.*power of two.*n=6"),
        (lambda: sorting.fast_rank(KEYS, 0), "`strength`.*strength=0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
