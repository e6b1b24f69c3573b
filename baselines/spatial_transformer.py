"""Spatial transformer networks (Jaderberg et al. 2015): a crop that learns where to lie."""

import keras
import numpy as np
from keras import layers, ops

from baselines.checks import check_images, check_int, check_network, check_positive

# b images of H x W pixels and c channels; crops of h x w. Places are (row, column) everywhere:
# the paper's (x, y) turned round.


def affine_grid(theta, output_size):
    r"""Where each pixel of a crop comes from, by Jaderberg et al. (2015), equation 1.

    .. math:: (y^s, x^s)^\top = \theta\, (y^t, x^t, 1)^\top

    for target points (y^t, x^t) evenly spaced over [−1, 1]², ends included.

    Args:
        theta: Tensor `[b, 2, 3]`.
        output_size: Pair of integers (h, w).

    Returns:
        Tensor `[b, h, w, 2]`, −1 and 1 being the centers of the image's outermost pixels.
    """
    theta, (h, w) = ops.convert_to_tensor(theta), output_size
    y, x = np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing="ij")
    target = np.stack([y, x, np.ones_like(y)], axis=-1).reshape(-1, 3)  # [h * w, 3]
    source = ops.matmul(ops.cast(target, theta.dtype), ops.swapaxes(theta, 1, 2))
    return ops.reshape(source, (-1, h, w, 2))


def bilinear_sample(images, grid):
    r"""Images read between their pixels, by Jaderberg et al. (2015), equations 3 to 5.

    .. math:: V_i = \sum_{n, m} U_{nm} \max(0, 1 - |y_i - n|) \max(0, 1 - |x_i - m|)

    Only the four pixels around a point have a weight, and only they are read. U is zero outside
    the image. Differentiable in images and grid (equations 6 and 7).

    Args:
        images: Tensor U `[b, H, W, c]`.
        grid: Tensor `[b, h, w, 2]` of rows and columns in [−1, 1], as `affine_grid` gives.

    Returns:
        Tensor V `[b, h, w, c]`.
    """
    images, grid = ops.convert_to_tensor(images), ops.convert_to_tensor(grid)
    H, W, c = images.shape[1:]
    h, w = grid.shape[1:3]
    last = ops.cast((H - 1, W - 1), grid.dtype)
    # A border of zeros, to which all points beyond it are moved.
    padded = ops.reshape(ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))), (-1, c))
    points = ops.clip((grid + 1) / 2 * last + 1, 0, last + 2)
    corner = ops.minimum(ops.floor(points), last + 1)  # the upper left of the four pixels
    down, right = ops.unstack(points - ops.stop_gradient(corner), axis=-1)  # [b, h, w]
    weights = ops.stack(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], axis=-1
    )
    row, column = ops.unstack(ops.cast(corner, "int32"), axis=-1)
    sample = ops.reshape(ops.arange(ops.shape(images)[0], dtype="int32"), (-1, 1, 1))
    index = (sample * (H + 2) + row) * (W + 2) + column
    four = np.array([0, 1, W + 2, W + 3], "int32")
    pixels = ops.take(
        padded, index[..., None] + ops.convert_to_tensor(four), axis=0
    )  # [b, h, w, 4, c]
    weights = ops.cast(weights, images.dtype)[..., None]
    return ops.reshape(ops.sum(pixels * weights, axis=-2), (-1, h, w, c))


