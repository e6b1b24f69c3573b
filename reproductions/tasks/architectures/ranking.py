"""How well figures of architectures rank them as training does."""

import numpy as np


def kendall(figures, accuracies):
    """Kendall's τ of two sequences, 0 where one of them is constant."""
    from scipy.stats import kendalltau

    if len(figures) < 2:
        return 0.0
    tau = kendalltau(figures, accuracies).statistic
    return 0.0 if np.isnan(tau) else float(tau)


def interval(figures, accuracies, draws=1000):
    """The middle 95 % of τ, over draws of architectures with replacement."""
    figures, accuracies = np.asarray(figures), np.asarray(accuracies)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(figures), (draws, len(figures)))
    taus = [kendall(figures[i], accuracies[i]) for i in chosen]
    return [float(value) for value in np.quantile(taus, (0.025, 0.975))]


def better_half(figures, accuracies):
    """τ among the half of the architectures with the best accuracies."""
    order = np.argsort(accuracies, kind="stable")[len(accuracies) // 2 :]
    return kendall(np.asarray(figures)[order], np.asarray(accuracies)[order])
