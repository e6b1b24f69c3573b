"""Cosine distances: against NumPy in float64, and where a row is zero."""

import keras
import numpy as np
import pytest
from gradients import array, gradients

from hyperkeras.ops import cosine_distances

rng = np.random.default_rng(1)


def distances(a, b):
    norms = np.linalg.norm(a, axis=-1)[..., :, None] * np.linalg.norm(b, axis=-1)[..., None, :]
    return 1 - np.einsum("...nf,...mf->...nm", a, b) / norms


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_values_are_those_of_the_equation(scale):
    a, b = scale * rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 6, 5))
    found = array(cosine_distances(a.astype("float32"), b.astype("float32")))
    assert found.shape == (2, 3, 4, 6)
    np.testing.assert_allclose(found, distances(a, b), atol=1e-6)


def test_a_row_of_zeros_is_at_distance_one_and_has_a_gradient():
    assert array(cosine_distances(np.zeros((1, 3)), np.ones((2, 3)))).tolist() == [[1, 1]]

    class Layer(keras.layers.Layer):
        def build(self, input_shape):
            self.rows = self.add_weight(shape=(2, 3), initializer="zeros")

        def call(self, x):
            return cosine_distances(x, self.rows)

    layer = Layer()
    x = np.ones((1, 3), "float32")
    layer(x)
    (found,) = gradients(layer, x, keras.ops.sum)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_kept_and_does_not_overflow(dtype):
    x = keras.ops.cast(300 * np.ones((2, 8)), dtype)
    found = cosine_distances(x, x)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    np.testing.assert_allclose(array(found, np.float32), 0, atol=1e-2)


def test_integers_are_taken():
    found = cosine_distances(np.array([[3, 0]]), np.array([[0, 2], [1, 0]]))
    np.testing.assert_allclose(array(found), [[1, 0]], atol=1e-6)
