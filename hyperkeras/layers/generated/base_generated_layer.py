"""Base class of the layers whose kernels are generated."""

from collections.abc import Sequence
from typing import Any, Self, Unpack

import keras
import numpy as np
from keras import ops

from hyperkeras import shared_serialization
from hyperkeras.annotations import (
    Activation,
    Config,
    Constraint,
    Initializer,
    LayerArguments,
    Regularizer,
    Tensor,
)
from hyperkeras.initializers import TileEmbedding
from hyperkeras.keras_internals import refuse_spectral_normalization
from hyperkeras.layers.generated.kernel_penalty import kernel_penalty
from hyperkeras.layers.generators.base_generator import Generator
from hyperkeras.ops.argument_validation import check_layer
from hyperkeras.ops.generated.kernels import join_tiles


class GeneratedLayer(keras.layers.Layer):
    """Base class of `HyperConv2D` and `HyperDense`: embeddings, a bias, and a generated kernel.

    Subclasses call `add_weights` in `build` and `compute_kernel` in `call`. Their `plain` returns
    the Keras layer that does the same with a kernel of its own.
    """

    def __init__(
        self,
        generator: Generator,
        activation: Activation = None,
        use_bias: bool = True,
        embedding_initializer: Initializer = None,
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        kernel_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.generator = check_layer(
            "generator", generator, Generator, "a Generator such as KernelGenerator"
        )
        self.activation = keras.activations.get(activation)
        self.use_bias = bool(use_bias)
        self.embedding_initializer = keras.initializers.get(
            embedding_initializer or TileEmbedding()
        )
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)

    def add_weights(self, shape: tuple[int, int], tile: Sequence[int]) -> None:
        """Adds the embeddings and the bias.

        Args:
            shape: Pair of integers, the kernel's last dims (in, out).
            tile: Pair of integers, how much of them a tile of the generator covers.
        """
        if shape[0] % tile[0] or shape[1] % tile[1]:
            raise ValueError(
                f"Expected the kernel of layer '{self.name}' to be made of whole tiles of its "
                f"`generator`, whose kernel_shape={self.generator.kernel_shape} gives tiles of "
                f"{tuple(tile)} (in, out). Give the layer another generator. Received: a kernel "
                f"of {tuple(shape)} (in, out)"
            )
        tiles = tuple(n // size for n, size in zip(shape, tile, strict=True))
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(*tiles, self.generator.embedding_dim),
            initializer=self.embedding_initializer,
            regularizer=kernel_penalty(self),
            autocast=False,  # the generator casts them to the dtype that it computes in
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(shape[1],),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        if not self.generator.built:
            self.generator.build(self.embeddings.shape)

    @property
    def kernel(self) -> Tensor:
        """The generated kernel, made anew each time it is read."""
        refuse_spectral_normalization(self)
        return self.kernel_of(ops.convert_to_tensor(self.embeddings))

    def kernel_of(self, embeddings: Tensor) -> Tensor:
        """The kernel that the generator makes of `embeddings` `[tiles_in, tiles_out, N_z]`."""
        kernel = self.assemble(self.generator(embeddings))
        return kernel if self.kernel_constraint is None else self.kernel_constraint(kernel)

    def assemble(self, tiles: Tensor) -> Tensor:
        """Joins tiles `[tiles_in, tiles_out, f, f, N_in, N_out]` to the layer's kernel."""
        return join_tiles(tiles)

    def compute_kernel(self) -> Tensor:
        """The generated kernel in the layer's compute dtype, which the generator's may not be."""
        return ops.cast(self.kernel, self.compute_dtype)

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        """Raises a `ValueError`: the kernel is generated, so that there is none to add to."""
        raise ValueError(
            f"Layer '{self.name}' can't enable LoRA, because its kernel is generated. Train its "
            "embeddings alone instead, with `layer.generator.trainable = False`, or replace it by "
            "a plain layer with `hyperkeras.models.freeze` first."
        )

    def plain(self, **overrides: Any) -> keras.layers.Layer:
        """An unbuilt Keras layer that does the same with a kernel of its own."""
        raise NotImplementedError

    def plain_weights(self) -> list[np.ndarray]:
        """The weights with which the layer of `plain` gives the same outputs now, as arrays."""
        weights = [self.kernel] if self.bias is None else [self.kernel, self.bias]
        return [ops.convert_to_numpy(weight) for weight in weights]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "generator": shared_serialization.serialize(self.generator),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "embedding_initializer": keras.initializers.serialize(self.embedding_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        generator = shared_serialization.deserialize(config["generator"], config.get("name"))
        return cls(**{**config, "generator": generator})
