"""Order of generated numbers: unit by unit, or as Keras stores them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from hyperkeras.layers.heads.piece import Piece


def from_unit_order(rows: Any, pieces: Sequence[Piece]) -> Any:
    """Rows `[c, N]`, each piece laid out unit by unit, as Keras stores the pieces.

    A kernel `[inputs, units]` comes as all inputs of the first unit, then of the second, and so
    on. Vectors have one order only.
    """
    ends = np.cumsum([piece.size for piece in pieces])[:-1].tolist()
    parts = ops.split(rows, ends, axis=-1) if ends else [rows]
    return ops.concatenate(
        [_stored(part, piece) for part, piece in zip(parts, pieces, strict=True)], axis=-1
    )


def _stored(part, piece):
    """`[c, size]` of one piece, from unit by unit to stored."""
    rank = len(piece.shape)
    if rank < 2:
        return part
    units = sorted(axis % rank for axis in piece.unit_axes)
    others = [axis for axis in range(rank) if axis not in units]
    if not others:
        return part
    laid_out = [*units, *others]
    part = ops.reshape(part, (-1, *(piece.shape[axis] for axis in laid_out)))
    back = [1 + laid_out.index(axis) for axis in range(rank)]
    return ops.reshape(ops.transpose(part, (0, *back)), (-1, math.prod(piece.shape)))
