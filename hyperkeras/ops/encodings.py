"""Conditions of constant norm (Ortiz, Guttag & Dalca 2023)."""

import math

from keras import ops


def mip_encoding(gamma):
    r"""A condition in [0, 1] as a point on the unit circle (Ortiz et al. 2023, section 4.1).

    .. math:: E(\gamma) = \left[\cos\tfrac{\pi\gamma}{2},\ \sin\tfrac{\pi\gamma}{2}\right]

    A hypernetwork's output grows with its input, so that a γ near 0 makes small weights and a γ
    near 1 large ones; all codes have norm 1.

    Args:
        gamma: Float tensor of shape `[..., n]`, numbers in [0, 1].

    Returns:
        Tensor of shape `[..., 2n]`: n cosines, then n sines.
    """
    angle = ops.convert_to_tensor(gamma) * (math.pi / 2)
    return ops.concatenate([ops.cos(angle), ops.sin(angle)], axis=-1)
