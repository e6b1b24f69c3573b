"""What the attention task's networks look at, and the weights that they make for it."""

import math

import numpy as np

from hyperkeras.layers import Glimpse, HyperConv2D, HyperLSTMCell
from hyperkeras.models import Hypernetwork


def glimpse_of(network):
    """The network's `Glimpse`, also inside another layer; None if it has none."""
    return next(filter(None, map(_glimpse_in, network.layers)), None)


def _glimpse_in(layer):
    found = getattr(layer, "glimpse", layer)
    return found if isinstance(found, Glimpse) else None


def generated_weights(network):
    """How many weights are made for a sample.

    A glimpse has one a grid point, a HyperLSTM the scales and shifts of a step; others are kernels.
    """
    found = 0
    for layer in network.layers:
        if glimpse := _glimpse_in(layer):
            found += getattr(layer, "looks", 1) * math.prod(glimpse.target_shape)
        if isinstance(cell := getattr(layer, "cell", None), HyperLSTMCell):
            found += 12 * cell.units
        if isinstance(layer, HyperConv2D):
            found += math.prod(layer.kernel.shape)
        if isinstance(layer, Hypernetwork):
            found += layer.num_generated
    return found


def outlines(network, x):
    """Corners of what is looked at, rows and columns in pixels: [b, looks, 4, 2]; None for all."""
    corners = np.s_[:, :, [0, 0, -1, -1], [0, -1, -1, 0]]
    for layer in network.layers:
        if layer.name == "looker":
            return np.asarray(layer.grids(x))[corners]
        if layer.name == "transformer":
            return np.asarray(layer.corners(x))[:, None]
    if glimpse := glimpse_of(network):
        means = np.asarray(glimpse.source(x)[0])
        return means.reshape(-1, *glimpse.target_shape, 2)[corners]
    if hasattr(network, "locations"):
        places = np.asarray(network.locations(x))[:, :, None]  # [b, looks, 1, 2]
        return places + network.patch / 2 * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    return None
