"""Wide residual networks, with kernels of their own or generated ones."""

from typing import Any

import keras
from keras import layers

from hyperkeras.annotations import Regularizer
from hyperkeras.layers.generated.hyper_conv2d import HyperConv2D
from hyperkeras.layers.generators.base_generator import Generator
from hyperkeras.layers.generators.kernel_generator import KernelGenerator
from hyperkeras.ops.argument_validation import check_choice, check_int, invalid_value

TILE = 16  # channels of the first group, and of a tile


def wide_resnet(
    depth: int,
    width: int,
    kernels: str = "dense",
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    embedding_dim: int = 64,
    hidden_dim: int | None = None,
    generator: Generator | None = None,
    kernel_regularizer: Regularizer = None,
    name: str | None = None,
) -> keras.Model:
    r"""Wide residual network WRN-depth-width (Zagoruyko & Komodakis 2016).

    .. math:: x' = s(x) + K_2 * \mathrm{relu}(\mathrm{norm}(K_1 * \mathrm{relu}(
        \mathrm{norm}(x))))

    The network begins with a 3×3 convolution to 16 channels. Three groups of (depth − 4) / 6 such
    blocks follow, with 16, 32 and 64 times `width` channels; the second and third group halve the
    image's height and width. Batch normalization, a ReLU, the mean over the image and a dense
    layer then give class scores (logits).

    With `kernels="hyper"` one generator of 3 × 3 × 16 × 16 tiles makes the kernels of all blocks,
    as in Ha, Dai & Le (2016). The first convolution and the dense layer have kernels of their own.

    The shortcut s has no weights. Where a block halves the image, it averages 2×2 pixels; where a
    block adds channels, it fills them with zeros.

    Args:
        depth: Integer, the number of layers: 6 n + 4 for n blocks in each group.
        width: Integer, the factor on the number of channels.
        kernels: `"dense"` for kernels that are weights (default), or `"hyper"` for generated ones.
        input_shape: Tuple (height, width, channels) of an image (default `(32, 32, 3)`).
        num_classes: Integer, the number of scores (default 10).
        embedding_dim: Integer N_z, the size of the generator's embeddings (default 64).
        hidden_dim: Integer d, the size of the generator's hidden layer, or None for N_z (default).
        generator: Generator of tiles (3, 3, 16, 16) to use instead, or None for a `KernelGenerator`
            of the two sizes above (default).
        kernel_regularizer: Regularizer of all kernels, also of the generated ones (default: none).
        name: String, the model's name, or None for `"wide_resnet_DEPTH_WIDTH"` (default).

    Returns:
        A Keras model that maps images `[b, height, width, channels]` to `[b, num_classes]`.

    Trainable parameters at 10 classes: 2,235,498 dense and 147,578 hyper for WRN-40-2, 562,730
    and 96,570 for WRN-40-1.

    Example:

    ```python
    model = hyperkeras.models.wide_resnet(10, 1, kernels="hyper")
    model(keras.random.uniform((2, 32, 32, 3))).shape  # (2, 10)
    ```

    References:
        - [Zagoruyko & Komodakis, 2016](https://arxiv.org/abs/1605.07146)
        - [Ha, Dai & Le, 2016](https://arxiv.org/abs/1609.09106), section 4.2
    """
    if check_int("depth", depth, 10) % 6 != 4:
        raise invalid_value("depth", "6 n + 4 for n blocks in each group", depth)
    check_int("width", width, 1)
    check_choice("kernels", kernels, ("dense", "hyper"))
    if kernels == "dense" and generator is not None:
        raise invalid_value("generator", "None for kernels='dense'", generator)
    if kernels == "hyper" and generator is None:
        generator = KernelGenerator((3, 3, TILE, TILE), embedding_dim, hidden_dim, name="generator")

    def plain(filters: int, strides: int = 1, name: str | None = None) -> layers.Layer:
        return layers.Conv2D(
            filters,
            3,
            strides,
            padding="same",
            data_format="channels_last",
            kernel_initializer="he_normal",
            kernel_regularizer=kernel_regularizer,
            name=name,
        )

    def generated(filters: int, strides: int = 1, name: str | None = None) -> layers.Layer:
        assert generator is not None
        return HyperConv2D(
            filters,
            3,
            generator,
            strides,
            data_format="channels_last",
            kernel_regularizer=kernel_regularizer,
            name=name,
        )

    convolution = plain if kernels == "dense" else generated
    inputs = keras.Input(input_shape)
    x = plain(TILE, name="first")(inputs)
    for group in range(3):
        for block in range((depth - 4) // 6):
            filters, strides = TILE * 2**group * width, 2 if group > 0 and block == 0 else 1
            prefix = f"group{group + 1}_block{block + 1}"
            y = convolution(filters, strides, f"{prefix}_conv1")(_normalized(x, f"{prefix}_1"))
            y = convolution(filters, 1, f"{prefix}_conv2")(_normalized(y, f"{prefix}_2"))
            x = layers.Add(name=f"{prefix}_add")([_shortcut(x, filters, strides), y])
    x = layers.GlobalAveragePooling2D(data_format="channels_last")(_normalized(x, "last"))
    scores = layers.Dense(num_classes, kernel_regularizer=kernel_regularizer, name="scores")(x)
    return keras.Model(inputs, scores, name=name or f"wide_resnet_{depth}_{width}")


def _normalized(x: Any, prefix: str) -> Any:
    norm = layers.BatchNormalization(momentum=0.9, name=f"{prefix}_norm")
    return layers.ReLU(name=f"{prefix}_relu")(norm(x))


def _shortcut(x: Any, filters: int, strides: int) -> Any:
    if strides > 1:
        x = layers.AveragePooling2D(strides, padding="same", data_format="channels_last")(x)
    new = filters - x.shape[-1]
    if new:
        # Read as channels first, the last two axes are width and channels.
        x = layers.ZeroPadding2D(((0, 0), (0, new)), data_format="channels_first")(x)
    return x
