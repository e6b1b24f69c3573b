"""Checks of arguments that the operations and the layers share."""

import math
import numbers
import operator


def check_int(name, value, minimum):
    """`value` as an int of at least `minimum`; else an error that names it."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise ValueError(
            f"Received an invalid value for `{name}`, expected an integer of at least {minimum}. "
            f"Received: {name}={value!r}"
        )
    return number


def check_number(name, value, minimum):
    """`value` as a float of at least `minimum`; else an error that names it."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not value >= minimum:
        raise ValueError(
            f"Received an invalid value for `{name}`, expected a number of at least {minimum}. "
            f"Received: {name}={value!r}"
        )
    return float(value)


def check_rate(name, value):
    """`value` as a float in [0, 1): a fraction that dropout leaves out."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise ValueError(
            f"Received an invalid value for `{name}`, expected a number of at least 0 and below 1. "
            f"Received: {name}={value!r}"
        )
    return float(value)


def check_finite(name, value):
    """`value` as a finite float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(
            f"Received an invalid value for `{name}`, expected a finite number. "
            f"Received: {name}={value!r}"
        )
    return float(value)


def check_size(size, name="size"):
    """`size` as a tuple of positive ints: the dims that index tuples run over."""
    try:
        dims = tuple(operator.index(s) for s in size)
    except TypeError:
        dims = ()
    if not dims or any(not 1 <= s < 2**31 for s in dims):
        raise ValueError(
            f"Received an invalid value for `{name}`, expected a sequence of one or more positive "
            f"integers below 2**31. Received: {name}={size!r}"
        )
    return dims


def check_columns(name, shape, size):
    """The last axis of `shape` must have one column for each dim of `size`."""
    if len(shape) < 1 or shape[-1] != len(size):
        raise ValueError(
            f"Expected `{name}` to have one column for each dim of `size`, that is a shape "
            f"[..., {len(size)}] for size={size}. Received: {name} of shape {tuple(shape)}"
        )
