"""Conditions: their shapes, their rows, and whether the generated weights depend on them.

A condition is a tensor, or a dictionary or list of tensors, as the body takes it.
"""

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Shape, Tensor
from hyperkeras.ops.argument_validation import concrete_or_none

MOST_ROWS = 8  # that are compared to see whether weights depend on the condition


def is_shape(value: Any) -> bool:
    """Whether `value` is the shape of one tensor, and not a list of shapes."""
    return isinstance(value, list | tuple) and all(d is None or isinstance(d, int) for d in value)


def shapes_of(condition: Any) -> Any:
    """The condition's shapes, nested as it is."""
    return keras.tree.map_structure(known_shape, condition)


def known_shape(tensor: Tensor) -> tuple[int | None, ...]:
    """The shape of a tensor, None for dims that are symbols or, in a trace, tensors."""
    return tuple(d if isinstance(d, int) else None for d in tensor.shape)


def map_shapes(function: Any, shapes: Any) -> Any:
    """`function` of each shape, nested as the shapes are."""
    if is_shape(shapes):
        return function(tuple(shapes))
    if isinstance(shapes, dict):
        return {key: map_shapes(function, value) for key, value in shapes.items()}
    return [map_shapes(function, value) for value in shapes]


def flat_shapes(shapes: Any) -> list[tuple[int | None, ...]]:
    """All shapes in a row, those of a dictionary in the order of its keys."""
    flat: list[tuple[int | None, ...]] = []
    if is_shape(shapes):
        return [tuple(shapes)]
    parts = [shapes[key] for key in sorted(shapes)] if isinstance(shapes, dict) else shapes
    for part in parts:
        flat.extend(flat_shapes(part))
    return flat


def fits(shape: Shape, wanted: Shape) -> bool:
    """Whether two shapes agree wherever both are known."""
    pairs = zip(shape, wanted, strict=True) if len(shape) == len(wanted) else [(0, 1)]
    return all(a == b or None in (a, b) for a, b in pairs)


def check_shapes(shapes: Any, known: Any, name: str) -> None:
    """Raises an error where the shapes of a condition are not those that the body takes.

    Args:
        shapes: The condition's, nested as it is.
        known: The body's `input_shape`, or None where it takes any or says nothing.
        name: The name of the hypernetwork, for the error.
    """
    if known is None:
        return
    given, wanted = flat_shapes(shapes), flat_shapes(known)
    if len(given) != len(wanted) or not all(
        fits(a[1:], b[1:]) for a, b in zip(given, wanted, strict=True)
    ):
        known = map_shapes(lambda shape: (None, *shape[1:]), known)
        raise ValueError(
            f"Expected `condition` of shape {known}, as the body of '{name}' was built "
            f"for. Received: condition of shape {shapes}"
        )


def count_rows(condition: Any) -> int | None:
    """How many rows all parts of the condition have, None where it isn't known."""
    counts = {known_shape(part)[0] for part in keras.tree.flatten(condition)} - {None}
    if len(counts) > 1:
        raise ValueError(
            "Expected the parts of `condition` to have as many rows. Received: condition of shape "
            f"{shapes_of(condition)}"
        )
    return counts.pop() if counts else None


def first_row(condition: Any) -> Any:
    """The first row of each part of a condition."""
    return keras.tree.map_structure(lambda part: part[:1], condition)


def rows_differ(condition: Any) -> Tensor | None:
    """Whether not all rows are equal, as a boolean tensor; an error where it is known to be so.

    Returns:
        None for a condition of one row.
    """
    parts = [part for part in keras.tree.flatten(condition) if known_shape(part)[0] != 1]
    if not parts:
        return None
    # A sum, and not `any`, which PyTorch's exporter to ONNX can't write.
    unequal = [ops.cast(ops.not_equal(part, part[:1]), "int32") for part in parts]
    differ = ops.greater(sum(ops.sum(part) for part in unequal), 0)
    value = concrete_or_none(differ)
    if value is not None and value:
        raise ValueError(
            "Expected one `condition` for the batch, or equal rows, with per_sample=False. "
            f"Received: condition of shape {shapes_of(condition)} with rows that differ"
        )
    return differ


def repeat_one_row(inputs: Any) -> Any:
    """`inputs`, a list [condition, x] of arrays, with one row of condition for each row of x.

    Keras's `fit` and `predict` cut all of a model's inputs into batches alike, and so want as many
    rows of each. Anything else than such a list is returned as it is.
    """
    if not isinstance(inputs, list | tuple) or len(inputs) != 2:
        return inputs
    parts = [keras.tree.flatten(part) for part in inputs]
    if not all(getattr(a, "shape", None) for part in parts for a in part):
        return inputs
    rows = {a.shape[0] for a in parts[1]}
    if {a.shape[0] for a in parts[0]} != {1} or len(rows) != 1 or rows == {1}:
        return inputs
    (count,) = rows
    repeat = lambda a: np.repeat(ops.convert_to_numpy(a), count, axis=0)  # noqa: E731
    return [keras.tree.map_structure(repeat, inputs[0]), inputs[1]]


def warn_if_constant(hypernetwork: Any, condition: Any, trained: bool = False) -> None:
    """Warns where different conditions give the same weights.

    Args:
        hypernetwork: The `Hypernetwork`.
        condition: Nested arrays `[c, ...]`, of which a few different rows are tried.
        trained: Whether the head was trained. One that starts at zero gives all conditions the
            same weights at first, and learns.
    """
    parts = [ops.convert_to_numpy(part) for part in keras.tree.flatten(condition)]
    if not hypernetwork.body.built or len({len(part) for part in parts}) != 1:
        return
    flat = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
    if len(flat) > 1024:  # a sample of rows will do
        flat = flat[:: len(flat) // 1024]
        parts = [part[:: len(part) // 1024] for part in parts]
    _, index = np.unique(flat, axis=0, return_index=True)
    index = np.sort(index)[:MOST_ROWS]
    if len(index) < 2:
        return
    chosen = keras.tree.pack_sequence_as(condition, [part[index] for part in parts])
    features = hypernetwork.body(keras.tree.map_structure(ops.convert_to_tensor, chosen))
    if _all_equal(features):
        warnings.warn(
            f"The weights that '{hypernetwork.name}' generates do not depend on the condition: its "
            f"body '{hypernetwork.body.name}' gives {len(index)} different conditions the same "
            "features. Its units may be dead (try another activation, a smaller learning rate, "
            "or conditions of a smaller scale), or its weights constant.",
            stacklevel=4,
        )
    elif trained and hypernetwork.built and _all_equal(hypernetwork.generate_flat(chosen)):
        warnings.warn(
            f"The weights that '{hypernetwork.name}' generates do not depend on the condition: its "
            f"body tells {len(index)} conditions apart, but its head gives them the same weights. "
            "Check that the head is trained.",
            stacklevel=4,
        )


def _all_equal(rows):
    rows = ops.convert_to_numpy(ops.cast(rows, "float32"))
    spread = np.max(np.abs(rows - rows[:1]), initial=0.0)
    return bool(spread <= 1e-7 * np.max(np.abs(rows), initial=0.0))
