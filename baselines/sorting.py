"""Published ways to sort by keys with a gradient: the relaxations that quicksort is compared with.

Each gives, for keys `[b, n]`, or logits `[b, n, n]` where the method has no keys, a matrix P
`[b, n, n]` whose row i says which element comes i-th, ascending: P x is x sorted. `fast_rank`
gives the keys' ranks instead.
"""

import keras
import numpy as np
from keras import ops

from baselines.checks import check_int, check_positive

# b sets of n elements.


def sinkhorn(logits, temperature=1.0, iterations=20):
    r"""Rows and columns of exp(logits / τ) normalized in turn (Mena et al. 2018, equation 2).

    .. math:: S^0(X) = \exp(X / \tau), \qquad S^l(X) = T_c(T_r(S^{l-1}(X)))

    in log space. Doubly stochastic in the limit of many iterations; for τ → 0 the permutation of
    the largest sum of logits.

    References:
        - [Mena et al., 2018](https://arxiv.org/abs/1802.08665)
    """
    check_positive("temperature", temperature)
    check_int("iterations", iterations)
    log_p = ops.convert_to_tensor(logits) / temperature
    for _ in range(iterations):
        log_p = log_p - ops.logsumexp(log_p, axis=1, keepdims=True)
        log_p = log_p - ops.logsumexp(log_p, axis=2, keepdims=True)
    return ops.exp(log_p)


def gumbel(shape, dtype="float32", seed=None):
    """Numbers of the standard Gumbel distribution."""
    u = keras.random.uniform(shape, 1e-7, 1 - 1e-7, dtype=dtype, seed=seed)
    return -ops.log(-ops.log(u))


def gumbel_sinkhorn(logits, temperature=1.0, iterations=20, noise=1.0, seed=None):
    r"""Sinkhorn of logits with Gumbel noise: :math:`S((X + \varepsilon) / \tau)`.

    References:
        - [Mena et al., 2018](https://arxiv.org/abs/1802.08665), section 4
    """
    logits = ops.convert_to_tensor(logits)
    drawn = noise * gumbel(ops.shape(logits), logits.dtype, seed)
    return sinkhorn(logits + drawn, temperature, iterations)


def neural_sort(keys, temperature=1.0):
    r"""NeuralSort, by sums of distances (Grover et al. 2019, equation 5), turned to ascend.

    .. math:: P_i = \mathrm{softmax}\left(\frac{(2 i - n - 1)\, k - A_k 1}{\tau}\right), \qquad
        (A_k)_{ij} = |k_i - k_j|

    Rows are stochastic and unimodal: each has its maximum at another element.

    References:
        - [Grover et al., 2019](https://arxiv.org/abs/1903.08850)
    """
    check_positive("temperature", temperature)
    keys = ops.convert_to_tensor(keys)
    n = keys.shape[1]
    distances = ops.sum(ops.abs(keys[:, :, None] - keys[:, None, :]), axis=2)  # [b, n]
    factors = ops.cast(2 * np.arange(1, n + 1) - n - 1, keys.dtype)  # [n]
    logits = factors[:, None] * keys[:, None, :] - distances[:, None, :]
    return ops.softmax(logits / temperature, axis=-1)


def neural_sort_stochastic(keys, temperature=1.0, samples=5, seed=None):
    """NeuralSort of keys with Gumbel noise, a draw from a Plackett-Luce distribution each.

    Returns `[b, samples, n, n]`: a loss is taken of each, and its mean.

    References:
        - [Grover et al., 2019](https://arxiv.org/abs/1903.08850), section 5
    """
    check_int("samples", samples)
    keys = ops.convert_to_tensor(keys)
    b, n = ops.shape(keys)[0], keys.shape[1]
    noisy = keys[:, None] + gumbel((b, samples, n), keys.dtype, seed)
    matrices = neural_sort(ops.reshape(noisy, (-1, n)), temperature)
    return ops.reshape(matrices, (-1, samples, n, n))


def soft_sort(keys, temperature=1.0):
    r"""SoftSort (Prillo & Eisenschlos 2020, equation 4), turned to ascend.

    .. math:: P = \mathrm{softmax}\left(-\frac{|\mathrm{sort}(k)\, 1^\top - 1\, k^\top|}{\tau}
        \right)

    References:
        - [Prillo & Eisenschlos, 2020](https://arxiv.org/abs/2006.16038)
    """
    check_positive("temperature", temperature)
    keys = ops.convert_to_tensor(keys)
    distances = ops.abs(ops.sort(keys, axis=1)[:, :, None] - keys[:, None, :])
    return ops.softmax(-distances / temperature, axis=-1)


def logistic(x):
    """1 / (1 + exp(−x)): the sigmoid of Petersen et al. (2021)."""
    return ops.sigmoid(x)


def optimal_sigmoid(x):
    r"""The sigmoid that keeps sorting networks monotonic with least error (Petersen et al. 2022).

    .. math:: f(x) = \begin{cases} -\frac{1}{16 x} & x < -\frac14 \\
        1 - \frac{1}{16 x} & x > \frac14 \\ x + \frac12 & \text{else} \end{cases}

    References:
        - [Petersen et al., 2022](https://arxiv.org/abs/2203.09630), equation 10
    """
    x = ops.convert_to_tensor(x)
    outside = ops.abs(x) > 0.25
    tail = -1 / (16 * ops.where(outside, x, 1))  # no division by what is not chosen
    return ops.where(outside, ops.where(x > 0, 1 + tail, tail), x + 0.5)


