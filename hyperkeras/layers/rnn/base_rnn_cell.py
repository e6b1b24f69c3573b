"""Base class of the recurrent cells: units, activation, bias, and how their weights are made."""

from collections.abc import Sequence
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import (
    Activation,
    Config,
    Constraint,
    Initializer,
    LayerArguments,
    Regularizer,
    Shape,
    Tensor,
)
from hyperkeras.ops.argument_validation import check_int


class RecurrentCell(keras.layers.Layer):
    """Base class of the recurrent cells: one step of a recurrent network.

    Subclasses set `state_names` and `state_size`, and bring `build` and `call`.

    Args:
        units: Integer, the numbers of the output.
        activation: Activation function (default tanh).
        use_bias: Boolean, whether the cell uses a bias vector (default `True`).
        kernel_initializer: Initializer of the weights of the input (default Glorot uniform).
        recurrent_initializer: Initializer of the weights of the last output (default orthogonal).
        bias_initializer: Initializer of the bias (default zeros).
        kernel_regularizer: Regularizer of the weights of the input (default none).
        recurrent_regularizer: Regularizer of the weights of the last output (default none).
        bias_regularizer: Regularizer of the bias (default none).
        kernel_constraint: Constraint of the weights of the input (default none).
        recurrent_constraint: Constraint of the weights of the last output (default none).
        bias_constraint: Constraint of the bias (default none).
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    state_names: Sequence[str]
    state_size: list[int]

    def __init__(
        self,
        units: int,
        activation: Activation = "tanh",
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        recurrent_initializer: Initializer = "orthogonal",
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        recurrent_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        kernel_constraint: Constraint = None,
        recurrent_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.units = check_int("units", units, 1)
        self.activation = keras.activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.recurrent_constraint = keras.constraints.get(recurrent_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.output_size = self.units

    @property
    def has_noise(self) -> bool:
        """Whether training draws noise at each step."""
        return False

    def add_part(
        self, name: str, shape: Sequence[int], part: str, initializer: Initializer = None
    ) -> Tensor:
        """A weight with the initializer, regularizer and constraint of `part`."""
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer or getattr(self, f"{part}_initializer"),
            regularizer=getattr(self, f"{part}_regularizer"),
            constraint=getattr(self, f"{part}_constraint"),
        )

    def input_dim(self, input_shape: Shape) -> int:
        """The number of features, which `build` has to know and each call to keep."""
        features = input_shape[-1] if len(input_shape) == 2 else None
        if features is None:
            raise ValueError(
                f"Expected the input of cell '{self.name}' to have the shape [batch, features] "
                f"with known features. Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: features})
        return features

    def checked(self, inputs: Tensor, states: Any) -> tuple[Tensor, list[Tensor]]:
        """What a step is given, in floats; the states' number and sizes have to be the cell's."""
        check_states("states", states, self)
        return in_float(inputs, self.compute_dtype), [
            in_float(state, self.compute_dtype) for state in states
        ]

    def get_initial_state(self, batch_size: int | None = None) -> list[Tensor]:
        return [ops.zeros((batch_size, n), dtype=self.compute_dtype) for n in self.state_size]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": keras.regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": keras.constraints.serialize(self.recurrent_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }


def in_float(x: Tensor, dtype: str) -> Tensor:
    """Integers and booleans in `dtype`; Keras itself has cast floats."""
    x = ops.convert_to_tensor(x)
    return x if keras.backend.is_float_dtype(ops.dtype(x)) else ops.cast(x, dtype)


def check_states(name: str, states: Any, cell: RecurrentCell) -> None:
    """Raises a `ValueError` where `states` are not the tensors `[b, n]` that the cell has."""
    given = list(states) if isinstance(states, list | tuple) else [states]
    shapes = [tuple(state.shape if hasattr(state, "shape") else np.shape(state)) for state in given]
    sizes = [shape[1] if len(shape) == 2 else -1 for shape in shapes]
    right = len(sizes) == len(cell.state_size) and all(
        size in (None, expected) for size, expected in zip(sizes, cell.state_size, strict=True)
    )
    if not right:
        names = zip(cell.state_names, cell.state_size, strict=True)
        wanted = [f"{state} [b, {n}]" for state, n in names]
        raise ValueError(
            f"Received an invalid value for `{name}`, expected a list of {len(wanted)} tensors: "
            f"{', '.join(wanted)}. Received: tensors of shapes {shapes}"
        )
