"""What hyperkeras needs of Keras beyond its public names, each with the reason.

No other file of the library touches a name of Keras that begins with an underscore, so that a new
release of Keras is checked here.
"""

import functools
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

import keras
from keras import layers

# Modules that trace a model in order to write it in another format.
EXPORTERS = ("keras.src.export.", "tf2onnx.", "tensorflow.lite.", "tensorflow.python.saved_model.")


def sublayers(layer: layers.Layer) -> list[layers.Layer]:
    """A layer and all layers inside it, each before its own.

    The public `layers` of a model has neither those of subclassed layers nor those inside layers.
    """
    return layer._flatten_layers()


def is_called_elsewhere(layer: layers.Layer) -> bool:
    """Whether a layer was called on a symbolic input, and so is part of a Functional model.

    Keras shows this only by the layer's nodes.
    """
    return bool(getattr(layer, "_inbound_nodes", ()))


class _MaskReader(layers.Layer):
    """Returns the mask of its input: what JAX traces keeps masks where only a layer finds them."""

    def __init__(self):
        super().__init__(autocast=False)
        self.supports_masking = True

    def call(self, x, mask=None):
        return (mask,)

    def compute_mask(self, x, previous_mask):
        return None


class _MaskWriter:
    def compute_mask(self, x, previous_mask):
        return previous_mask


@functools.cache
def _mask_reader():
    return _MaskReader()


def mask_of(tensor: Any) -> Any:
    """The mask that Keras sends along with a tensor, or None.

    Keras passes it as an argument only to layers with one input.
    """
    mask = getattr(tensor, "_keras_mask", None)
    if mask is None and keras.backend.backend() == "jax" and keras.ops.is_tensor(tensor):
        (mask,) = _mask_reader()(tensor)
    return mask


def set_mask(tensor: Any, mask: Any) -> Any:
    """The tensor, with a mask that Keras sends along."""
    layers.Layer._set_mask_metadata(_MaskWriter(), None, tensor, mask)
    return tensor


def is_exporting() -> bool:
    """Whether the caller is traced for an export.

    Formats such as ONNX support neither compiled parts nor some operations, and Keras does not
    tell layers about an export, so this looks at the call stack.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(EXPORTERS):
            return True
        frame = frame.f_back
    return False


def refuse_spectral_normalization(layer: layers.Layer) -> None:
    """Raises a `ValueError` where a `SpectralNormalization` reads the `kernel` of `layer`.

    The kernel is computed, and `SpectralNormalization` would assign to it in training. Keras does
    not check this when the layer is built.
    """
    reader = sys._getframe(2).f_locals.get("self")
    if isinstance(reader, keras.layers.SpectralNormalization):
        raise ValueError(
            f"Layer '{layer.name}' can't stand in a SpectralNormalization, which assigns to the "
            "kernel, while this layer computes its kernel from other weights. Give the layer a "
            "constraint or regularizer of the kernel instead, or normalize its outputs."
        )


def calls(model: keras.Model) -> list[tuple[Any, list[Any], list[Any]]] | None:
    """The calls of a Functional model in order: (operation, input tensors, output tensors).

    None for other models. The public configuration has them too, but a model's class may replace
    it, as KerasHub's do.
    """
    nodes = getattr(model, "_nodes_by_depth", None)
    if nodes is None:
        return None
    return [
        (node.operation, node.input_tensors, node.output_tensors)
        for depth in sorted(nodes, reverse=True)
        for node in nodes[depth]
    ]


def state_variables(layer: layers.Layer) -> list[keras.Variable]:
    """The variables that a layer and those inside it update by themselves.

    Moving statistics are such variables. Frozen weights are not trainable either, but Keras keeps
    them apart.
    """
    by_id: dict[int, keras.Variable] = {}
    for part in sublayers(layer):
        by_id.update((id(v), v) for v in part._non_trainable_variables)
    return list(by_id.values())


def own_losses(layer: layers.Layer) -> list[Any]:
    """The losses that a layer itself has added since the outermost call began.

    The public `losses` computes the regularizers of all weights, too.
    """
    return layer._get_own_losses()


def forget_parameters(layer: layers.Layer, variables: Iterable[keras.Variable]) -> None:
    """Removes variables from `parameters()` and `state_dict()` of a PyTorch module.

    Keras lists all variables of a layer there. On the other backends this does nothing.
    """
    if keras.backend.backend() != "torch":
        return
    for part in sublayers(layer):
        part.torch_params.keys()  # made when first read, and not again
    for module in layer.modules():
        parameters = getattr(module, "_torch_params", {})
        for variable in variables:
            if variable.path in parameters and parameters[variable.path] is variable.value:
                parameters.pop(variable.path)
