"""Which of a target's weights are generated, and what is known of each."""

import dataclasses
import math

import keras
import numpy as np
from keras import layers

from hyperkeras.keras_internals import sublayers

BIASES = ("bias", "beta")


@dataclasses.dataclass(frozen=True)
class Generated:
    """A weight to generate: the target's variable, and the layer that owns it."""

    variable: keras.Variable
    layer: layers.Layer
    biased: bool  # whether the layer's bias is generated too

    @property
    def shape(self):
        return tuple(self.variable.shape)

    @property
    def size(self):
        return math.prod(self.shape)

    @property
    def is_bias(self):
        return self.variable.name in BIASES

    @property
    def is_gain(self):
        """Scales and the like: vectors that are no biases, around a start of their own."""
        return not self.is_bias and len(self.shape) < 2

    @property
    def fans(self):
        """(fan in, fan out) of the layer's map."""
        shape, window = self.shape, math.prod(self.shape[:-2])
        if len(shape) < 2:
            return (shape or (1,))[0], (shape or (1,))[0]
        if isinstance(self.layer, layers.Embedding):
            return 1, shape[-1]
        if isinstance(self.layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
            return window, window * shape[-1]
        if isinstance(self.layer, layers.EinsumDense) and self.variable.name == "kernel":
            _, letters, outputs = self.layer.equation.replace("->", ",").split(",")
            fan_out = math.prod(s for s, a in zip(shape, letters, strict=True) if a in outputs)
            return math.prod(shape) // fan_out, fan_out
        return window * shape[-2], window * shape[-1]

    def start(self):
        """The target's own value, as a flat array."""
        return keras.ops.convert_to_numpy(self.variable.value).astype("float64").reshape(-1)


def owners(target):
    """{id of a weight: the innermost layer that has it}."""
    found = {}
    for layer in sublayers(target):  # a layer comes before those inside it
        found.update((id(weight), layer) for weight in layer.weights)
    return found


def choose(target, select):
    """The positions in `target.weights` of what `select` names, in order.

    `select` is None for all trainable weights, a function of a variable, or a sequence of layers,
    variables, their names or paths, and positions.
    """
    weights = target.weights
    if select is None:
        chosen = [i for i, weight in enumerate(weights) if weight.trainable]
    elif callable(select) and not isinstance(select, layers.Layer):
        chosen = [i for i, weight in enumerate(weights) if select(weight)]
    else:
        if isinstance(select, str | int | layers.Layer | keras.Variable):
            select = [select]
        chosen = sorted({i for one in select for i in _positions(target, one)})
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
    _check_lora(target, {id(weights[i]) for i in chosen})
    return chosen


def _positions(target, one):
    weights = target.weights
    if isinstance(one, layers.Layer):
        inside = {id(weight) for weight in one.trainable_weights}
        found = [i for i, weight in enumerate(weights) if id(weight) in inside]
    elif isinstance(one, keras.Variable):
        found = [i for i, weight in enumerate(weights) if weight is one]
    elif isinstance(one, str):
        found = [i for i, weight in enumerate(weights) if weight.path == one]
        if not found:
            found = [
                i
                for i, weight in enumerate(weights)
                if weight.trainable and f"/{one}/" in f"/{weight.path}/"
            ]
    else:
        known = isinstance(one, int | np.integer) and not isinstance(one, bool)
        found = [int(one)] if known and 0 <= one < len(weights) else []
    if not found:
        raise ValueError(
            "Received an invalid value for `select`, expected layers, weights, names, paths or "
            f"positions of weights of the target. Received: {one!r}, which chooses no trainable "
            f"weight of target '{target.name}' with {_paths(weights)}"
        )
    return found


def _check_lora(target, chosen):
    """Keras merges a LoRA pair into the kernel when it saves; half a pair would be lost."""
    for layer in sublayers(target):
        pair = lora_pair(layer)
        if pair and len({id(one) in chosen for one in pair}) == 2:
            raise ValueError(
                "Expected `select` to choose both LoRA factors of a layer, or neither. "
                f"Received: one of {_paths(pair)}"
            )


def lora_pair(layer):
    """The two LoRA factors of a layer, or None."""
    if not getattr(layer, "lora_enabled", False):
        return None
    for name in ("lora_kernel", "lora_embeddings"):
        if hasattr(layer, f"{name}_a"):
            return getattr(layer, f"{name}_a"), getattr(layer, f"{name}_b")
    return None


def clear_lora(target, positions):
    """Sets chosen pairs' products to zero, which saving would merge into the kernels."""
    chosen = {id(target.weights[i]) for i in positions}
    for layer in sublayers(target):
        pair = lora_pair(layer)
        if pair and id(pair[1]) in chosen:
            pair[1].assign(keras.ops.zeros(pair[1].shape))


def describe(target, positions):
    """What is known of each of the weights at `positions`."""
    weights, owned = target.weights, owners(target)
    chosen = [weights[i] for i in positions]
    biased = {id(owned[id(w)]) for w in chosen if w.name in BIASES}
    return [Generated(w, owned[id(w)], id(owned[id(w)]) in biased) for w in chosen]


def _paths(weights):
    return [weight.path for weight in weights]
