"""Sums of Kronecker products as kernels."""

import numpy as np
import pytest

from hyperkeras import layers, ops

QUATERNIONS = np.array(
    [
        np.eye(4),
        [[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1], [0, 0, -1, 0]],
        [[0, 0, 1, 0], [0, 0, 0, -1], [-1, 0, 0, 0], [0, 1, 0, 0]],
        [[0, 0, 0, 1], [0, 0, 1, 0], [0, -1, 0, 0], [-1, 0, 0, 0]],
    ]
)


def hamilton(p, q):
    a, b, c, d = p
    e, f, g, h = q
    return np.array(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


def test_the_rules_of_quaternions_give_hamiltons_product():
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 4))
    kernel = np.array(ops.kronecker_sum(QUATERNIONS, p.reshape(4, 1, 1)))
    np.testing.assert_allclose(q @ kernel, hamilton(p, q), atol=1e-12)


def test_a_kernel_starts_with_a_dense_kernels_variance():
    layer = layers.PHMDense(256, 4)
    layer.build((None, 256))
    kernel = np.array(layer.kernel)
    assert kernel.shape == (256, 256)
    assert kernel.var() == pytest.approx(2 / 512, rel=0.4)
    assert layer.count_params() < 256 * 256 / 3.9


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: layers.PHMDense(6, 4), "n to divide the outputs"),
        (lambda: layers.PHMDense(0, 1), "units=0"),
        (lambda: layers.PHMDense(6, 0), "n=0"),
        (lambda: layers.PHMDense(6, 3).build((None, 4)), "n=3 to divide the inputs"),
        (lambda: layers.PHMConv2D(4, 0, 2), "kernel_size"),
        (lambda: layers.PHMConv2D(4, 3, 2, padding="causal"), "padding='causal'"),
        (lambda: layers.PHMConv2D(4, 3, 2).build((None, 4)), "images of rank 4"),
        (lambda: layers.MIPEncoding().build((None,)), "last axis of known size"),
        (lambda: ops.kronecker_sum(np.ones((2, 2, 2)), np.ones((3, 1, 1))), "`rules` of shape"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_codes_have_norm_1_for_each_number():
    gamma = np.linspace(0, 1, 7, dtype="float32")[:, None]
    code = np.array(ops.mip_encoding(gamma))
    np.testing.assert_allclose((code**2).sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(code[[0, -1]], [[1, 0], [0, 1]], atol=1e-6)
