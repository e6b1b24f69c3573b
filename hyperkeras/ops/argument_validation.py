"""Argument validation: one grammar of errors for the whole library.

Each check returns the argument in its final form, or raises a `ValueError` that reads "Received an
invalid value for `name`, expected … Received: name=…".
"""

import math
import numbers
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import keras


def invalid_value(name: str, expected: str, value: Any) -> ValueError:
    """The error to raise for an argument.

    For instance `raise invalid_value("rate", "a number below 1", rate)`.
    """
    return ValueError(
        f"Received an invalid value for `{name}`, expected {expected}. Received: {name}={value!r}"
    )


def check_int(name: str, value: Any, minimum: int) -> int:
    """`value` as an integer of at least `minimum`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise invalid_value(name, f"an integer of at least {minimum}", value)
    return number


def check_int_or_none(name: str, value: Any, minimum: int) -> int | None:
    """`value` as an integer of at least `minimum`, or None."""
    return None if value is None else check_int(name, value, minimum)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_number(name: str, value: Any, minimum: float) -> float:
    """`value` as a float of at least `minimum`."""
    if not _is_number(value) or not value >= minimum:
        raise invalid_value(name, f"a number of at least {minimum}", value)
    return float(value)


def check_positive(name: str, value: Any) -> float:
    """`value` as a finite float above 0."""
    if not _is_number(value) or not 0 < value < math.inf:
        raise invalid_value(name, "a finite number above 0", value)
    return float(value)


def check_rate(name: str, value: Any) -> float:
    """`value` as a float in [0, 1): a fraction that dropout leaves out."""
    if not _is_number(value) or not 0 <= value < 1:
        raise invalid_value(name, "a number of at least 0 and below 1", value)
    return float(value)


def check_finite(name: str, value: Any) -> float:
    """`value` as a finite float."""
    if not _is_number(value) or not math.isfinite(value):
        raise invalid_value(name, "a finite number", value)
    return float(value)


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """`value`, which has to be one of `choices`."""
    choices = tuple(choices)
    # Not `in`: a value of another type, such as an array, may not compare to a truth value.
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise invalid_value(name, "one of " + ", ".join(map(repr, choices)), value)
    return value


def check_layer(
    name: str, value: Any, kind: Any = keras.layers.Layer, expected: str = "a Keras layer or model"
) -> Any:
    """`value`, which has to be of the class `kind`."""
    if not isinstance(value, kind):
        raise invalid_value(name, expected, value)
    return value


def check_size(size: Any, name: str = "size") -> tuple[int, ...]:
    """`size` as a tuple of positive integers: the dims that index tuples run over."""
    try:
        dims = tuple(operator.index(s) for s in size)
    except TypeError:
        dims = ()
    if not dims or any(not 1 <= s < 2**31 for s in dims):
        raise invalid_value(name, "a sequence of one or more positive integers below 2**31", size)
    return dims


def check_columns(name: str, shape: Sequence[int | None], size: Sequence[int]) -> None:
    """The last axis of `shape` must have one column for each dim of `size`."""
    if len(shape) < 1 or shape[-1] != len(size):
        raise ValueError(
            f"Expected `{name}` to have one column for each dim of `size`, that is a shape "
            f"[..., {len(size)}] for size={size}. Received: {name} of shape {tuple(shape)}"
        )


def concrete_or_none(value: Any) -> Any:
    """`value` as a NumPy array, or None while a function is traced and values are not known."""
    try:
        return keras.ops.convert_to_numpy(value)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None  # each backend has its own error for a tensor without a value
