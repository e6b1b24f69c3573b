"""The weights of a target that are generated: how they are chosen, kept and described."""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import layers

from hyperkeras.keras_internals import sublayers
from hyperkeras.layers.heads.piece import BIASES, Piece, role
from hyperkeras.models.hypernetworks import lora


@dataclasses.dataclass(frozen=True)
class Generated:
    """A weight to generate: the target's variable, its layer, and what a head needs of it."""

    variable: keras.Variable
    layer: layers.Layer
    piece: Piece

    def start(self) -> np.ndarray:
        """The target's own value, as a flat array."""
        return keras.ops.convert_to_numpy(self.variable.value).astype("float64").reshape(-1)


def piece_of(variable: keras.Variable, layer: layers.Layer, biased: bool) -> Piece:
    """The variable of a layer as a head sees it; `biased`: whether its bias is generated too."""
    shape, name = tuple(variable.shape), variable.name
    fans: tuple[int, int] | None = None
    unit_axes: tuple[int, ...] = (-1,)
    if len(shape) >= 2:
        window = math.prod(shape[:-2])
        if isinstance(layer, layers.Embedding) and name == "embeddings":
            fans, unit_axes = (1, shape[-1]), (0, 1)  # rows as they are
        elif isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
            fans, unit_axes = (window, window * shape[-1]), (-2, -1)
        elif isinstance(layer, layers.EinsumDense) and name == "kernel":
            _, letters, outputs = layer.equation.replace("->", ",").split(",")
            unit_axes = tuple(axis for axis, letter in enumerate(letters) if letter in outputs)
            fan_out = math.prod(shape[axis] for axis in unit_axes)
            fans = math.prod(shape) // fan_out, fan_out
    return Piece(
        variable.path,
        shape,
        role(name, shape),
        fans,
        biased,
        f"{type(layer).__name__}/{re.sub(r'_[0-9]+$', '', layer.name)}/{name}",
        layer.path,
        unit_axes,
    )


class Selection:
    """The chosen variables of a target.

    It holds the variables themselves. Their places in `target.weights` change when LoRA, a
    quantization or a user adds other weights; the variables stay.
    """

    def __init__(self, target: layers.Layer, variables: Sequence[keras.Variable]) -> None:
        self.target, self.variables = target, tuple(variables)
        self.pieces = describe(target, self.variables)

    def check(self) -> None:
        """Raises an error where the target has changed in a way that can't be followed."""
        present = {id(weight) for weight in self.target.weights}
        missing = [v.path for v in self.variables if id(v) not in present]
        if missing:
            raise ValueError(
                f"Expected the generated weights to stay weights of target '{self.target.name}', "
                "which loses them when their layers are quantized. Call `quantize` of the "
                "hypernetwork, which leaves these layers as they are. Received: a target "
                f"without {missing}"
            )
        chosen = {id(variable) for variable in self.variables}
        for piece in self.pieces:
            pair = lora.factors(piece.layer)
            if pair and piece.variable.name in lora.KERNELS and id(pair[0]) not in chosen:
                raise ValueError(
                    "Expected no LoRA factors beside a generated kernel: Keras saves their product "
                    "as a part of the kernel, which the hypernetwork generates anew. Enable LoRA "
                    "before the hypernetwork is made, so that the factors are generated, or "
                    f"leave the layer out of `select`. Received: layer '{piece.layer.name}' with "
                    f"LoRA, whose weight {piece.variable.path} is generated"
                )

    def other_layers(self, filters: Any = None) -> Callable[[layers.Layer], bool]:
        """A filter for `quantize`: layers without generated weights that pass `filters` too."""
        generated = {id(piece.layer) for piece in self.pieces}
        patterns = [filters] if isinstance(filters, str) else filters

        def passes(layer):
            if id(layer) in generated:
                return False
            if patterns is None or callable(patterns):
                return patterns is None or patterns(layer)
            return any(re.search(pattern, layer.name) for pattern in patterns)

        return passes

    def entries(self) -> list[dict]:
        """The selection as a configuration: paths, and positions where paths are not unique."""
        positions = {id(weight): i for i, weight in enumerate(self.target.weights)}
        return [{"path": v.path, "position": positions.get(id(v))} for v in self.variables]


