"""Boxes around the embeddings of tasks, and what all of them have in common."""

from keras import ops

from hyperkeras.annotations import Tensor


def embedding_box(
    embeddings: Tensor, epsilon: float, spreads: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Center and radius of the box of each task, after HyperInterval (Krukowski et al. 2024).

    .. math::
        c &= e, & r &= \varepsilon\, \mathrm{softmax}(v) & \text{(free)} \\
        c &= \tfrac{\varepsilon}{2 E} \cos e, & r &= \tfrac{\varepsilon}{E} & \text{(nested)}

    for embeddings e of E numbers. Free boxes go where training moves them, and the radii of each
    sum to ε. Nested boxes all contain the cube of all numbers between −ε / 2E and ε / 2E,
    whatever the embeddings are.

    Args:
        embeddings: Tensor e of shape `[t, e]`.
        epsilon: Float ε, the sum of a box's radii.
        spreads: Tensor v of shape `[t, e]` for free boxes; None (default) for nested ones.

    Returns:
        Pair of tensors of shape `[t, e]`, center and radius.

    Example:

    ```python
    center, radius = hyperkeras.ops.embedding_box(keras.ops.zeros((3, 4)), epsilon=2.0)
    float(center[0, 0]), float(radius[0, 0])  # (0.25, 0.5)
    ```

    References:
        - [Krukowski et al., 2024](https://arxiv.org/abs/2405.15444)
    """
    embeddings = ops.convert_to_tensor(embeddings)
    if spreads is not None:
        return embeddings, epsilon * ops.softmax(spreads, axis=-1)
    share = epsilon / embeddings.shape[-1]
    return share / 2 * ops.cos(embeddings), share * ops.ones_like(embeddings)


def common_box(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    r"""The box that lies in all boxes, after HyperInterval (Krukowski et al. 2024).

    .. math:: \underline x_j = \max_t \underline x_{tj}, \qquad
        \overline x_j = \min_t \overline x_{tj}

    Along an axis where the boxes don't meet, both bounds are the middle between the two.

    Args:
        lower: Tensor of shape `[t, e]`, a box of each task.
        upper: Tensor of the same shape.

    Returns:
        Pair of tensors of shape `[e]`, lower and upper.

    Example:

    ```python
    lower, upper = keras.ops.array([[0.0], [1.0]]), keras.ops.array([[2.0], [5.0]])
    low, high = hyperkeras.ops.common_box(lower, upper)
    float(low[0]), float(high[0])  # (1.0, 2.0)
    ```

    References:
        - [Krukowski et al., 2024](https://arxiv.org/abs/2405.15444)
    """
    low, high = ops.max(lower, axis=0), ops.min(upper, axis=0)
    middle = (low + high) / 2
    return ops.minimum(low, middle), ops.maximum(high, middle)
