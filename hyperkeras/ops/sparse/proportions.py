"""How values of continuous tuples are divided among integer ones (Bloem 2018, section 3)."""

from collections.abc import Sequence

import keras
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.argument_validation import check_columns, check_size
from hyperkeras.ops.sparse.blocks import by_blocks
from hyperkeras.ops.sparse.duplicates import duplicate_mask

EPSILON = 1e-6
BLOCK = 2**18  # elements of a block of proportions: 1 MB, which stays in a core's cache


def lowest(dtype: str) -> float:
    """A number below all exponents. −∞ would do, but trips those who check for finite numbers."""
    return -6e4 if keras.backend.standardize_dtype(dtype) == "float16" else -1e37


def proportions(tuples: Tensor, means: Tensor, sigmas: Tensor, size: Sequence[int]) -> Tensor:
    r"""The part of each continuous tuple's value that an integer tuple gets (Bloem 2018, sec. 3).

    .. math::
        q(t \mid k) = \frac{d_t\, e_{tk}}{\sum_{t'} d_{t'}\, e_{t'k}}, \qquad
        e_{tk} = \exp\Big(-\frac12 \sum_r
            \frac{(t_r - \mu_{kr})^2}{\varepsilon + \sigma_{kr}}\Big)

    with ε = 1e-6, and d_t = 0 for each copy of a tuple but the first. Computed as a softmax
    over t, so that no variance, however small, makes the normalizer vanish.

    Args:
        tuples: Integer tensor of shape `[..., i, c]`: the tuples of one chunk, see
            `sample_tuples`.
        means: Float tensor of shape `[..., k, c]`, in index space.
        sigmas: Float tensor of shape `[..., k, c]`: variances, not standard deviations.
        size: Sequence of c positive integers, the dims of the columns.

    Returns:
        Tensor of shape `[..., i, k]`, whose columns sum to one.

    Example:

    ```python
    means, variances = keras.ops.array([[1.2, 2.0]]), keras.ops.array([[0.5, 0.5]])
    tuples = hyperkeras.ops.sample_tuples(means, (4, 4), global_samples=3)
    hyperkeras.ops.proportions(tuples, means, variances, (4, 4)).shape  # (7, 1)
    ```
    """
    tuples, means, sigmas, size = _checked(tuples, means, sigmas, size)
    return ops.swapaxes(_proportions(tuples, duplicate_mask(tuples, size), means, sigmas), -1, -2)


def distribute(
    tuples: Tensor, means: Tensor, sigmas: Tensor, values: Tensor, size: Sequence[int]
) -> Tensor:
    r"""Weights of the integer tuples: the values in proportions (Bloem 2018, section 3).

    .. math:: w_t = \sum_k q(t \mid k)\, v_k

    Equal to `proportions(...) @ values`, but never holds all of `[..., i, k]`: rows are taken in
    blocks, and computed again for the gradient, which with a_k = Σ_t q(t|k) ∂L/∂w_t is

    .. math::
        \frac{\partial L}{\partial v_k} &= a_k, \qquad
        G_{tk} = q(t \mid k)\, v_k \left(\frac{\partial L}{\partial w_t} - a_k\right), \\
        \frac{\partial L}{\partial \mu_{kr}} &= \sum_t G_{tk} \frac{t_r - \mu_{kr}}
            {\varepsilon + \sigma_{kr}}, \qquad
        \frac{\partial L}{\partial \sigma_{kr}} = \frac12 \sum_t G_{tk} \frac{(t_r - \mu_{kr})^2}
            {(\varepsilon + \sigma_{kr})^2}.

    Args:
        tuples: Integer tensor of shape `[..., i, c]`.
        means: Float tensor of shape `[..., k, c]`.
        sigmas: Float tensor of shape `[..., k, c]`: variances, not standard deviations.
        values: Float tensor of shape `[..., k]`.
        size: Sequence of c positive integers, the dims of the columns.

    Returns:
        Weights of shape `[..., i]`.

    Example:

    ```python
    means, variances = keras.ops.array([[1.2, 2.0]]), keras.ops.array([[0.5, 0.5]])
    tuples = hyperkeras.ops.sample_tuples(means, (4, 4), global_samples=3)
    values = keras.ops.array([2.0])
    hyperkeras.ops.distribute(tuples, means, variances, values, (4, 4)).shape  # (7,)
    ```
    """
    tuples, means, sigmas, size = _checked(tuples, means, sigmas, size)
    copies = duplicate_mask(tuples, size)
    i, k, c = tuples.shape[-2], means.shape[-2], len(size)
    rows = _distribute(
        ops.reshape(tuples, (-1, i, c)),
        ops.reshape(copies, (-1, i)),
        ops.reshape(means, (-1, k, c)),
        ops.reshape(sigmas, (-1, k, c)),
        ops.reshape(ops.convert_to_tensor(values), (-1, k)),
    )
    return ops.reshape(rows, ops.shape(copies))


def _distribute(tuples, copies, means, sigmas, values):
    fixed = (tuples, copies)  # no gradient
    size = max(1, BLOCK // (tuples.shape[1] * means.shape[1]))

    @ops.custom_gradient
    def weigh(means, sigmas, values):
        def grad(*args, upstream=None):
            dw = args[0] if upstream is None else upstream
            return by_blocks(_weights_gradient, (*fixed, means, sigmas, values, dw), size)

        return by_blocks(_weights, (*fixed, means, sigmas, values), size), grad

    return weigh(means, sigmas, values)


def _weights(tuples, copies, means, sigmas, values):
    q = _proportions(tuples, copies, means, sigmas)  # [b, k, i]
    return ops.matmul(values[:, None, :], q)[:, 0]  # [b, i]


def _weights_gradient(tuples, copies, means, sigmas, values, dw):
    q = _proportions(tuples, copies, means, sigmas)  # [b, k, i]
    dv = ops.matmul(q, dw[..., None])  # [b, k, 1]
    g = q * (dw[:, None, :] - dv) * values[..., None]
    dmeans, dsigmas = [], []
    for delta, precision in _columns(tuples, means, sigmas):
        scaled = g * delta
        dmeans.append(ops.sum(scaled, axis=-1) * precision[..., 0])
        dsigmas.append(ops.sum(scaled * delta, axis=-1) * ops.square(precision[..., 0]) / 2)
    return ops.stack(dmeans, axis=-1), ops.stack(dsigmas, axis=-1), dv[..., 0]


def _proportions(tuples, copies, means, sigmas):
    """q(t|k) as [..., k, i]: with the tuples last, softmax needs no transposes."""
    exponent = 0.0
    for delta, precision in _columns(tuples, means, sigmas):
        exponent = exponent + ops.square(delta) * (precision / -2)
    logits = ops.where(copies[..., None, :], lowest(exponent.dtype), exponent)
    return ops.softmax(logits, axis=-1)


def _columns(tuples, means, sigmas):
    """A column r at a time, so that nothing of shape [..., i, k, r] is held."""
    for r in range(means.shape[-1]):
        t = ops.cast(tuples[..., None, :, r], means.dtype)  # [..., 1, i]
        delta = t - means[..., r, None]  # [..., k, i]
        yield delta, 1 / (EPSILON + sigmas[..., r, None])  # [..., k, 1]


def _checked(tuples, means, sigmas, size):
    tuples, means = ops.convert_to_tensor(tuples), ops.convert_to_tensor(means)
    sigmas, size = ops.convert_to_tensor(sigmas), check_size(size)
    for name, array in (("tuples", tuples), ("means", means), ("sigmas", sigmas)):
        check_columns(name, array.shape, size)
    return tuples, means, sigmas, size
