"""Layers whose weights differ from sample to sample, as one batched product each."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from keras import ops

from hyperkeras.annotations import Tensor

# b samples; i inputs, o outputs; c channels; p places of an output image; w weights of a window.


def per_sample_dense(x: Tensor, kernel: Tensor) -> Tensor:
    r"""Dense layer with a kernel for each sample.

    .. math:: y_b = x_b W_b

    Args:
        x: Tensor of shape `[b, ..., i]`.
        kernel: Tensor of shape `[b, i, o]`; `[1, i, o]` or `[i, o]` for the same kernel in all
            samples.

    Returns:
        Tensor of shape `[b, ..., o]`.

    Example:

    ```python
    x, kernel = keras.random.normal((8, 5)), keras.random.normal((8, 5, 3))
    hyperkeras.ops.per_sample_dense(x, kernel).shape  # (8, 3)
    ```
    """
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    if len(kernel.shape) == 3 and kernel.shape[0] == 1:
        # A plain product. As a batch of one inside `vectorized_map` it would be broadcast, which
        # TensorFlow up to 2.21 gets wrong with oneDNN on some processors: its issue 117700.
        kernel = kernel[0]
    if len(kernel.shape) == 2 or len(x.shape) == 3:
        return ops.matmul(x, kernel)
    middle, (i, o) = ops.shape(x)[1:-1], kernel.shape[1:]
    known = all(isinstance(n, int) for n in middle)
    rows = (-1, math.prod(middle)) if known else (ops.shape(x)[0], -1)
    y = ops.matmul(ops.reshape(x, (*rows, i)), kernel)  # [b, rows, o]
    return ops.reshape(y, (-1, *middle, o))


def per_sample_embedding(indices: Tensor, embeddings: Tensor) -> Tensor:
    r"""Embedding with a table for each sample.

    .. math:: y_{bj} = E_b[x_{bj}]

    Args:
        indices: Integer tensor of shape `[b, ...]`.
        embeddings: Tensor of shape `[b, v, o]`.

    Returns:
        Tensor of shape `[b, ..., o]`.

    Example:

    ```python
    tokens = keras.ops.zeros((8, 4), "int32")
    tables = keras.random.normal((8, 100, 16))
    hyperkeras.ops.per_sample_embedding(tokens, tables).shape  # (8, 4, 16)
    ```
    """
    indices, embeddings = ops.convert_to_tensor(indices), ops.convert_to_tensor(embeddings)
    v, o = embeddings.shape[1:]
    first = v * ops.arange(ops.shape(indices)[0], dtype=indices.dtype)
    first = ops.reshape(first, (-1,) + (1,) * (len(indices.shape) - 1))
    return ops.take(ops.reshape(embeddings, (-1, o)), indices + first, axis=0)


def per_sample_conv(
    x: Tensor,
    kernel: Tensor,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    dilation_rate: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    r"""Convolution with a kernel for each sample, channels last.

    .. math:: y_b[p] = \sum_k x_b[s p + d k]\, W_b[k]

    The input is cut into patches, which meet the kernel in one batched product.

    Args:
        x: Tensor of shape `[b, *spatial, c]`.
        kernel: Tensor of shape `[b, *window, c / groups, o]`.
        strides: Integer or sequence of integers s, the step in each spatial dim (default 1).
        padding: `"valid"` (default), `"same"` or `"causal"`, as for `keras.layers.Conv1D`.
        dilation_rate: Integer or sequence of integers d, the distance of the kernel's weights in
            each spatial dim (default 1).
        groups: Integer, how many groups of channels have kernels of their own (default 1).

    Returns:
        Tensor of shape `[b, *spatial, o]`.

    Example:

    ```python
    x, kernel = keras.random.normal((8, 9, 9, 3)), keras.random.normal((8, 3, 3, 3, 6))
    hyperkeras.ops.per_sample_conv(x, kernel, strides=2, padding="same").shape  # (8, 5, 5, 6)
    ```
    """
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    window, (c, o) = kernel.shape[1:-2], kernel.shape[-2:]
    places = list(_places(x, window, strides, padding, dilation_rate))
    spatial = ops.shape(places[0])[1:-1]
    w = math.prod(window)
    if groups == 1:
        patches = ops.concatenate(places, axis=-1)  # [b, *spatial, w c]
        return per_sample_dense(patches, ops.reshape(kernel, (-1, w * c, o)))
    patches = ops.reshape(ops.stack(places, axis=-2), (ops.shape(x)[0], -1, w, groups, c))
    kernel = ops.reshape(kernel, (-1, w, c, groups, o // groups))
    y = ops.einsum("bpwgc,bwcgo->bpgo", patches, kernel)
    return ops.reshape(y, (-1, *spatial, o))


def per_sample_depthwise_conv(
    x: Tensor,
    kernel: Tensor,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    dilation_rate: int | Sequence[int] = 1,
) -> Tensor:
    r"""Depthwise convolution with a kernel for each sample, channels last.

    .. math:: y_b[p, c, m] = \sum_k x_b[s p + d k, c]\, W_b[k, c, m]

    Args:
        x: Tensor of shape `[b, *spatial, c]`.
        kernel: Tensor of shape `[b, *window, c, m]`.
        strides: Integer or sequence of integers s, the step in each spatial dim (default 1).
        padding: `"valid"` (default), `"same"` or `"causal"`, as for `keras.layers.Conv1D`.
        dilation_rate: Integer or sequence of integers d, the distance of the kernel's weights in
            each spatial dim (default 1).

    Returns:
        Tensor of shape `[b, *spatial, c m]`.

    Example:

    ```python
    x, kernel = keras.random.normal((8, 9, 9, 3)), keras.random.normal((8, 3, 3, 3, 2))
    hyperkeras.ops.per_sample_depthwise_conv(x, kernel).shape  # (8, 7, 7, 6)
    ```
    """
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    window, (c, m) = kernel.shape[1:-2], kernel.shape[-2:]
    weights = ops.reshape(kernel, (-1, math.prod(window), *(1,) * len(window), c, m))
    y = 0
    for k, place in enumerate(_places(x, window, strides, padding, dilation_rate)):
        y = y + place[..., None] * weights[:, k]  # [b, *spatial, c, m]
    return ops.reshape(y, (-1, *ops.shape(y)[1:-2], c * m))


def _places(
    x: Any,
    window: Sequence[int],
    strides: int | Sequence[int],
    padding: str,
    dilation_rate: int | Sequence[int],
) -> Iterator[Any]:
    """For each weight of the window the pixels that it meets, `[b, *spatial, c]`."""
    n = len(window)
    steps, dilation = _each(strides, n), _each(dilation_rate, n)
    sizes = x.shape[1:-1]
    if None in sizes and padding == "same" and any(s > 1 for s in steps):
        sizes = ops.shape(x)[1:-1]
    pads = []
    for size, k, s, d in zip(sizes, window, steps, dilation, strict=True):
        reach = (k - 1) * d
        if padding == "causal":
            pads.append((reach, 0))
        elif padding == "same":
            # With a stride of 1 the size does not matter; else the last window may be cut.
            total = reach if s == 1 else _at_least_zero((-(-size // s) - 1) * s + reach + 1 - size)
            pads.append((total // 2, total - total // 2))
        else:
            pads.append((0, 0))
    if pads != [(0, 0)] * n:
        x = ops.pad(x, [(0, 0), *pads, (0, 0)])
    outer = ops.shape(x)[1:-1]
    counts = [
        (a - (k - 1) * d - 1) // s + 1
        for a, k, s, d in zip(outer, window, steps, dilation, strict=True)
    ]
    batch, channels = ops.shape(x)[0], x.shape[-1]
    reaches = [(m - 1) * s + 1 for m, s in zip(counts, steps, strict=True)]
    skip = (slice(None), *(slice(None, None, s) for s in steps))
    for offset in itertools.product(*map(range, window)):
        first = [o * d for o, d in zip(offset, dilation, strict=True)]
        # The gradient of `slice` is a padding, several times faster than that of x[a:b].
        place = ops.slice(x, (0, *first, 0), (batch, *reaches, channels))
        yield place if set(steps) == {1} else place[skip]


def _at_least_zero(number: Any) -> Any:
    return max(0, number) if isinstance(number, int) else ops.maximum(number, 0)


def _each(value: int | Sequence[int], n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value)
