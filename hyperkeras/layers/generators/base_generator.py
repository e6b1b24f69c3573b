"""What every generator of kernels shares."""

from collections.abc import Sequence
from typing import Unpack

import keras

from hyperkeras.annotations import Config, LayerArguments, Shape
from hyperkeras.ops.argument_validation import check_int, check_size, invalid_value


class Generator(keras.layers.Layer):
    """Base class of the layers that turn embeddings into tiles of kernels.

    One generator serves many layers: pass it to each `HyperConv2D` or `HyperDense`, which own
    their embeddings and call it. Subclasses implement `build` and `call`.

    Args:
        kernel_shape: Four positive integers (f, f, N_in, N_out), the shape of a tile: height,
            width, input channels, output channels.
        embedding_dim: Integer N_z, the size of an embedding.

    Input shape:
        `[..., N_z]`.

    Output shape:
        `[..., f, f, N_in, N_out]`.
    """

    def __init__(
        self, kernel_shape: Sequence[int], embedding_dim: int, **kwargs: Unpack[LayerArguments]
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_shape = check_size(kernel_shape, "kernel_shape")
        if len(self.kernel_shape) != 4:
            expected = "four positive integers (height, width, in, out)"
            raise invalid_value("kernel_shape", expected, kernel_shape)
        self.embedding_dim = check_int("embedding_dim", embedding_dim, 1)

    def build(self, input_shape: Shape) -> None:
        if input_shape[-1] != self.embedding_dim:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to be embeddings "
                f"[..., {self.embedding_dim}]. Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=1, axes={-1: self.embedding_dim})

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], *self.kernel_shape)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "kernel_shape": self.kernel_shape,
            "embedding_dim": self.embedding_dim,
        }
