"""The logits within bounds that a label likes least."""

from keras import ops

from hyperkeras.annotations import Tensor


def worst_case_logits(lower: Tensor, upper: Tensor, targets: Tensor) -> Tensor:
    r"""The worst logits within bounds: the label's lower one, the other classes' upper ones.

    .. math:: z_j = y_j\, \underline z_j + (1 - y_j)\, \overline z_j

    The cross-entropy of these logits is the largest one of all logits in the box. A sample whose
    label has the largest of them is certified: it is right for every network in the box.

    Args:
        lower: Tensor of shape `[..., o]`, lower bounds of the logits.
        upper: Tensor of the same shape, upper bounds.
        targets: Tensor of the same shape, 1 for the label and 0 for other classes.

    Returns:
        Tensor of the same shape.

    Example:

    ```python
    lower, upper = keras.ops.array([[1.0, -1.0]]), keras.ops.array([[2.0, 0.5]])
    worst = hyperkeras.ops.worst_case_logits(lower, upper, [[1.0, 0.0]])
    float(worst[0, 0]), float(worst[0, 1])  # (1.0, 0.5)
    ```

    References:
        - [Krukowski et al., 2024](https://arxiv.org/abs/2405.15444)
    """
    lower = ops.convert_to_tensor(lower)
    targets = ops.cast(targets, lower.dtype)
    return targets * lower + (1 - targets) * upper
