"""Wide residual networks, with kernels of their own or generated ones."""

import keras
from keras import layers

from hyperkeras.layers.generated.hyper_conv2d import HyperConv2D
from hyperkeras.layers.generators.kernel_generator import KernelGenerator
from hyperkeras.ops.argument_validation import check_int

TILE = 16  # channels of the first group, and of a tile


def wide_resnet(
    depth,
    width,
    kernels="dense",
    input_shape=(32, 32, 3),
    num_classes=10,
    embedding_dim=64,
    hidden_dim=None,
    generator=None,
    kernel_regularizer=None,
    name=None,
):
    r"""A wide residual network WRN-depth-width (Zagoruyko & Komodakis 2016).

    .. math:: x' = s(x) + K_2 * \mathrm{relu}(\mathrm{norm}(K_1 * \mathrm{relu}(
        \mathrm{norm}(x))))

    A 3×3 convolution to 16 channels, three groups of (depth − 4) / 6 such blocks with 16, 32 and
    64 times `width` channels, the second and third at half the size, then batch norm, ReLU, the
    mean over the image, and a dense layer that gives class scores (logits). With
    `kernels="hyper"` one generator of 3 × 3 × 16 × 16 tiles makes the kernels of all blocks, as
    Ha, Dai & Le (2016) do; the first convolution and the dense layer are plain.

    The shortcut s has no weights: where a block changes the size it takes means of 2×2 pixels,
    and pads new channels with zeros.

    Args:
        depth: Integer, 6 n + 4 for n blocks a group.
        width: Integer, the factor on the channels.
        kernels: `"dense"`, kernels that are weights, or `"hyper"`, generated kernels.
        input_shape: (height, width, channels), channels last.
        num_classes: Integer.
        embedding_dim: Integer N_z of the generator.
        hidden_dim: Integer d of the generator; None for N_z.
        generator: Another generator of tiles (3, 3, 16, 16), instead of the two numbers above.
        kernel_regularizer: Regularizer of all kernels, of generated ones as generated.
        name: String, or None for "wide_resnet_DEPTH_WIDTH".

    Returns:
        A Keras model that maps images `[b, height, width, channels]` to `[b, num_classes]`.

    Trainable parameters at 10 classes: 2,235,498 dense and 147,578 hyper for WRN-40-2, 562,730
    and 96,570 for WRN-40-1.

    Example:

    ```python
    model = hyperkeras.models.wide_resnet(40, 2, kernels="hyper")
    ```

    References:
        - [Zagoruyko & Komodakis, 2016](https://arxiv.org/abs/1605.07146)
        - [Ha, Dai & Le, 2016](https://arxiv.org/abs/1609.09106), section 4.2
    """
    if check_int("depth", depth, 10) % 6 != 4:
        raise ValueError(
            "Received an invalid value for `depth`, expected 6 n + 4 for n blocks a group. "
            f"Received: depth={depth}"
        )
    check_int("width", width, 1)
    if kernels not in ("dense", "hyper"):
        raise ValueError(
            "Received an invalid value for `kernels`, expected 'dense' or 'hyper'. "
            f"Received: kernels={kernels!r}"
        )
    if kernels == "dense" and generator is not None:
        raise ValueError(
            "Received an invalid value for `generator`, expected None for kernels='dense'. "
            f"Received: generator={generator!r}"
        )
    if kernels == "hyper" and generator is None:
        generator = KernelGenerator((3, 3, TILE, TILE), embedding_dim, hidden_dim, name="generator")

    def plain(filters, strides=1, name=None):
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

    def generated(filters, strides, name):
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


def _normalized(x, prefix):
    norm = layers.BatchNormalization(momentum=0.9, name=f"{prefix}_norm")
    return layers.ReLU(name=f"{prefix}_relu")(norm(x))


def _shortcut(x, filters, strides):
    if strides > 1:
        x = layers.AveragePooling2D(strides, padding="same", data_format="channels_last")(x)
    new = filters - x.shape[-1]
    if new:
        # Read as channels first, the last two axes are width and channels.
        x = layers.ZeroPadding2D(((0, 0), (0, new)), data_format="channels_first")(x)
    return x
