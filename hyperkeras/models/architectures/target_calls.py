"""Calls of networks with given values for their variables, compiled once for each network."""

import importlib
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from hyperkeras.annotations import Tensor
from hyperkeras.layers.heads.piece import Piece
from hyperkeras.models.hypernetworks.variable_substitution import Substitution


class Recipe(NamedTuple):
    """How weights are made of a decoder's tiles. It decides what is compiled anew.

    Args:
        fit: Function of a tile and a piece that returns a weight.
        scale: Function of a weight, its role and its fan-in that returns the scaled weight.
    """

    fit: Callable[[Tensor, Piece], Tensor]
    scale: Callable[..., Tensor]

    def weight(self, tile: Tensor, piece: Piece) -> Tensor:
        """The weight `piece` from its tile."""
        return self.scale(self.fit(tile, piece), piece.role, piece.map_fans[0])


def backend_module() -> Any:
    """The module that compiles on this backend, or None."""
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        return None
    return importlib.import_module(f"hyperkeras.models.architectures.compiled_call_{backend}")


# {network: {how it is called: function}}, so that hypernetworks share what they compile. An entry
# is forgotten with its network.
_functions: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def call(
    network: keras.Model,
    values: Sequence[Tensor],
    x: Any,
    training: bool,
    recipe: Recipe | None = None,
    pieces: Sequence[Piece | None] | None = None,
) -> tuple[Any, list[Tensor]]:
    """What a network computes from x, and losses that it adds.

    Args:
        network: A built model or layer.
        values: Sequence of tensors, one for each of `network.variables`.
        x: The network's input.
        training: Boolean, whether the layers run in training mode.
        recipe: How values that are tiles become weights; None (default) where none is a tile.
        pieces: Sequence with the description of each variable whose value is a tile, and None for
            the others.

    Returns:
        The outputs, and a list of scalars. Updates of moving statistics are lost.
    """
    functions = _functions.setdefault(network, {})
    made = None if pieces is None else tuple(piece is not None for piece in pieces)
    if (recipe, made) not in functions:
        # A strong reference would keep the network alive for as long as its own entry.
        function = _function(weakref.ref(network), recipe, pieces)
        module = backend_module()
        functions[recipe, made] = function if module is None else module.compiled(function)
    return functions[recipe, made](list(values), x, training)


def _function(reference, recipe, pieces):
    def function(values, x, training):
        network = reference()
        variables = network.variables
        if recipe is not None:
            values = [
                value if piece is None else recipe.weight(value, piece)
                for value, piece in zip(values, pieces, strict=True)
            ]
        values = [
            keras.ops.cast(value, variable.dtype)
            for value, variable in zip(values, variables, strict=True)
        ]
        with Substitution(zip(variables, values, strict=True)) as scope:
            outputs = network(x, training=training)
        return outputs, list(scope.losses)

    return function
