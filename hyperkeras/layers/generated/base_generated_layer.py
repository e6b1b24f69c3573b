"""What layers with generated kernels share."""

import keras
from keras import ops

from hyperkeras import shared_serialization
from hyperkeras.initializers import TileEmbedding
from hyperkeras.layers.generators.base_generator import Generator
from hyperkeras.ops.generated.kernels import join_tiles


class GeneratedLayer(keras.layers.Layer):
    """Base of `HyperConv2D` and `HyperDense`: embeddings, a bias, and the kernel made of them.

    Subclasses call `add_weights` in `build` and `regularized_kernel` in `call`, and say in
    `plain` which Keras layer does the same with a kernel of its own.
    """

    def __init__(
        self,
        generator,
        activation=None,
        use_bias=True,
        embedding_initializer=None,
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(generator, Generator):
            raise ValueError(
                "Received an invalid value for `generator`, expected a Generator such as "
                f"KernelGenerator. Received: generator={generator!r}"
            )
        self.generator = generator
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

    def add_weights(self, shape, tile):
        """Embeddings for a kernel whose last dims (in, out) are `shape`, made of dims `tile`."""
        if shape[0] % tile[0] or shape[1] % tile[1]:
            raise ValueError(
                f"Expected the kernel of layer '{self.name}' to be made of whole tiles of its "
                f"`generator`, whose kernel_shape={self.generator.kernel_shape} gives tiles of "
                f"{tile} (in, out). Give the layer another generator. Received: a kernel of "
                f"{tuple(shape)} (in, out)"
            )
        tiles = tuple(n // size for n, size in zip(shape, tile, strict=True))
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(*tiles, self.generator.embedding_dim),
            initializer=self.embedding_initializer,
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
    def kernel(self):
        """The generated kernel, made anew each time it is read."""
        kernel = self.assemble(self.generator(ops.convert_to_tensor(self.embeddings)))
        return kernel if self.kernel_constraint is None else self.kernel_constraint(kernel)

    def assemble(self, tiles):
        """Tiles `[tiles_in, tiles_out, f, f, N_in, N_out]` as the layer's kernel."""
        return join_tiles(tiles)

    def regularized_kernel(self):
        """The generated kernel, its penalty among the layer's losses."""
        kernel = self.kernel
        if self.kernel_regularizer is not None:
            # As for a kernel that is a weight, half precision must not round the penalty.
            self.add_loss(self.kernel_regularizer(ops.cast(kernel, self.variable_dtype)))
        return kernel

    def plain(self, **overrides):
        """An unbuilt Keras layer that does the same with a kernel of its own."""
        raise NotImplementedError

    def plain_weights(self):
        """The weights that make the layer of `plain` do the same now, as arrays."""
        weights = [self.kernel] if self.bias is None else [self.kernel, self.bias]
        return [ops.convert_to_numpy(weight) for weight in weights]

    def get_config(self):
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
    def from_config(cls, config):
        generator = shared_serialization.deserialize(config["generator"], config.get("name"))
        return cls(**{**config, "generator": generator})
