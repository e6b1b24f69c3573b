"""Base class of models that take a condition beside their input."""

import types
from collections.abc import Generator
from typing import Any

import keras

from hyperkeras.models.hypernetworks import conditions


class ConditionedModel(keras.Model):
    """Base class of models called on a list `[condition, x]`: `Hypernetwork` and its subclasses.

    It checks the inputs, and lets arrays of conditions have one row in training. Subclasses have
    the attributes `body`, which reads the condition, `target`, which reads x, and `per_sample`.
    """

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `fit` of `keras.Model`, with two additions.

        An array of conditions may have one row (without `per_sample`). A warning is given before
        and after training where different conditions give the same weights: those of an array, or
        of the first batch of a `keras.utils.PyDataset`; after training alone, those of the first
        batch of a generator. Other datasets are not checked, because reading a batch of them may
        change what follows.
        """
        x = self._repeated(x)
        first_batch: list[Any] = []
        if isinstance(x, types.GeneratorType):
            x = _keep_first(x, first_batch)
        validation_data = kwargs.get("validation_data")
        if isinstance(validation_data, list | tuple) and validation_data:
            validation_inputs = self._repeated(validation_data[0])
            kwargs["validation_data"] = (validation_inputs, *validation_data[1:])
        self._warn_if_constant(x)
        history = super().fit(x, *args, **kwargs)
        self._warn_if_constant(first_batch[0] if first_batch else x, trained=True)
        return history

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `evaluate` of `keras.Model`; an array of conditions may have one row."""
        return super().evaluate(self._repeated(x), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As `predict` of `keras.Model`; an array of conditions may have one row."""
        return super().predict(self._repeated(x), *args, **kwargs)

    def _repeated(self, inputs: Any) -> Any:
        return inputs if self.per_sample else conditions.repeat_one_row(inputs)

    def _warn_if_constant(self, inputs: Any, trained: bool = False) -> None:
        if isinstance(inputs, keras.utils.PyDataset):
            inputs, _, _ = keras.utils.unpack_x_y_sample_weight(inputs[0])
        if isinstance(inputs, list | tuple) and len(inputs) == 2:
            if all(hasattr(part, "shape") for part in keras.tree.flatten(inputs[0])):
                conditions.warn_if_constant(self, inputs[0], trained)

    def _check_inputs(self, inputs: Any) -> tuple[Any, Any]:
        if not isinstance(inputs, list | tuple) or len(inputs) != 2:
            raise ValueError(
                f"Expected `inputs` of '{self.name}' to be a list [condition, x]. Received: "
                f"{type(inputs).__name__} of {len(inputs) if hasattr(inputs, '__len__') else 1}"
            )
        condition, x = inputs
        self._check_condition(conditions.shapes_of(condition))
        c = conditions.count_rows(condition)
        b = conditions.known_shape(keras.tree.flatten(x)[0])[0]
        allowed = (b,) if self.per_sample else (1, b)
        if None not in (c, b) and c not in allowed:
            rows = "one row for each of x" if self.per_sample else "one row, or as many as x"
            raise ValueError(
                f"Expected `condition` to have {rows} with per_sample={self.per_sample}. Received: "
                f"condition of shape {conditions.shapes_of(condition)}, x with {b} rows"
            )
        return condition, x

    def _check_condition(self, shapes: Any) -> None:
        known = getattr(self.body, "input_shape", None) if self.body.built else None
        conditions.check_shapes(shapes, known, self.name)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        _, x = self._check_inputs(inputs)
        return self.target.compute_output_spec(x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.target.compute_output_shape(input_shape[1])


def _keep_first(batches: Generator, kept: list[Any]) -> Generator:
    """The batches of a generator; the inputs of the first go to `kept`."""
    for batch in batches:
        if not kept:
            kept.append(keras.utils.unpack_x_y_sample_weight(batch)[0])
        yield batch
