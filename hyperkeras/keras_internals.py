"""What hyperkeras needs of Keras beyond its public names, each with the reason.

No other file of the library touches a name of Keras that begins with an underscore, so that a new
release of Keras is checked here.
"""

import sys

import keras

# Modules that trace a model in order to write it in another format.
EXPORTERS = ("keras.src.export.", "tf2onnx.", "tensorflow.lite.", "tensorflow.python.saved_model.")


def sublayers(layer):
    """A layer and all layers inside it, each before its own: the public `layers` of a model has
    neither those of subclassed layers nor those inside layers."""
    return layer._flatten_layers()


def is_called_elsewhere(layer):
    """Whether a layer was called on a symbolic input, and so stands in a Functional model's graph:
    Keras tells it by its nodes alone."""
    return bool(getattr(layer, "_inbound_nodes", ()))


def mask_of(tensor):
    """The mask that Keras sends along with a tensor, or None: only layers of one input are given
    it as an argument."""
    return getattr(tensor, "_keras_mask", None)


def is_exporting():
    """Whether the caller is traced for an export. Formats such as ONNX have no place for compiled
    parts and some operations, and Keras tells layers nothing, so that the call stack is asked."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(EXPORTERS):
            return True
        frame = frame.f_back
    return False


def refuse_spectral_normalization(layer):
    """Raises a `ValueError` where a `SpectralNormalization` reads the `kernel` of `layer`, which is
    computed: it would assign to it in training, which Keras doesn't check when it is built."""
    reader = sys._getframe(2).f_locals.get("self")
    if isinstance(reader, keras.layers.SpectralNormalization):
        raise ValueError(
            f"Layer '{layer.name}' can't stand in a SpectralNormalization, which assigns to the "
            "kernel, while this layer computes its kernel from other weights. Give the layer a "
            "constraint or regularizer of the kernel instead, or normalize its outputs."
        )


def state_variables(layer):
    """The variables that a layer and those inside it were built to update by themselves, such as
    moving statistics: frozen weights are not trainable either, but Keras keeps them apart."""
    found = {}
    for part in sublayers(layer):
        found.update((id(v), v) for v in part._non_trainable_variables)
    return list(found.values())


def forget_parameters(layer, variables):
    """Takes variables from what a PyTorch module gives as `parameters()` and `state_dict()`: Keras
    lists all variables of a layer there. Does nothing on the other backends."""
    if keras.backend.backend() != "torch":
        return
    paths = {variable.path: variable for variable in variables}
    for part in sublayers(layer):
        for path, variable in paths.items():
            if part.torch_params.get(path) is variable.value:
                part.torch_params.pop(path)