def restore(target: layers.Layer, entries: Sequence) -> Selection:
    """The selection that `Selection.entries` wrote, or a list of positions in `target.weights`."""
    weights = target.weights
    chosen = []
    for entry in entries:
        if isinstance(entry, int | np.integer):
            index = int(entry)
        else:
            index = place(entry["path"], entry["position"], [w.path for w in weights])
        if not 0 <= index < len(weights):
            raise ValueError(
                "Expected the target to have the weights that the configuration selects. "
                f"Received: {entry!r}, target '{target.name}' with {_paths(weights)}"
            )
        chosen.append(weights[index])
    return Selection(target, chosen)


def place(path: str | None, position: int | None, paths: Sequence[str | None]) -> int:
    """The index of `path` in `paths`; where it isn't there once, `position`; else -1."""
    matching = [i for i, other in enumerate(paths) if other == path]
    if len(matching) == 1:
        return matching[0]
    return -1 if position is None else position


def owners(target: layers.Layer) -> dict[int, layers.Layer]:
    """{id of a weight: the innermost layer that has it}."""
    owned: dict[int, layers.Layer] = {}
    for layer in sublayers(target):  # a layer comes before those inside it
        owned.update((id(weight), layer) for weight in layer.weights)
    return owned


Selector: TypeAlias = (
    str
    | int
    | layers.Layer
    | keras.Variable
    | Selection
    | Callable[[keras.Variable], bool]
    | Sequence[Any]
    | None
)


def choose(target: layers.Layer, select: Selector) -> Selection:
    """What `select` names, in the order of `target.weights`.

    `select` is None for all trainable weights, a function of a variable, or a sequence of layers,
    variables, their names or paths, and positions.
    """
    if isinstance(select, Selection):
        return select
    weights = target.weights
    if select is None:
        chosen = [i for i, weight in enumerate(weights) if weight.trainable]
    elif callable(select) and not isinstance(select, layers.Layer):
        chosen = [i for i, weight in enumerate(weights) if select(weight)]
    else:
        if isinstance(select, str | int | layers.Layer | keras.Variable):
            select = [select]
        chosen = sorted({i for part in select for i in _positions(target, part)})
    if not chosen:
        raise ValueError(
            "Expected `select` to choose at least one weight of the target. "
            f"Received: select={select!r}, target '{target.name}' with {_paths(weights)}"
        )
    fixed = [weights[i].path for i in chosen if not weights[i].trainable]
    if fixed:
        raise ValueError(
            "Expected `select` to choose trainable weights; others are frozen, or state that the "
            f"target updates by itself. Received: select={select!r}, which chooses {fixed}"
        )
    variables = [weights[i] for i in chosen]
    lora.check_whole_pairs(target, variables)
    return Selection(target, variables)


def _positions(target, part):
    """The positions in `target.weights` of what a layer, variable, name, path or number names."""
    weights = target.weights
    if isinstance(part, layers.Layer):
        inside = {id(weight) for weight in part.trainable_weights}
        chosen = [i for i, weight in enumerate(weights) if id(weight) in inside]
    elif isinstance(part, keras.Variable):
        chosen = [i for i, weight in enumerate(weights) if weight is part]
    elif isinstance(part, str):
        chosen = [i for i, weight in enumerate(weights) if weight.path == part]
        if not chosen:
            chosen = [
                i
                for i, weight in enumerate(weights)
                if weight.trainable and f"/{part}/" in f"/{weight.path}/"
            ]
    else:
        known = isinstance(part, int | np.integer) and not isinstance(part, bool)
        chosen = [int(part)] if known and 0 <= part < len(weights) else []
    if not chosen:
        raise ValueError(
            "Received an invalid value for `select`, expected layers, weights, names, paths or "
            f"positions of weights of the target. Received: {part!r}, which chooses no trainable "
            f"weight of target '{target.name}' with {_paths(weights)}"
        )
    return chosen


def describe(target: layers.Layer, variables: Sequence[keras.Variable]) -> list[Generated]:
    """What is known of each of the variables."""
    owned = owners(target)
    biased = {id(owned[id(v)]) for v in variables if v.name in BIASES}
    described = []
    for variable in variables:
        layer = owned[id(variable)]
        piece = piece_of(variable, layer, id(layer) in biased)
        described.append(Generated(variable, layer, piece))
    return described


def _paths(weights):
    return [weight.path for weight in weights]
