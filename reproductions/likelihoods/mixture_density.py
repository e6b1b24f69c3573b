r"""A mixture of Gaussians of a pen's next offset, and whether the pen then leaves the paper.

After Graves (2013), arXiv 1308.0850, equations 15 to 26: of K components each has a weight π, means
μ, standard deviations σ and a correlation ρ; the pen lifts with probability e. A network gives them
by 6K + 1 numbers, `raw`, of any size: π, two μ, two σ and ρ, K numbers each, then e.

Two departures make every value and gradient finite for |raw| and offsets up to 10¹² in float32:
σ = exp(σ̂) is kept above `MIN_DEVIATION`, and ρ = tanh(ρ̂) within ±`MAX_CORRELATION`. Without a floor
the density of an offset that data repeat exactly, such as 0, has no bound. The exponent of e has
the usual sign, e = 1 / (1 + exp(−ê)).
"""

import math
from typing import Any

import keras
from keras import ops

MIN_DEVIATION = 0.01
MAX_CORRELATION = 0.999


def above(x: Any, floor: float) -> Any:
    """x where it is well above `floor`, smoothly held above it."""
    return floor + ops.softplus(x - floor)


def parameters(raw: Any) -> tuple[Any, Any, Any, Any, Any]:
    r"""Equations 17 to 22.

    .. math::
        \pi = \mathrm{softmax}(\hat\pi), \quad
        \log\sigma = \ell + \log(1 + e^{\hat\sigma - \ell}), \quad
        \rho = 0.999 \tanh\hat\rho, \qquad \ell = \log 0.01

    Args:
        raw: Tensor of shape `[..., 6 k + 1]`.

    Returns:
        log π `[..., k]`, μ `[..., 2, k]`, log σ `[..., 2, k]`, ρ `[..., k]` and ê `[...]`.
    """
    k = (raw.shape[-1] - 1) // 6
    if k < 1 or raw.shape[-1] != 6 * k + 1:
        raise ValueError(f"Expected 6 k + 1 numbers in the last axis. Received: {raw.shape}")
    weight, mean, deviation, correlation, pen = ops.split(raw, [k, 3 * k, 5 * k, 6 * k], axis=-1)
    pair = (*ops.shape(raw)[:-1], 2, k)
    log_deviation = above(deviation, math.log(MIN_DEVIATION))
    return (
        ops.log_softmax(weight, axis=-1),
        ops.reshape(mean, pair),
        ops.reshape(log_deviation, pair),
        MAX_CORRELATION * ops.tanh(correlation),
        pen[..., 0],
    )


def log_density(raw: Any, offsets: Any) -> Any:
    r"""log of equation 23's sum of bivariate Gaussians, equations 24 and 25.

    .. math::
        \log \sum_k \pi_k\, \mathcal N(x \mid \mu_k, \sigma_k, \rho_k), \quad
        \log \mathcal N = -\log 2\pi\sigma_1\sigma_2\sqrt{1 - \rho^2}
            - \tfrac12 \left(z_1^2 + \frac{(z_2 - \rho z_1)^2}{1 - \rho^2}\right), \quad
        z_i = \frac{x_i - \mu_i}{\sigma_i}

    The exponent, Z / (2 (1 − ρ²)) in the paper, is written as that of z₁ and of z₂ given z₁: a sum
    of squares, which rounding can't make negative.

    Args:
        raw: Tensor of shape `[..., 6 k + 1]`.
        offsets: Tensor of shape `[..., 2]`.

    Returns:
        Tensor of shape `[...]`.
    """
    log_weight, mean, log_deviation, rho, _ = parameters(raw)
    z = (offsets[..., None] - mean) * ops.exp(-log_deviation)  # [..., 2, k]
    z1, z2 = z[..., 0, :], z[..., 1, :]
    rest = (1.0 - rho) * (1.0 + rho)
    exponent = 0.5 * (ops.square(z1) + ops.square(z2 - rho * z1) / rest)
    scale = math.log(2 * math.pi) + ops.sum(log_deviation, axis=-2) + 0.5 * ops.log(rest)
    return ops.logsumexp(log_weight - scale - exponent, axis=-1)


def step_nats(raw: Any, offsets: Any, pen: Any) -> Any:
    r"""Equation 26's log-loss of each step: −log density − log of the pen's probability.

    Args:
        raw: Tensor of shape `[..., 6 k + 1]`.
        offsets: Tensor of shape `[..., 2]`.
        pen: Tensor of shape `[...]`: 1 where the pen lifts after the point, else 0.

    Returns:
        Tensor of shape `[...]`.
    """
    logit = raw[..., -1]
    return ops.softplus(logit) - pen * logit - log_density(raw, offsets)


def nats(y_true: Any, y_pred: Any) -> Any:
    """Log-loss of whole sequences: the sum over steps; padding, of weight 0, doesn't count.

    Args:
        y_true: Tensor of shape `[b, t, 4]`: two offsets, pen, weight.
        y_pred: `raw` of shape `[b, t, 6 k + 1]`.

    Returns:
        Tensor of shape `[b]`.
    """
    steps = step_nats(y_pred, y_true[..., :2], y_true[..., 2])
    return ops.sum(y_true[..., 3] * steps, axis=-1)


def sample(raw: Any, temperature: float = 1.0, seed: Any = None) -> Any:
    """A point drawn from each density.

    Args:
        raw: Tensor of shape `[b, 6 k + 1]`.
        temperature: Float above 0: log-weights and pen's logit are divided by it, variances
            multiplied; below 1 the likely gets likelier.
        seed: Integer, `keras.random.SeedGenerator` or None.

    Returns:
        Tensor of shape `[b, 3]`: two offsets and the pen, 0 or 1.
    """
    if not temperature > 0:
        raise ValueError(f"Expected `temperature` above 0. Received: temperature={temperature}")
    seed = keras.random.SeedGenerator(seed) if seed is None or isinstance(seed, int) else seed
    dtype = keras.backend.standardize_dtype(raw.dtype)
    log_weight, mean, log_deviation, rho, logit = parameters(raw)
    chosen = keras.random.categorical(log_weight / temperature, 1, seed=seed)  # [b, 1]
    rho = ops.take_along_axis(rho, chosen, axis=-1)[..., 0]
    mean, log_deviation = (
        ops.take_along_axis(x, ops.repeat(chosen[:, None], 2, axis=1), axis=-1)[..., 0]
        for x in (mean, log_deviation)
    )
    z1, e = ops.moveaxis(keras.random.normal(ops.shape(mean), dtype=dtype, seed=seed), -1, 0)
    z = ops.stack([z1, rho * z1 + ops.sqrt((1.0 - rho) * (1.0 + rho)) * e], axis=-1)
    offsets = mean + math.sqrt(temperature) * ops.exp(log_deviation) * z
    uniform = keras.random.uniform(ops.shape(logit), dtype=dtype, seed=seed)
    lifts = ops.cast(uniform < ops.sigmoid(logit / temperature), dtype)
    return ops.concatenate([offsets, lifts[:, None]], axis=-1)
