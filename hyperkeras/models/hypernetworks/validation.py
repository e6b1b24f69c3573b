"""What a hypernetwork refuses, and why."""

import gc
import weakref

import keras
from keras import ops

from hyperkeras.keras_internals import is_called_elsewhere

# {target: reference to its hypernetwork}
_owners: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def check_network(name, value):
    if not isinstance(value, keras.layers.Layer):
        raise ValueError(
            f"Received an invalid value for `{name}`, expected a Keras layer or model. "
            f"Received: {name}={value!r}"
        )


def adopt(target, hypernetwork):
    """One target serves one hypernetwork that is alive."""
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


def check_used_once(target):
    """A model that also calls the target would train weights that are generated here."""
    if is_called_elsewhere(target):
        raise ValueError(
            "Expected a `target` that only its hypernetwork calls: trained elsewhere, its weights "
            "would not reach the ones generated here. Make a copy by keras.models.clone_model, "
            f"and build by `build(input_shape)`. Received: target '{target.name}', which was "
            "called on the inputs of another model"
        )


def fits(shape, wanted):
    """Whether two shapes agree wherever both are known."""
    pairs = zip(shape, wanted, strict=True) if len(shape) == len(wanted) else [(0, 1)]
    return all(a == b or None in (a, b) for a, b in pairs)


def rows_differ(condition):
    """Whether not all rows are equal, as a boolean tensor; an error where it is known to be so."""
    if condition.shape[0] == 1:
        return None
    differ = ops.any(ops.not_equal(condition, condition[:1]))
    if hasattr(differ, "numpy") and bool(differ):
        raise ValueError(
            "Expected one `condition` for the batch, or equal rows, with per_sample=False. "
            f"Received: condition of shape {tuple(condition.shape)} with rows that differ"
        )
    return differ
