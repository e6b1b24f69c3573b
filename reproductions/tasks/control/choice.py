"""Which policy is the smallest that is good enough."""

import numpy as np


def bar(returns, floor, share):
    """The return that is `share` of the way from the floor to the best."""
    return floor + share * (max(returns) - floor)


def smallest(returns, parameters, floor, share):
    """The number of the policy with the fewest parameters whose return reaches the bar.

    Of equally small ones it is the better one.
    """
    returns = np.asarray(returns)
    enough = np.flatnonzero(returns >= bar(returns, floor, share))
    return int(min(enough, key=lambda i: (parameters[i], -returns[i])))
