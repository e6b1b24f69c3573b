"""A weight that a head makes, as plain data."""

import dataclasses
import math
from typing import Any

BIASES = ("bias", "beta")


@dataclasses.dataclass(frozen=True)
class Piece:
    """A weight that a head makes: its place in the target, its shape and its role.

    Args:
        path: String, the weight's path in the target.
        shape: Tuple of integers.
        role: `"kernel"`, `"bias"` or `"gain"`. Gains are scales and other vectors that are no
            biases, such as a normalization's gamma.
        fans: Pair (fan in, fan out) of the layer's map; None to read it off the shape, whose last
            two dims are inputs and outputs.
        biased: Boolean, whether the layer's bias is generated too (default `True`).
        group: String that weights of one kind have in common, such as all query kernels of equal
            blocks; None for the weight's own name.
        layer: String, the layer that owns the weight; None for the path without its last word.
        unit_axes: Tuple of integers, the axes of the shape that count the layer's units (default:
            the last one).
    """

    path: str
    shape: tuple[int, ...]
    role: str = "kernel"
    fans: tuple[int, int] | None = None
    biased: bool = True
    group: str | None = None
    layer: str | None = None
    unit_axes: tuple[int, ...] = (-1,)

    @property
    def name(self) -> str:
        """The weight's own name, the last word of its path."""
        return self.path.rpartition("/")[2]

    @property
    def size(self) -> int:
        """How many numbers the weight has."""
        return math.prod(self.shape)

    @property
    def is_bias(self) -> bool:
        """Whether the weight is a layer's bias."""
        return self.role == "bias"

    @property
    def is_gain(self) -> bool:
        """Whether the weight is a scale."""
        return self.role == "gain"

    @property
    def map_fans(self) -> tuple[int, int]:
        """(fan in, fan out) of the layer's map."""
        if self.fans is not None:
            return self.fans
        ends = self.shape[-2:] or (1,)
        window = math.prod(self.shape[:-2])
        return window * ends[0], window * ends[-1]

    @property
    def group_key(self) -> tuple[str, tuple[int, ...]]:
        """What weights that one matrix makes have in common: their group and shape."""
        return (self.group if self.group is not None else self.name), self.shape

    @property
    def layer_key(self) -> str:
        """The layer that owns the weight."""
        return self.layer if self.layer is not None else self.path.rpartition("/")[0]


def as_piece(weight: Any) -> Piece:
    """The piece of a Keras variable, read off its path and shape; pieces stay as they are."""
    if isinstance(weight, Piece):
        return weight
    shape = tuple(weight.shape)
    return Piece(weight.path, shape, role(weight.name, shape))


def role(name: str, shape: tuple[int, ...]) -> str:
    """What a weight of this name and shape does in its layer."""
    if name in BIASES:
        return "bias"
    return "gain" if len(shape) < 2 else "kernel"
