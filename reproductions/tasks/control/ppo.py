"""Proximal policy optimization: advantages, the clipped loss, and running statistics.

Letters of shapes: t steps, n environments, b rows of a batch, m policies, a numbers of an action.
"""

import math

import numpy as np


def advantages(rewards, values, next_values, terminated, over, gamma, decay):
    """Generalized advantages - Schulman et al. 2016, equation 16.

    δ_t = r_t + γ V(s'_t) − V(s_t) and A_t = δ_t + γ λ A_{t+1}, where s' is the state that the step
    led to. V(s') is 0 where the episode terminated there; where its time was over the state still
    has a value. The sum ends with the episode in both cases.

    Args:
        rewards, values, next_values: Arrays `[t, n]`: r, V(s), V(s').
        terminated, over: Booleans `[t, n]`: the episode ended for good; it ended at all.
        gamma: Number γ.
        decay: Number λ.

    Returns:
        Array `[t, n]`.
    """
    deltas = rewards + gamma * next_values * ~terminated - values
    found = np.zeros_like(deltas)
    later = np.zeros_like(deltas[0])
    for t in reversed(range(len(deltas))):
        later = deltas[t] + gamma * decay * later * ~over[t]
        found[t] = later
    return found


def standardized(x, axes):
    """x with mean 0 and standard deviation 1 over some axes."""
    return (x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 1e-8)


def log_density(actions, means, log_std):
    """Logarithm of the density of independent normal actions `[..., a]`: `[...]`."""
    from keras import ops

    z = (actions - means) * ops.exp(-log_std)
    return ops.sum(-0.5 * ops.square(z) - log_std - 0.5 * math.log(2 * math.pi), axis=-1)


def policy_loss(log_density, old_log_density, advantages, clip):
    """The clipped loss - Schulman et al. 2017, equation 7: −mean min(ρ A, clip(ρ) A).

    ρ is the ratio of the densities. As in HyperPPO it is held in [1 / (1 + clip), 1 + clip].
    """
    from keras import ops

    ratio = ops.exp(log_density - old_log_density)
    held = ops.clip(ratio, 1 / (1 + clip), 1 + clip)
    return -ops.mean(ops.minimum(ratio * advantages, held * advantages))


class RunningMoments:
    """Mean and variance of all rows seen, over the last axis."""

    def __init__(self, size):
        self.mean, self.variance, self.count = np.zeros(size), np.ones(size), 0

    def update(self, rows):
        """Adds rows `[..., size]`."""
        rows = np.reshape(rows, (-1, len(self.mean))).astype("float64")
        total = self.count + len(rows)
        apart = rows.mean(0) - self.mean
        old, new = self.count / total, len(rows) / total
        # Of two groups: the mean of their variances, and the variance of their means.
        self.variance = old * self.variance + new * rows.var(0) + old * new * apart**2
        self.mean = self.mean + new * apart
        self.count = total

    def normalize(self, rows, limit=10.0):
        """Rows with mean 0 and variance 1, within the limit."""
        scaled = (rows - self.mean) / np.sqrt(self.variance + 1e-8)
        return np.clip(scaled, -limit, limit).astype("float32")


def running_returns(rewards, over, before, gamma):
    """R_t = r_t + γ R_{t−1}, begun anew with each episode `[t, n]`, and the last one to go on from.

    Their deviation is the scale of the rewards.
    """
    found, current = np.zeros_like(rewards), before
    for t, row in enumerate(rewards):
        current = found[t] = gamma * current + row
        current = current * ~over[t]
    return found, current
