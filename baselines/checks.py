"""Checks of arguments that the baselines share."""

import keras


def check_int(name, value, minimum=1):
    """`value` as an int of at least `minimum`; else an error that names it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(
            f"Received an invalid value for `{name}`, expected an integer of at least {minimum}. "
            f"Received: {name}={value!r}"
        )
    return value


def check_positive(name, value):
    """`value` as a float above 0; else an error that names it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(
            f"Received an invalid value for `{name}`, expected a number above 0. "
            f"Received: {name}={value!r}"
        )
    return float(value)


def check_network(name, value):
    """`value`, a Keras layer or model; else an error that names it."""
    if not isinstance(value, keras.layers.Layer):
        raise ValueError(
            f"Received an invalid value for `{name}`, expected a Keras layer or model. "
            f"Received: {name}={value!r}"
        )
    return value


def check_images(layer, input_shape):
    """`input_shape` as a tuple, that of images of known size; else an error that names `layer`."""
    shape = tuple(input_shape)
    if len(shape) != 4 or None in shape[1:]:
        raise ValueError(
            f"Expected the inputs of '{layer.name}' to be images [b, height, width, channels] of "
            f"known size. Received: input_shape={shape}"
        )
    return shape
