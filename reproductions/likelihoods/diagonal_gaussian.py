"""Diagonal Gaussians, as the codes of variational autoencoders are; all in nats."""

from typing import Any

import numpy as np
from keras import ops


def normal_nats(z: Any, mean: Any, log_deviation: Any) -> Any:
    """−log of a diagonal Gaussian's density, summed over the last axis."""
    scaled = (z - mean) * ops.exp(-log_deviation)
    terms = 0.5 * ops.square(scaled) + log_deviation + 0.5 * np.log(2 * np.pi)
    return ops.sum(terms, axis=-1)


def kl_to_normal(mean: Any, log_deviation: Any) -> Any:
    """KL of a diagonal Gaussian to the standard normal, each dimension by itself."""
    square = ops.square(mean) + ops.exp(2 * log_deviation)
    return 0.5 * (square - 1) - log_deviation
