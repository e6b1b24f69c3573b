"""Bounds of products: dense layers and convolutions of boxes."""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from hyperkeras.annotations import Tensor

Box = tuple[Tensor, Tensor]  # lower, upper


def interval_dense(x: Tensor | Box, kernel: Tensor | Box, bias: Tensor | Box | None = None) -> Box:
    r"""Bounds of a dense layer whose inputs and weights lie in boxes.

    .. math::
        \underline y &= \underline x^+ \underline W^+ + \overline x^+ \underline W^-
            + \underline x^- \overline W^+ + \overline x^- \overline W^- + \underline b \\
        \overline y &= \overline x^+ \overline W^+ + \underline x^+ \overline W^-
            + \overline x^- \underline W^+ + \underline x^- \underline W^- + \overline b

    with a⁺ = max(a, 0) and a⁻ = min(a, 0). For x ≥ 0 the terms of x⁻ are zero, and these are the
    bounds of HyperInterval (Krukowski et al. 2024), which takes no other inputs. They are exact
    for each output, save where an input and its weight both may have either sign: there they are
    up to twice as wide as need be. Where one of the two is a single point they are exact, and
    computed from the box's center and radius by two products.

    Args:
        x: Pair of tensors of shape `[b, ..., i]`, lower and upper; or one tensor, a point.
        kernel: Pair of tensors of shape `[i, o]`, or one tensor.
        bias: Pair of tensors of shape `[o]`, one tensor, or None (default).

    Returns:
        Pair of tensors of shape `[b, ..., o]`, lower and upper.

    Example:

    ```python
    x, kernel = keras.ops.ones((1, 2)), keras.ops.array([[1.0], [-2.0]])
    lower, upper = hyperkeras.ops.interval_dense((x, 3 * x), kernel)
    float(lower[0, 0]), float(upper[0, 0])  # (-5.0, 1.0)
    ```

    References:
        - [Krukowski et al., 2024](https://arxiv.org/abs/2405.15444)
    """
    return _shifted(_product(ops.matmul, x, kernel), bias)


def interval_conv(
    x: Tensor | Box,
    kernel: Tensor | Box,
    bias: Tensor | Box | None = None,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    dilation_rate: int | Sequence[int] = 1,
) -> Box:
    r"""Bounds of a convolution whose inputs and kernel lie in boxes, channels last.

    It is `interval_dense` over the windows of the image.

    Args:
        x: Pair of tensors of shape `[b, height, width, i]`, lower and upper; or one tensor, a
            point. Signals and volumes have fewer or more axes.
        kernel: Pair of tensors of shape `[height, width, i, o]`, or one tensor.
        bias: Pair of tensors of shape `[o]`, one tensor, or None (default).
        strides: Integer or integers, as of `keras.layers.Conv2D` (default 1).
        padding: `"valid"` (default) or `"same"`.
        dilation_rate: Integer or integers (default 1).

    Returns:
        Pair of tensors of shape `[b, height, width, o]`, lower and upper.

    Example:

    ```python
    x, kernel = keras.ops.ones((1, 4, 4, 2)), keras.ops.ones((3, 3, 2, 5))
    lower, upper = hyperkeras.ops.interval_conv(x, (-kernel, kernel))
    lower.shape  # (1, 2, 2, 5)
    ```

    References:
        - [Krukowski et al., 2024](https://arxiv.org/abs/2405.15444)
    """

    def product(x, kernel):
        return ops.conv(x, kernel, strides, padding, "channels_last", dilation_rate)

    return _shifted(_product(product, x, kernel), bias)


def _product(product: Callable[[Any, Any], Any], x: Any, kernel: Any) -> Box:
    """Bounds of a product that is linear in both factors."""
    x_is_box, kernel_is_box = isinstance(x, tuple), isinstance(kernel, tuple)
    if x_is_box and kernel_is_box:
        return _product_of_boxes(product, x, kernel)
    if x_is_box:
        center, radius = _center_and_radius(x)
        middle, spread = product(center, kernel), product(radius, ops.abs(kernel))
    elif kernel_is_box:
        center, radius = _center_and_radius(kernel)
        middle, spread = product(x, center), product(ops.abs(x), radius)
    else:
        y = product(x, kernel)
        return y, y
    return middle - spread, middle + spread


def _product_of_boxes(product, x, kernel):
    lower, upper = x
    positive, negative = ops.relu, lambda a: -ops.relu(-a)
    # Both bounds need the same four parts of the kernel: rows of the lower one, then of the upper.
    parts = (
        (positive(kernel[0]), positive(lower), negative(upper)),
        (negative(kernel[0]), positive(upper), negative(lower)),
        (positive(kernel[1]), negative(lower), positive(upper)),
        (negative(kernel[1]), negative(upper), positive(lower)),
    )
    both = sum(product(ops.concatenate([a, b], axis=0), part) for part, a, b in parts)
    lower, upper = ops.split(both, 2, axis=0)
    return lower, upper


def _center_and_radius(box):
    lower, upper = box
    return (lower + upper) / 2, (upper - lower) / 2


def _shifted(box, bias):
    """The box plus a bias, a point or a box of its own."""
    if bias is None:
        return box
    low, high = bias if isinstance(bias, tuple) else (bias, bias)
    return box[0] + low, box[1] + high
