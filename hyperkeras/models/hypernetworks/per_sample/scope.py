"""How a target runs with weights that differ from sample to sample.

Within `per_sample_scope` a generated weight reads as a tensor `[b, *shape]`, b samples of it; the
target's other weights read as they are. Each read falls under one of two rules:

1. A layer whose class is registered (see `keras_layers` and `recurrent_cells`) runs as one
   batched product, when the weight is its own and each of its inputs has the batch on the first
   axis.
2. Any other read maps a layer over the samples by `keras.ops.vectorized_map`: the smallest layer
   around the read whose inputs and outputs have the batch on the first axis. That layer runs as a
   whole, with each sample's weights for it and for all layers inside it, on one sample at a time.
   Inputs without the batch axis (positions, a causal mask) are the same for all samples. The
   largest such layer is the target itself; where its axes don't fit either, an error names the
   layer.

So a layer that has both a weight of its own and sublayers is mapped, as are recurrent cells,
`HyperDense`, `Glimpse` and a hypernetwork inside the target; a table of positions that is looked up
for `[1, n]` maps the layer around it. `plan` finds the layers to map.

A mapped layer may draw random numbers, each sample its own. Its losses are averaged over the
samples. It may not update other states, such as moving statistics.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import layers

from hyperkeras.models.hypernetworks.per_sample import recurrent_cells  # noqa: F401 (registers them)
from hyperkeras.models.hypernetworks.per_sample.factored_products import factored
from hyperkeras.models.hypernetworks.per_sample.interception import intercept, redirected
from hyperkeras.models.hypernetworks.per_sample.keras_layers import batched_call
from hyperkeras.models.hypernetworks.per_sample.mapping import map_over_samples
from hyperkeras.models.hypernetworks.per_sample.plan import plan_calls


@contextlib.contextmanager
def per_sample_scope(
    target: layers.Layer, pieces: list, x: Any, training: Any = None, factors: Any = None
) -> Iterator[None]:
    """A scope where the layers of `target` run with weights of each sample's own.

    Args:
        target: Built Keras model.
        pieces: List of `weight_selection.Generated`, the weights that are generated.
        x: The target's inputs.
        training: Boolean or None, as `target` is called with.
        factors: Dict from ids of layers to the `Factors` of their kernels, which then are not read.
    """
    native, functions = _native(pieces)
    variables = [piece.variable for piece in pieces]
    plan = plan_calls(target, variables, native, x, training)

    def redirection(layer, call, args, kwargs):
        mapping = plan.get(id(layer))
        if mapping is not None:
            used = [variable for variable in variables if id(variable) in mapping.variables]
            return map_over_samples(layer, call, used, mapping.batched, args, kwargs)
        function = functions.get(id(layer))
        return call(*args, **kwargs) if function is None else function(layer, call, *args, **kwargs)

    intercept(target)
    with redirected(redirection), factored(factors or {}):
        yield


def maps_no_layer(target: layers.Layer, pieces: list, x: Any, training: Any = None) -> bool:
    """Whether each layer with generated weights runs as one batched product."""
    native, _ = _native(pieces)
    return not plan_calls(target, [piece.variable for piece in pieces], native, x, training)


def compiles(target: layers.Layer, pieces: list) -> bool:
    """Whether XLA can compile the target per sample: on TensorFlow, only if no layer is mapped."""
    if keras.backend.backend() != "tensorflow":
        return True
    native, _ = _native(pieces)
    if len({variable for _, variable in native}) < len(pieces):
        return False
    try:
        shape = target.get_build_config()["input_shape"]
        x = getattr(target, "inputs", None) or keras.KerasTensor(shape)
        x = x[0] if isinstance(x, list) and len(x) == 1 else x
        return not plan_calls(target, [piece.variable for piece in pieces], native, x, None)
    except Exception:  # what it is built for is not known; a call says what is wrong
        return False


def _native(pieces):
    """Pairs of ids, of registered layers and their generated variables; the layers' functions."""
    native, functions = set(), {}
    for piece in pieces:
        function = batched_call(piece.layer)
        if function is not None:
            native.add((id(piece.layer), id(piece.variable)))
            functions[id(piece.layer)] = function
    return native, functions
