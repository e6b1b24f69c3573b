r"""Gaussians over index tuples as distributions over integers.

A continuous index is a Gaussian of mean μ and standard deviation s. As a distribution, integer t of
0 … n − 1 has the mass between t − ½ and t + ½, and the two ends have what lies beyond them, so that
the masses sum to one. Drawing is rounding what the Gaussian gives. All is in logarithms: a mass may
be far below the smallest float, and its gradient is then the one that moves μ.
"""

import math
from typing import Any

import keras
from keras import ops

FAR = 1e4  # in standard deviations, beyond every edge
# Chebyshev's fit of log erfc, relative error of erfc below 1.2e-7 everywhere (Press et al. 1992,
# Numerical Recipes, 6.2).
FIT = (
    *(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806),
    *(0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277),
)


def log_cdf(z: Any) -> Any:
    r"""log Φ(z), finite for \|z\| up to 10¹⁸."""
    x = -z / math.sqrt(2)
    t = 1 / (1 + ops.abs(x) / 2)
    fit = FIT[-1]
    for coefficient in FIT[-2::-1]:
        fit = fit * t + coefficient
    tail = ops.log(t) - x * x + fit  # log erfc |x|
    small = ops.minimum(tail, 0.0)
    return ops.where(x < 0, ops.log1p(-ops.exp(small) / 2), tail - math.log(2))


def log_mass(t: Any, mean: Any, deviation: Any, size: int) -> Any:
    r"""log of an integer's mass under a Gaussian that is cut into integers.

    .. math::
        \log \Big(\Phi\big(\tfrac{t + 1/2 - \mu}{s}\big)
            - \Phi\big(\tfrac{t - 1/2 - \mu}{s}\big)\Big)

    where the first is 1 for t = size − 1, the second 0 for t = 0.

    Args:
        t: Float tensor of integers from 0 to size − 1, any shape that broadcasts.
        mean: Float tensor.
        deviation: Float tensor, above 0: standard deviations.
        size: Integer.
    """
    low = ops.where(t <= 0, -FAR, (t - 0.5 - mean) / deviation)
    high = ops.where(t >= size - 1, FAR, (t + 0.5 - mean) / deviation)
    # On the left of 0, where Φ is small, differences are exact: so mirror what lies on the right.
    mirrored = low + high > 0
    low, high = ops.where(mirrored, -high, low), ops.where(mirrored, -low, high)
    upper = log_cdf(high)
    ratio = ops.minimum(log_cdf(low) - upper, -1e-6)
    return upper + ops.log(-ops.expm1(ops.maximum(ratio, -60.0)))


def sample(mean: Any, deviation: Any, size: int, seed: Any = None) -> Any:
    """Integers drawn from the distribution of `log_mass`."""
    drawn = mean + deviation * keras.random.normal(ops.shape(mean), seed=seed)
    return ops.cast(ops.clip(ops.round(drawn), 0, size - 1), "int32")
