"""Bounds of functions that never fall where an input rises."""

from collections.abc import Callable
from typing import Any

from hyperkeras.annotations import Tensor


def interval_monotone(
    function: Callable[..., Any], *boxes: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    r"""Bounds of a function that never falls where one of its inputs rises.

    .. math:: \underline y = f(\underline x), \qquad \overline y = f(\overline x)

    Such functions are ReLU, sigmoid and tanh, the pooling by maximum or mean, the sum of two
    tensors and what only moves numbers, as `reshape`. The bounds are exact for each output.

    Args:
        function: Function of as many tensors as there are boxes, which returns a tensor.
        *boxes: Pairs of tensors, lower and upper.

    Returns:
        Pair of tensors, lower and upper.

    Example:

    ```python
    x = keras.ops.array([-2.0, 1.0])
    lower, upper = hyperkeras.ops.interval_monotone(keras.ops.relu, (x, x + 1.5))
    float(lower[1]), float(upper[1])  # (1.0, 2.5)
    ```

    References:
        - [Krukowski et al., 2024](https://arxiv.org/abs/2405.15444)
    """
    lower, upper = zip(*boxes, strict=True)
    return function(*lower), function(*upper)
