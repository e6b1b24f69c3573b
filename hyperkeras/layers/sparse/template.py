"""Templates: index tuples of which some columns are fixed and the others are learned."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.keras_internals import is_exporting
from hyperkeras.ops.argument_validation import check_int, invalid_value


class Template:
    """Index tuples of which some columns are fixed and the others are learned.

    Args:
        rows: Integers of shape `[k, r]`, one row for each continuous tuple. The entries in the
            learned columns are ignored.
        learned_columns: Integer, or sequence of c different integers: the columns that a source
            gives.
    """

    def __init__(self, rows: Any, learned_columns: int | Sequence[int]) -> None:
        self.rows = np.asarray(rows)
        if self.rows.ndim != 2 or not np.issubdtype(self.rows.dtype, np.integer):
            raise ValueError(
                "Expected `template` to be integers of shape [k, r]. Received: template of shape "
                f"{self.rows.shape} and dtype {self.rows.dtype}"
            )
        self.learned_columns = _check_columns(learned_columns)

    def check(self, target_shape: Sequence[int], full_size: Sequence[int]) -> None:
        """Raises a `ValueError` where the rows don't fit a weight tensor of dims `full_size`."""
        r = len(full_size)
        if self.rows.shape[1] != r or max(self.learned_columns) >= r:
            raise ValueError(
                f"Expected `template` to have {r} columns, the output's {tuple(target_shape)} and "
                f"the input's {tuple(full_size[len(target_shape) :])}, and `learned_columns` to "
                f"be among them. Received: template of shape {self.rows.shape}, "
                f"learned_columns={self.learned_columns}"
            )
        fixed = [j for j in range(r) if j not in self.learned_columns]
        outside = (self.rows < 0) | (self.rows >= np.array(full_size))
        wrong = outside[:, fixed].any(axis=1)
        if wrong.any():
            raise ValueError(
                "Expected the fixed columns of `template` to lie inside the tensor of shape "
                f"{tuple(full_size)}. Received: {self.rows[wrong][0]}"
            )

    def fill(self, tuples: Tensor, first: int, end: int) -> Tensor:
        """Learned columns `[b, n, c]` of the tuples `first` to `end`, made whole: `[b, n, r]`."""
        rows = self.rows[first:end]  # each tuple's row stands once for each of its samples
        rows = np.repeat(rows, tuples.shape[1] // len(rows), axis=0)
        return self.insert(tuples, ops.cast(rows, "int32"))

    def insert(self, learned: Tensor, fixed: Tensor) -> Tensor:
        """`fixed` [..., r] with `learned` [..., c] in the learned columns."""
        columns = []
        for r in range(self.rows.shape[1]):
            if r in self.learned_columns:
                columns.append(learned[..., self.learned_columns.index(r)])
            else:
                columns.append(ops.broadcast_to(fixed[..., r], ops.shape(learned[..., 0])))
        return ops.stack(columns, axis=-1)

    def place(self, outputs: Tensor, first: int, end: int, target_shape: Sequence[int]) -> Tensor:
        """Sums at its output what each tuple from `first` to `end` reads.

        Args:
            outputs: Tensor of shape `[b, k, *carried dims]`.
            first: Integer, the first tuple.
            end: Integer, the tuple behind the last one.
            target_shape: Sequence of the output's dims, which are the first columns.

        Returns:
            Tensor of shape `[b, *target_shape, *carried dims]`.
        """
        shape = (-1, *target_shape, *outputs.shape[2:])
        cells = np.ravel_multi_index(
            tuple(self.rows[first:end, : len(target_shape)].T), tuple(target_shape)
        )
        num_cells = math.prod(target_shape)
        if not np.array_equal(cells, np.arange(num_cells)):  # else each cell has its own tuple
            add = _add_by_product if is_exporting() else _add_by_segments
            outputs = add(outputs, cells, num_cells)
        return ops.reshape(outputs, shape)


def make_template(template: Any, learned_columns: Any) -> Template | None:
    """The `Template` of two arguments that have to be given together, or None for neither."""
    if (template is None) != (learned_columns is None):
        raise ValueError(
            "Expected `template` and `learned_columns` to be given together. Received: "
            f"template={template}, learned_columns={learned_columns}"
        )
    return None if template is None else Template(template, learned_columns)


def _add_by_segments(outputs: Tensor, cells: np.ndarray, num_cells: int) -> Tensor:
    summed = ops.segment_sum(ops.swapaxes(outputs, 0, 1), cells, num_cells)
    return ops.swapaxes(summed, 0, 1)


def _add_by_product(outputs: Tensor, cells: np.ndarray, num_cells: int) -> Tensor:
    """As by segments, which an export fixes to the batch that it traces."""
    table = ops.cast(np.arange(num_cells)[:, None] == cells, outputs.dtype)  # [cells, k]
    k, dims = outputs.shape[1], [int(s) for s in outputs.shape[2:]]
    added = ops.matmul(table, ops.reshape(outputs, (-1, k, math.prod(dims))))
    return ops.reshape(added, (-1, num_cells, *dims))


def _check_columns(learned_columns: Any) -> tuple[int, ...]:
    given = learned_columns if np.iterable(learned_columns) else (learned_columns,)
    columns = tuple(check_int("learned_columns", j, 0) for j in given)
    if not columns or len(set(columns)) < len(columns):
        raise invalid_value("learned_columns", "one or more different columns", learned_columns)
    return columns
