"""Layers with weights of each sample's own, against the layer run sample by sample."""

import numpy as np
import pytest
from keras import ops

from hyperkeras.ops import (
    per_sample_conv,
    per_sample_dense,
    per_sample_depthwise_conv,
    per_sample_embedding,
)

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def one_by_one(function, x, kernel):
    return np.concatenate([np.array(function(a[None], k)) for a, k in zip(x, kernel, strict=True)])


@pytest.mark.parametrize("middle", [(), (4,), (4, 2)])
def test_dense(middle):
    x, kernel = normal(3, *middle, 5), normal(3, 5, 6)
    expected = one_by_one(np.matmul, x, kernel)
    np.testing.assert_allclose(per_sample_dense(x, kernel), expected, atol=1e-5)
    np.testing.assert_allclose(per_sample_dense(x, kernel[0]), x @ kernel[0], atol=1e-5)


def test_embedding():
    x, tables = rng.integers(0, 7, (3, 4, 2)).astype("int32"), normal(3, 7, 5)
    expected = np.stack([table[a] for a, table in zip(x, tables, strict=True)])
    np.testing.assert_array_equal(per_sample_embedding(x, tables), expected)


@pytest.mark.parametrize(
    "spatial, window, strides, padding, dilation, groups",
    [
        ((7,), (3,), 1, "valid", 1, 1),
        ((7,), (3,), 2, "same", 1, 1),
        ((7, 8), (3, 2), 1, "same", 1, 1),
        ((7, 8), (3, 3), (2, 3), "same", 1, 1),
        ((7, 8), (2, 3), 2, "valid", 1, 1),
        ((9, 8), (3, 2), 1, "same", (2, 3), 1),
        ((3, 4, 5), (2, 2, 2), 1, "same", 1, 1),
        ((6, 6), (1, 1), 3, "same", 1, 1),
    ],
)
def test_conv(spatial, window, strides, padding, dilation, groups):
    x, kernel = normal(3, *spatial, 4), normal(3, *window, 4, 6)
    more = (strides, padding, "channels_last", dilation)
    expected = one_by_one(lambda a, k: ops.conv(a, k, *more), x, kernel)
    found = per_sample_conv(x, kernel, strides, padding, dilation, groups)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_grouped_and_causal_conv():
    x, kernel = normal(2, 6, 4), normal(2, 3, 2, 6)
    halves = [
        per_sample_conv(x[..., 2 * g : 2 * g + 2], kernel[..., 3 * g : 3 * g + 3]) for g in (0, 1)
    ]
    found = per_sample_conv(x, kernel, groups=2)
    np.testing.assert_allclose(found, np.concatenate(halves, -1), atol=1e-5)
    causal = per_sample_conv(x, kernel, padding="causal", groups=2)
    np.testing.assert_allclose(causal[:, 2:], found, atol=1e-5)


@pytest.mark.parametrize("strides, padding", [(1, "same"), (2, "valid")])
def test_depthwise_conv(strides, padding):
    x, kernel = normal(3, 7, 6, 4), normal(3, 3, 2, 4, 2)
    more = (strides, padding, "channels_last")
    expected = one_by_one(lambda a, k: ops.depthwise_conv(a, k, *more), x, kernel)
    found = per_sample_depthwise_conv(x, kernel, strides, padding)
    np.testing.assert_allclose(found, expected, atol=1e-4)