@keras.saving.register_keras_serializable(package="baselines")
class SpatialTransformer(layers.Layer):
    r"""Reads one affine crop of each image, placed by a localization network.

    .. math:: \theta = \mathrm{flatten}(f(U))\, W + \theta_0, \qquad
        V = \mathrm{sample}(U, \mathrm{grid}(\theta))

    with f the localization network and W, θ₀ the head. W starts at zero and θ₀ at the scaled
    identity, `scale` (I | 0): the first crops hold the middle of each image. Crops are not
    smoothed: one that is coarser than the image skips pixels.

    Args:
        output_size: Integer, or pair of integers (h, w).
        network: Keras layer or model that maps images to features of any shape.
        scale: Float > 0. Side of the first crop as a fraction of the image's.

    Input shape:
        Images `[b, H, W, c]`.

    Output shape:
        Crops `[b, h, w, c]`.

    Parameters: the network's, and 6 (F + 1) for F features.

    References:
        - [Jaderberg et al., 2015](https://arxiv.org/abs/1506.02025)
    """

    def __init__(self, output_size, network, scale=0.5, **kwargs):
        super().__init__(**kwargs)
        pair = (output_size, output_size) if isinstance(output_size, int) else output_size
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(
                "Received an invalid value for `output_size`, expected an integer or a pair of "
                f"integers. Received: output_size={output_size!r}"
            )
        self.output_size = tuple(check_int("output_size", side) for side in pair)
        self.network = check_network("network", network)
        self.scale = check_positive("scale", scale)

    def build(self, input_shape):
        shape = check_images(self, input_shape)
        self.input_spec = layers.InputSpec(ndim=4, axes=dict(enumerate(shape[1:], start=1)))
        if not self.network.built:
            self.network.build(shape)
        # In the variable dtype: half precision is too coarse for places.
        self.flatten = layers.Flatten(dtype=self.variable_dtype)
        self.head = layers.Dense(
            6, kernel_initializer="zeros", dtype=self.variable_dtype, name="head"
        )
        features = self.network.compute_output_shape(shape)
        self.head.build(self.flatten.compute_output_shape(features))
        self.head.bias.assign([self.scale, 0, 0, 0, self.scale, 0])

    def thetas(self, images):
        """The transformations `[b, 2, 3]` of `images`."""
        features = self.flatten(self.network(images))
        return ops.reshape(self.head(features), (-1, 2, 3))

    def corners(self, images):
        """Corners of the crops `[b, 4, 2]`, rows and columns in pixels, clockwise from top left."""
        square = ops.reshape(affine_grid(self.thetas(images), (2, 2)), (-1, 4, 2))
        corners = ops.take(square, [0, 1, 3, 2], axis=1)
        return (corners + 1) / 2 * ops.cast([n - 1 for n in images.shape[1:3]], corners.dtype)

    def call(self, inputs):
        return bilinear_sample(inputs, affine_grid(self.thetas(inputs), self.output_size))

    def compute_output_shape(self, input_shape):
        return input_shape[0], *self.output_size, input_shape[3]

    def get_config(self):
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "network": keras.saving.serialize_keras_object(self.network),
            "scale": self.scale,
        }

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**config, "network": network})


def spatial_transformer_net(
    input_shape,
    num_classes,
    crop=32,
    localization=None,
    classifier=None,
    scale=0.5,
    name="spatial_transformer_net",
):
    """One crop of each image, and a classifier of crops.

    Maps images [b, h, w, c] to class scores (logits) [b, num_classes].

    Args:
        input_shape: (height, width, channels).
        num_classes: Integer, the number of scores.
        crop: Integer, the crop's side in pixels.
        localization: Keras model of images [b, h, w, c], to features of any shape; None for two
            5×5 convolutions of 20 filters and a hidden layer of 20, on the image at half size.
        classifier: Keras model of crops [b, crop, crop, c], to features of any shape, which a
            dense layer makes into scores; None for three 3×3 convolutions and a hidden layer.
        scale: Float > 0. Side of the first crop as a fraction of the image's.
    """
    if len(input_shape) != 3:
        raise ValueError(
            "Received an invalid value for `input_shape`, expected (height, width, channels). "
            f"Received: input_shape={input_shape}"
        )
    if localization is None:
        localization = _localization_net(input_shape)
    transformer = SpatialTransformer(crop, localization, scale, name="spatial_transformer")
    if classifier is None:
        classifier = _classifier((crop, crop, input_shape[2]))
    check_network("classifier", classifier)
    images = keras.Input(input_shape)
    features = layers.Flatten()(classifier(transformer(images)))
    return keras.Model(images, layers.Dense(num_classes)(features), name=name)


def _localization_net(shape):
    images = keras.Input(shape)
    x = layers.AveragePooling2D(2, padding="same")(images)
    for _ in range(2):
        x = layers.Conv2D(20, 5, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Dense(20, activation="relu")(layers.Flatten()(x))
    return keras.Model(images, x, name="localization")


def _classifier(shape):
    crops = x = keras.Input(shape)
    for filters in (24, 48, 64):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))
        x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Dense(48, use_bias=False)(layers.Flatten()(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))
    return keras.Model(crops, x, name="classifier")
