"""Argument validation for `Hypernetwork`: networks that it can use."""

import gc
import weakref

import keras

from hyperkeras.keras_internals import is_called_elsewhere
from hyperkeras.ops.argument_validation import check_layer

# {target: reference to its hypernetwork}
_owners: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def check_networks(target: keras.layers.Layer, body: keras.layers.Layer) -> None:
    """Raises an error for networks that can't be a target and a body."""
    check_layer("target", target)
    check_layer("body", body)
    if not target.built or not target.weights:
        raise ValueError(
            "Received an invalid value for `target`, expected a built model with weights; "
            "call its `build(input_shape)`, or begin it with keras.Input. "
            f"Received: target={target!r}, built={target.built}"
        )
    if {id(w) for w in target.weights} & {id(w) for w in body.weights}:
        raise ValueError(
            "Expected `target` and `body` to share no weights. Received: target "
            f"'{target.name}', body '{body.name}'"
        )


def adopt(target: keras.layers.Layer, hypernetwork: keras.Model) -> None:
    """Raises an error where another hypernetwork that is alive has the target."""
    if target in _owners and _owners[target]() is not None:
        gc.collect()
        owner = _owners[target]()
        if owner is not None:
            raise ValueError(
                "Expected a `target` that serves no other hypernetwork; make a copy of it by "
                f"keras.models.clone_model. Received: target '{target.name}', which serves "
                f"'{owner.name}'"
            )
    _owners[target] = weakref.ref(hypernetwork)


def check_used_once(target: keras.layers.Layer) -> None:
    """Raises an error for a target that another model calls, too.

    That model would train weights that are generated here.
    """
    if is_called_elsewhere(target):
        raise ValueError(
            "Expected a `target` that only its hypernetwork calls: trained elsewhere, its weights "
            "would not reach the ones generated here. Make a copy by keras.models.clone_model, "
            f"and build by `build(input_shape)`. Received: target '{target.name}', which was "
            "called on the inputs of another model"
        )