SIGMOIDS = {"logistic": logistic, "optimal": optimal_sigmoid}


def odd_even_network(n):
    """Layers of pairs (i, j): after each comparison the smaller key stands at i. Any n."""
    return [[(i, i + 1) for i in range(layer % 2, n - 1, 2)] for layer in range(n)]


def bitonic_network(n):
    """The same for n a power of two, in log₂ n (log₂ n + 1) / 2 layers."""
    check_int("n", n)
    if n & (n - 1):
        raise ValueError(
            f"Received an invalid value for `n`, expected a power of two. Received: n={n}"
        )
    layers, block = [], 2
    while block <= n:
        reach = block // 2
        while reach:
            pairs = []
            for i in range(n):
                if not i & reach:
                    up = not i & block or block == n
                    pairs.append((i, i + reach) if up else (i + reach, i))
            layers.append(pairs)
            reach //= 2
        block *= 2
    return layers


NETWORKS = {"odd_even": odd_even_network, "bitonic": bitonic_network}


def network_sort(keys, steepness=1.0, sigmoid="optimal", network="odd_even"):
    r"""A sorting network of soft swaps (Petersen et al. 2021, equation 4).

    .. math:: \alpha = f(\beta (k_j - k_i)), \qquad
        k_i' = \alpha k_i + (1 - \alpha) k_j, \qquad k_j' = (1 - \alpha) k_i + \alpha k_j

    for each pair (i, j) of a layer; P is the product of the layers' matrices, doubly stochastic.

    Args:
        keys: Float tensor `[b, n]`.
        steepness: Float β > 0.
        sigmoid: `"logistic"`, or `"optimal"`: `optimal_sigmoid`.
        network: `"odd_even"` for n layers, or `"bitonic"` where n is a power of two.

    Returns:
        P `[b, n, n]` and the soft sorted keys `[b, n]`.

    References:
        - [Petersen et al., 2021](https://arxiv.org/abs/2105.04019)
    """
    check_positive("steepness", steepness)
    for name, value, known in (("sigmoid", sigmoid, SIGMOIDS), ("network", network, NETWORKS)):
        if value not in known:
            raise ValueError(
                f"Received an invalid value for `{name}`, expected one of {', '.join(known)}. "
                f"Received: {name}={value!r}"
            )
    keys = ops.convert_to_tensor(keys)
    n, f = keys.shape[1], SIGMOIDS[sigmoid]
    rows = ops.ones_like(keys)[..., None] * ops.eye(n, dtype=keys.dtype)  # [b, n, n]
    rows = ops.concatenate([rows, keys[..., None]], axis=-1)  # the keys are one more column
    for pairs in NETWORKS[network](n):
        partner, sign = np.arange(n), np.zeros(n)
        for i, j in pairs:
            partner[i], partner[j], sign[i], sign[j] = j, i, 1, -1
        other = ops.take(rows, partner, axis=1)
        difference = ops.cast(sign, keys.dtype) * (other[..., -1] - rows[..., -1])
        kept = ops.where(sign != 0, f(steepness * difference), 1)[..., None]
        rows = kept * rows + (1 - kept) * other
    return rows[..., :-1], rows[..., -1]


def isotonic(y):
    r"""The nearest non-increasing sequence, by the minimax formula.

    .. math:: v_i = \min_{j \le i} \max_{m \ge i} \frac{1}{m - j + 1} \sum_{l = j}^m y_l

    Args:
        y: Float tensor `[b, n]`.

    Returns:
        `[b, n]`. All means are held, `[b, n, n]`; the gradient is the exact one, that of block
        means.
    """
    y = ops.convert_to_tensor(y)
    n = y.shape[1]
    sums = ops.pad(ops.cumsum(y, axis=1), ((0, 0), (1, 0)))  # [b, n + 1]
    first, last = np.arange(n)[:, None], np.arange(n)[None]
    count = ops.cast(np.maximum(last - first + 1, 1), y.dtype)
    means = (sums[:, None, 1:] - sums[:, :-1, None]) / count  # [b, j, m]
    values = [ops.min(ops.max(means[:, : i + 1, i:], axis=2), axis=1) for i in range(n)]
    return ops.stack(values, axis=1)


def fast_rank(keys, strength=1.0):
    r"""Ranks by projection onto the permutahedron (Blondel et al. 2020, proposition 3).

    .. math:: r = P_Q(k / \varepsilon,\, \rho), \qquad
        P_Q(z, w) = z - v(z_\sigma - w)_{\sigma^{-1}}

    for w = ρ = (n, …, 1), σ sorting z descending and v the isotonic regression. Ranks ascend
    from 1 with the keys; quadratic regularization.

    Args:
        keys: Float tensor `[b, n]`.
        strength: Float ε > 0. Exact ranks below some ε > 0; equal ranks in the limit of large ε.

    Returns:
        `[b, n]`: each element's rank.

    References:
        - [Blondel et al., 2020](https://arxiv.org/abs/2002.08871)
    """
    z = ops.convert_to_tensor(keys) / check_positive("strength", strength)
    order = ops.argsort(-z, axis=1)
    rho = ops.cast(np.arange(z.shape[1], 0, -1), z.dtype)
    dual = isotonic(ops.take_along_axis(z, order, axis=1) - rho)
    return z - ops.take_along_axis(dual, ops.argsort(order, axis=1), axis=1)
