"""The two-layer linear generator of kernels."""

from collections.abc import Sequence
from typing import Unpack

import keras
from keras import ops

from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.initializers import OrthogonalMap
from hyperkeras.layers.generators.base_generator import Generator
from hyperkeras.ops.argument_validation import check_int
from hyperkeras.ops.generated.kernels import generate_kernel


@keras.saving.register_keras_serializable(package="hyperkeras")
class KernelGenerator(Generator):
    r"""Generator that turns embeddings into kernels by two linear layers, shared by all kernels.

    .. math:: a_i = W_i\, z + B_i, \qquad K_i = \langle W_{\mathrm{out}}, a_i \rangle
        + B_{\mathrm{out}}, \qquad i = 1, \dots, N_{\mathrm{in}}

    with a_i ∈ R^d for each input channel i, and K_i of shape f × f × N_out. The weights
    `input_kernel [N_z, N_in, d]` holds W, `input_bias [N_in, d]` B, `output_kernel
    [d, f, f, N_out]` W_out, `output_bias [f, f, N_out]` B_out. They start as orthogonal maps,
    biases at zero, so that a tile has the variance ‖z‖² / (N_z f² N_in) for every z.

    Args:
        kernel_shape: Four positive integers (f, f, N_in, N_out), the shape of a tile.
        embedding_dim: Integer N_z, the size of an embedding.
        hidden_dim: Integer d, the size of the hidden vectors a_i (default: N_z).

    Input shape:
        `[..., N_z]`.

    Output shape:
        `[..., f, f, N_in, N_out]`.

    Parameters: d (N_z + 1) N_in + f² N_out (d + 1).

    A generator that many layers share is one in a `.keras` file, too, where its weights are
    stored once. Copies that leave no file (`clone_model`, `from_config`, `model_from_json`) tell
    generators apart by their configuration, name included, so let generators of one model have
    different names, as they have by default. Layers copied one by one join the newest copy of
    their generator that serves no layer of their name yet.

    Example:

    ```python
    generator = hyperkeras.layers.KernelGenerator((3, 3, 16, 16), embedding_dim=64)
    model = keras.Sequential([
        keras.layers.Conv2D(16, 3, padding="same"),
        hyperkeras.layers.HyperConv2D(16, 3, generator, activation="relu"),  # one tile
        hyperkeras.layers.HyperConv2D(32, 3, generator, activation="relu"),  # two
    ])
    ```

    References:
        - [Ha, Dai & Le, 2016](https://arxiv.org/abs/1609.09106), section 3.1
    """

    def __init__(
        self,
        kernel_shape: Sequence[int],
        embedding_dim: int,
        hidden_dim: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(kernel_shape, embedding_dim, **kwargs)
        hidden_dim = self.embedding_dim if hidden_dim is None else hidden_dim
        self.hidden_dim = check_int("hidden_dim", hidden_dim, 1)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        height, width, n_in, n_out = self.kernel_shape
        fan_in = height * width * n_in
        self.input_kernel = self.add_weight(
            name="input_kernel",
            shape=(self.embedding_dim, n_in, self.hidden_dim),
            initializer=OrthogonalMap(),
        )
        self.input_bias = self.add_weight(
            name="input_bias", shape=(n_in, self.hidden_dim), initializer="zeros"
        )
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(self.hidden_dim, height, width, n_out),
            initializer=OrthogonalMap(fan_in**-0.5),
        )
        self.output_bias = self.add_weight(
            name="output_bias", shape=(height, width, n_out), initializer="zeros"
        )

    def call(self, inputs: Tensor) -> Tensor:
        weights = (self.input_kernel, self.input_bias, self.output_kernel, self.output_bias)
        return generate_kernel(inputs, *(ops.convert_to_tensor(w) for w in weights))

    def get_config(self) -> Config:
        return {**super().get_config(), "hidden_dim": self.hidden_dim}
