"""Kernels from embeddings (Ha, Dai & Le 2016, section 3.1), and two other ways to make them."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from keras import ops

from hyperkeras.annotations import Tensor


def generate_kernel(z: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor) -> Tensor:
    r"""Generates the tile of a kernel from an embedding (Ha et al. 2016, section 3.1).

    .. math:: a_i = W_i\, z + B_i, \qquad K_i = \langle W_{\mathrm{out}}, a_i \rangle
        + B_{\mathrm{out}}, \qquad i = 1, \dots, N_{\mathrm{in}}

    Args:
        z: Float tensor of shape `[..., N_z]`: an embedding a tile.
        w_in: Float tensor of shape `[N_z, N_in, d]`: the matrices W_i.
        b_in: Float tensor of shape `[N_in, d]`: the biases B_i.
        w_out: Float tensor of shape `[d, f, f, N_out]`.
        b_out: Float tensor of shape `[f, f, N_out]`.

    Returns:
        Tiles K of shape `[..., f, f, N_in, N_out]`.

    Example:

    ```python
    z = np.ones((2, 4))  # two embeddings of 4 numbers
    w_in, b_in = np.ones((4, 8, 5)), np.zeros((8, 5))
    w_out, b_out = np.ones((5, 3, 3, 16)), np.zeros((3, 3, 16))
    hyperkeras.ops.generate_kernel(z, w_in, b_in, w_out, b_out).shape  # (2, 3, 3, 8, 16)
    ```
    """
    a = ops.tensordot(z, w_in, axes=1) + b_in  # [..., N_in, d]
    k = ops.tensordot(a, w_out, axes=1) + b_out  # [..., N_in, f, f, N_out]
    rank = len(k.shape)  # counted from the front: PyTorch's ONNX files can't hold negative axes
    return ops.transpose(k, (*range(rank - 4), rank - 3, rank - 2, rank - 4, rank - 1))


def join_tiles(tiles: Tensor) -> Tensor:
    r"""Joins tiles to a kernel (Ha et al. 2016, section 3.1).

    .. math:: K[y, x, pN_{\mathrm{in}} + i, qN_{\mathrm{out}} + o] = K^{pq}[y, x, i, o]

    Args:
        tiles: Tensor of shape `[tiles_in, tiles_out, f, f, N_in, N_out]`.

    Returns:
        Tensor of shape `[f, f, tiles_in N_in, tiles_out N_out]`.

    Example:

    ```python
    hyperkeras.ops.join_tiles(np.ones((2, 3, 5, 5, 8, 16))).shape  # (5, 5, 16, 48)
    ```
    """
    p, q, height, width, n_in, n_out = tiles.shape
    ordered = ops.transpose(tiles, (2, 3, 0, 4, 1, 5))
    return ops.reshape(ordered, (height, width, p * n_in, q * n_out))


def coordinate_kernel(
    z: Tensor,
    coordinates: Tensor,
    w_c: Tensor,
    w_z: Tensor,
    b_1: Tensor,
    w_2: Tensor,
    b_2: Tensor,
    w_3: Tensor,
    b_3: Tensor,
) -> Tensor:
    r"""A kernel as a function of its weights' places (after HyperNEAT, Stanley et al. 2009).

    .. math:: K[c] = w_3^\top \tanh\left(W_2 \tanh\left(W_c\, c + W_z\, z + b_1\right)
        + b_2\right) + b_3

    Args:
        z: Float tensor of shape `[..., N_z]`.
        coordinates: Float tensor of shape `[f, f, N_in, N_out, 4]`: the place c of each weight.
        w_c: Float tensor of shape `[4, h]`.
        w_z: Float tensor of shape `[N_z, h]`.
        b_1: Float tensor of shape `[h]`.
        w_2: Float tensor of shape `[h, h]`.
        b_2: Float tensor of shape `[h]`.
        w_3: Float tensor of shape `[h]`.
        b_3: Float scalar.

    Returns:
        Kernels of shape `[..., f, f, N_in, N_out]`.

    Example:

    ```python
    places = np.zeros((3, 3, 8, 16, 4))
    hidden = np.ones((4, 6)), np.ones((5, 6)), np.zeros(6), np.ones((6, 6)), np.zeros(6)
    kernel = hyperkeras.ops.coordinate_kernel(np.ones((2, 5)), places, *hidden, np.ones(6), 0.0)
    kernel.shape  # (2, 3, 3, 8, 16)
    ```
    """
    shift = ops.matmul(z, w_z)[..., None, None, None, None, :]  # [..., 1, 1, 1, 1, h]
    hidden = ops.tanh(ops.matmul(coordinates, w_c) + b_1 + shift)  # [..., f, f, N_in, N_out, h]
    hidden = ops.tanh(ops.matmul(hidden, w_2) + b_2)
    return ops.sum(hidden * w_3, axis=-1) + b_3


def dct_kernel(z: Tensor, kernel_shape: Sequence[int]) -> Tensor:
    r"""A kernel from its lowest frequencies (after Koutník et al. 2010).

    .. math:: K[n] = \sum_m z_m \prod_{r=1}^4 \varphi_{m_r}(n_r), \qquad
        \varphi_m(n) = \sqrt{\frac{2 - [m = 0]}{s_r}}
        \cos\frac{\pi m\, (2n + 1)}{2 s_r}

    the orthonormal cosine basis (DCT) over the four dims s of the kernel. The frequencies m are
    taken in the order of Σ m_r / s_r, ties in the order of the kernel's own indices.

    Args:
        z: Float tensor of shape `[..., N_z]`: coefficients, with N_z at most f f N_in N_out.
        kernel_shape: Four positive integers s = (f, f, N_in, N_out).

    Returns:
        Kernels of shape `[..., f, f, N_in, N_out]`.

    Example:

    ```python
    hyperkeras.ops.dct_kernel(np.ones((2, 10)), (3, 3, 8, 16)).shape  # (2, 3, 3, 8, 16)
    ```
    """
    places = _frequency_places(tuple(kernel_shape), z.shape[-1])
    rows = ops.transpose(ops.reshape(z, (-1, z.shape[-1])))  # [N_z, M]
    padded = ops.concatenate([rows, ops.zeros_like(rows[:1])], axis=0)
    k = ops.take(padded, places, axis=0)  # [f, f, N_in, N_out, M], in frequencies
    for s in kernel_shape:  # the first axis goes, transformed, to the end
        k = ops.tensordot(k, ops.cast(_cosines(s), z.dtype), axes=[[0], [0]])
    return ops.reshape(k, (*ops.shape(z)[:-1], *kernel_shape))  # of [M, f, f, N_in, N_out]


@lru_cache
def _frequency_places(kernel_shape: tuple[int, ...], count: int) -> np.ndarray:
    """Where in z the coefficient of each frequency stands; `count` where it is zero."""
    frequencies = sum(np.indices(kernel_shape) / np.reshape(kernel_shape, (4, 1, 1, 1, 1)))
    # Equal sums differ by rounding, which must not decide between them.
    order = np.argsort(np.round(frequencies, 9), axis=None, kind="stable")
    places = np.full(len(order), count, "int32")
    places[order[:count]] = np.arange(count)
    return places.reshape(kernel_shape)


@lru_cache
def _cosines(size: int) -> np.ndarray:
    """The orthonormal DCT-II matrix [frequency, place]."""
    m, n = np.indices((size, size))
    basis = np.cos(np.pi * m * (2 * n + 1) / (2 * size)) * np.sqrt(2 / size)
    return basis * np.where(m == 0, np.sqrt(0.5), 1)
