"""Starts of heads: which variance each generated weight should have, and who gives it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hyperkeras import initializers
from hyperkeras.layers.heads.piece import Piece
from hyperkeras.ops.argument_validation import invalid_value

NAMED = {
    "hyperfan_in": initializers.HyperfanIn,
    "hyperfan_out": initializers.HyperfanOut,
    "bias_hyper": initializers.BiasHyperInit,
}
GAIN_DEVIATION = 0.1  # of generated scales around their start, in heads that can't leave them still


def head_initializer(value: Any) -> keras.initializers.Initializer:
    """One of ours by its name, or what Keras knows."""
    if isinstance(value, str) and value in NAMED:
        return NAMED[value]()
    return keras.initializers.get(value)


def check_variance_initializer(initializer: Any) -> None:
    """The initializer has to say which variance each weight should have; None is the default."""
    kinds = initializers.HyperfanIn, initializers.HyperfanOut, initializers.BiasHyperInit
    if initializer is not None and not isinstance(initializer, kinds):
        raise invalid_value(
            "initializer", "'hyperfan_in', 'hyperfan_out' or 'bias_hyper'", initializer
        )


def values(array: Any) -> Callable:
    """An initializer that gives the numbers of `array`."""
    return lambda shape, dtype=None: ops.convert_to_tensor(array, dtype)


def by_pieces(initializer: initializers.Hyperfan, pieces: Sequence[Piece]) -> Callable:
    """An initializer of the kernel `[F, N]` of a head over all pieces.

    One draw for all: a Keras initializer gives pieces of equal shape the same numbers. Gains start
    alike for all conditions.
    """

    def start(shape, dtype=None):
        deviations = [
            0.0 if p.is_gain else entry_variance(initializer, p, shape[0]) ** 0.5 for p in pieces
        ]
        columns = np.repeat(deviations, [piece.size for piece in pieces])
        return initializer.normal(shape, dtype) * ops.convert_to_tensor(columns, dtype)

    return start


def weight_deviation(initializer: Any, piece: Piece) -> float:
    """The standard deviation that a generated weight should have over conditions.

    0 for `BiasHyperInit`: every condition starts with the target's own weights.
    """
    if isinstance(initializer, initializers.BiasHyperInit):
        return 0.0
    if piece.is_gain:
        return GAIN_DEVIATION
    # Variances are of the head's entries; a weight is the sum over `energy` of them.
    return (initializer.feature_variance * entry_variance(initializer, piece, 1)) ** 0.5


def entry_variance(initializer: initializers.Hyperfan, piece: Piece, num_features: int) -> float:
    """The variance of the head's entries that make `piece` from `num_features` features."""
    return float(initializer.variances(num_features, piece.map_fans, piece.biased)[piece.is_bias])


def weight_deviations(initializer: Any, pieces: Sequence[Piece]) -> np.ndarray:
    """`weight_deviation` of each of the N generated numbers."""
    return np.concatenate(
        [np.full(piece.size, weight_deviation(initializer, piece)) for piece in pieces]
    )
