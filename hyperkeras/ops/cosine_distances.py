"""Cosine distances, the kernel of HyperShot (Sendera et al. 2023)."""

from keras import backend, ops

from hyperkeras.annotations import Tensor

SMALLEST = 1e-12  # norm that is divided by


def cosine_distances(a: Tensor, b: Tensor) -> Tensor:
    r"""Cosine distance of each row of a to each row of b (the kernel of Sendera et al. 2023).

    .. math:: k_{ij} = 1 - \frac{a_i \cdot b_j}{\lVert a_i \rVert \lVert b_j \rVert}

    A row of zeros is at distance 1 from all others, where the quotient alone would be NaN. Norms
    are computed in float32 at least.

    Args:
        a: Tensor of shape `[..., n, F]`.
        b: Tensor of shape `[..., m, F]`.

    Returns:
        Tensor of shape `[..., n, m]`, from 0 to 2. Of supports with themselves it describes a
        few-shot task, of queries with supports it says what each query is like.

    Example:

    ```python
    supports = keras.ops.array([[1.0, 0.0], [0.0, 2.0]])
    hyperkeras.ops.cosine_distances(supports, supports)  # [[0.0, 1.0], [1.0, 0.0]]
    ```
    """
    a, b = _unit_rows(a), _unit_rows(b)
    return 1 - ops.matmul(a, ops.swapaxes(b, -1, -2))


def _unit_rows(x):
    x = ops.convert_to_tensor(x)
    dtype = backend.result_type(x.dtype, float)
    wide = ops.cast(x, backend.result_type(dtype, "float32"))
    squares = ops.sum(ops.square(wide), axis=-1, keepdims=True)
    # The floor is under the root, so that a row of zeros has a gradient.
    return ops.cast(wide * ops.rsqrt(ops.maximum(squares, SMALLEST**2)), dtype)
