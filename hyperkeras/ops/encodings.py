"""Conditions of constant norm (Ortiz, Guttag & Dalca 2023)."""

import math

import keras
from keras import ops

from hyperkeras.annotations import Tensor


def mip_encoding(gamma: Tensor) -> Tensor:
    r"""A condition in [0, 1] as a point on the unit circle (Ortiz et al. 2023, section 4.1).

    .. math:: E(\gamma) = \left[\cos\tfrac{\pi\gamma}{2},\ \sin\tfrac{\pi\gamma}{2}\right]

    The output of a hypernetwork grows with its input, so that a γ near 0 makes small weights and a
    γ near 1 makes large ones. The codes all have the norm 1.

    Args:
        gamma: Tensor of shape `[..., n]`, numbers in [0, 1]. Integers are cast to
            `keras.config.floatx()`.

    Returns:
        Tensor of shape `[..., 2n]`: n cosines, then n sines.

    Example:

    ```python
    codes = hyperkeras.ops.mip_encoding([[0.0], [0.5], [1.0]])
    codes.shape  # (3, 2)
    ```

    References:
        - [Ortiz et al., 2023](https://arxiv.org/abs/2304.07645)
    """
    gamma = ops.convert_to_tensor(gamma)
    if not keras.backend.is_float_dtype(gamma.dtype):
        gamma = ops.cast(gamma, keras.config.floatx())
    angle = gamma * (math.pi / 2)
    return ops.concatenate([ops.cos(angle), ops.sin(angle)], axis=-1)
