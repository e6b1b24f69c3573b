"""Argument validation for `SparseHyperlayer`."""

from collections.abc import Sequence
from typing import Any

from hyperkeras.annotations import Shape
from hyperkeras.layers.sparse.template import Template
from hyperkeras.ops.argument_validation import check_int, check_int_or_none, invalid_value


def check_region(region: Any) -> int | tuple[int, ...] | None:
    """`region` as an integer, a tuple of one integer for each learned column, or None."""
    if isinstance(region, (tuple, list)):
        if not region:
            raise invalid_value("region", "an integer, or one for each learned column", region)
        return tuple(check_int("region", w, 1) for w in region)
    return check_int_or_none("region", region, 1)


def check_tuples(
    shapes: Sequence[Shape], num_columns: int, chunk_size: int | None, template: Template | None
) -> None:
    """Checks the shapes of what a source gives, against its layer's chunks and template."""
    c, given = num_columns, [tuple(shape) for shape in shapes]
    k = given[0][1] if len(given[0]) == 3 else None
    if k is None or [s[1:] for s in given] != [(k, c), (k, c), (k,)]:
        raise ValueError(
            f"Expected `source` to give means [b, k, {c}], sigmas [b, k, {c}] and values "
            f"[b, k], with k known. Received: {given}"
        )
    if chunk_size is not None and k % chunk_size:
        raise ValueError(
            "Expected `chunk_size` to divide the source's number of tuples. "
            f"Received: chunk_size={chunk_size} for {k} tuples"
        )
    if template is not None and len(template.rows) != k:
        raise ValueError(
            f"Expected `template` to have one row for each of the source's {k} tuples. "
            f"Received: template of shape {template.rows.shape}"
        )


def check_range(tuple_range: Any, num_tuples: int, chunk_size: int | None) -> tuple[int, int]:
    """`tuple_range` as the numbers of its first tuple and of the one behind its last."""
    try:
        first, end = (int(n) for n in tuple_range)
    except (TypeError, ValueError):
        first = end = -1
    chunk = chunk_size or num_tuples
    if not 0 <= first < end <= num_tuples or first % chunk or end % chunk:
        raise ValueError(
            f"Expected `tuple_range` to be a pair (first, end) of multiples of the chunk size "
            f"{chunk}, with 0 <= first < end <= {num_tuples}. Received: tuple_range={tuple_range}"
        )
    return first, end
