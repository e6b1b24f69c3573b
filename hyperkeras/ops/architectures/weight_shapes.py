"""From tiles of one size to weights of any shape and scale."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from hyperkeras.annotations import Tensor


def fit_to_shape(tile: Tensor, shape: Sequence[int]) -> Tensor:
    """A tile cut or repeated to a shape, axis by axis - Knyazev et al. 2021, section 3.3.

    Args:
        tile: Tensor with as many axes as `shape`.
        shape: Sequence of integers.

    Returns:
        Tensor of the shape: entry (i, j, …) is the tile's at (i mod its length, …).

    Example:

    ```python
    hyperkeras.ops.fit_to_shape(np.arange(6).reshape(2, 3), (3, 2))  # [[0, 1], [3, 4], [0, 1]]
    ```
    """
    tile = ops.convert_to_tensor(tile)
    # Cut first: what is cut need not be repeated.
    tile = tile[
        tuple(slice(0, min(want, have)) for want, have in zip(shape, tile.shape, strict=True))
    ]
    repeats = [math.ceil(want / have) for want, have in zip(shape, tile.shape, strict=True)]
    if any(count > 1 for count in repeats):
        tile = ops.tile(tile, repeats)[tuple(slice(0, want) for want in shape)]
    return tile


def scale_by_fan_in(weight: Tensor, role: str, fan_in: int) -> Tensor:
    r"""A weight in the size that keeps activations in theirs - Knyazev et al. 2021, section 3.3.

    .. math:: W \sqrt{2 / \mathrm{fan\ in}}, \qquad 2\,\sigma(p / 2), \qquad \tanh(0.2\,p)

    for kernels, gains and biases.

    Args:
        weight: Tensor of what a decoder made.
        role: `"kernel"`, `"gain"` or `"bias"`.
        fan_in: Integer, how many inputs each unit of the kernel has.

    Returns:
        Tensor of the same shape.

    Example:

    ```python
    hyperkeras.ops.scale_by_fan_in(np.ones((2, 2)), "kernel", 8)[0]  # [0.5, 0.5]
    hyperkeras.ops.scale_by_fan_in(np.zeros((2,)), "gain", 1)  # [1, 1]
    ```
    """
    if role == "kernel":
        return weight * math.sqrt(2 / fan_in)
    if role == "gain":
        return 2 * ops.sigmoid(weight / 2)
    return ops.tanh(0.2 * weight)


def scale_by_norm(weight: Tensor, role: str, fan_in: int) -> Tensor:
    r"""A kernel divided by its Frobenius norm - Brock et al. 2017, section 3.3.

    .. math:: W / \lVert W \rVert_F

    Gains and biases are scaled as in `scale_by_fan_in`: the paper makes none.

    Args:
        weight: Tensor of what a decoder made.
        role: `"kernel"`, `"gain"` or `"bias"`.
        fan_in: Integer, not used.

    Returns:
        Tensor of the same shape.

    Example:

    ```python
    hyperkeras.ops.scale_by_norm(np.ones((2, 2)), "kernel", 2)[0]  # [0.5, 0.5]
    ```
    """
    if role != "kernel":
        return scale_by_fan_in(weight, role, fan_in)
    weight = ops.convert_to_tensor(weight)
    return weight / (ops.sqrt(ops.sum(ops.square(weight))) + keras.config.epsilon())
