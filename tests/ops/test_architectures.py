"""Messages along computational graphs, and weights cut to shape, against NumPy."""

import numpy as np
import pytest

from hyperkeras import ops

rng = np.random.default_rng(0)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_sweep_visits_nodes_one_after_the_other(reverse):
    n, d = 5, 3
    nodes = rng.normal(size=(2, n, d))
    weights = [np.triu(rng.normal(size=(2, n, n)), 1) for _ in range(2)]
    matrices = [rng.normal(size=(d, d)) for _ in range(2)]
    swept = ops.gated_sweep(
        nodes.astype("float32"),
        [
            (weights[0].astype("float32"), lambda h: h @ matrices[0].astype("float32")),
            (weights[1].astype("float32"), lambda h: h @ matrices[1].astype("float32")),
        ],
        lambda m, h: 0.5 * h + 0.3 * m,
        reverse=reverse,
    )
    expected = nodes.copy()
    for g in range(2):
        for v in range(n)[:: -1 if reverse else 1]:
            earlier = range(v + 1, n) if reverse else range(v)
            message = sum(
                (w[g, v, u] if reverse else w[g, u, v]) * (expected[g, u] @ a)
                for u in earlier
                for w, a in zip(weights, matrices, strict=True)
            )
            expected[g, v] = 0.5 * nodes[g, v] + 0.3 * message
    np.testing.assert_allclose(swept, expected, atol=1e-5)


def test_path_weights():
    distances = np.array([[0, 1, 3, 4]])
    np.testing.assert_allclose(ops.path_weights(distances, 3), [[0, 1, 1 / 3, 0]], atol=1e-6)


def test_tiles_are_cut_and_repeated():
    tile = rng.normal(size=(3, 2, 4))
    fitted = np.asarray(ops.fit_to_shape(tile, (1, 5, 6)))
    rows, columns = np.arange(5) % 2, np.arange(6) % 4
    np.testing.assert_allclose(fitted, tile[:1][:, rows][:, :, columns], atol=1e-6)


def test_scales():
    weight = rng.normal(size=(4, 3)).astype("float32")
    kernel = ops.scale_by_fan_in(weight, "kernel", 8)
    np.testing.assert_allclose(kernel, weight / 2, atol=1e-6)
    gain = ops.scale_by_fan_in(weight, "gain", 1)
    np.testing.assert_allclose(gain, 2 / (1 + np.exp(-weight / 2)), atol=1e-5)
    np.testing.assert_allclose(ops.scale_by_norm(weight, "bias", 1), np.tanh(weight / 5), atol=1e-6)
    norm = np.linalg.norm(weight)
    np.testing.assert_allclose(ops.scale_by_norm(weight, "kernel", 1), weight / norm, atol=1e-6)
