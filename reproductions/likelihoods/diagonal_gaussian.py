"""Diagonal Gaussians, as the codes of variational autoencoders are; all in nats."""

import numpy as np
from keras import ops


def normal_nats(z, mean, log_deviation):
    """−log of a diagonal Gaussian's density, summed over the last axis."""
    scaled = (z - mean) * ops.exp(-log_deviation)
    terms = 0.5 * ops.square(scaled) + log_deviation + 0.5 * np.log(2 * np.pi)
    return ops.sum(terms, axis=-1)


def kl_to_normal(mean, log_deviation):
    """KL of a diagonal Gaussian to the standard normal, each dimension by itself."""
    square = ops.square(mean) + ops.exp(2 * log_deviation)
    return 0.5 * (square - 1) - log_deviation
