"""The networks of the attention task: where to look, and what reads what was looked at.

All models that crop share them, so that they differ in the crop alone: a sparse layer under a box
or an affine map, or bilinear sampling.
"""

import keras
import numpy as np
from keras import layers, ops

from baselines.recurrent_attention import RecurrentAttention
from baselines.spatial_transformer import SpatialTransformer
from hyperkeras.layers import Glimpse


def glimpse_net(shape, count, side, classifier, reader, pool, source="box", **sampling):
    """Image [b, h, w, 1] → glimpses [b, count, side, side, 1] → scores [b, 10].

    `reader` holds what a classifier takes beside the glimpses.
    """
    images = keras.Input(shape)
    localization = localization_net(
        shape, count, side, pool, PLACEMENTS[source], reader["precision"]
    )
    glimpse = Glimpse(side, localization, count, source, name="glimpse", **sampling)
    patches = glimpse(images)
    pass_on(glimpse.source.head)
    return keras.Model(images, CLASSIFIERS[classifier](patches, **reader), name=f"glimpse_{source}")


def spatial_transformer(shape, side, reader, pool, localization):
    """Image [b, h, w, 1] → a bilinear crop [b, side, side, 1] → scores [b, 10].

    `localization` "place" is that of `glimpse_net`; "regression" is the paper's way, a conv net
    whose last dense layer gives θ.
    """
    images = keras.Input(shape)
    if localization == "place":
        network = localization_net(shape, 1, side, pool, affine_numbers, reader["precision"])
        crop = SpatialTransformer(side, network, name="transformer")
        patches = crop(images)
        pass_on(crop.head)
    else:
        crop = SpatialTransformer(side, regression_net(shape, pool), name="transformer")
        patches = crop(images)
    return keras.Model(images, conv_classifier(patches[:, None], **reader))


def pass_on(head):
    """The localization network gives a layer's numbers itself: the layer's own head is fixed."""
    head.kernel.assign(np.eye(*head.kernel.shape))
    head.trainable = False


def recurrent_attention(shape, glimpses, patch, num_scales, units):
    """Scores [b, 10] after `glimpses` glimpses of `num_scales` patches."""
    network = RecurrentAttention(
        10, glimpses, patch, num_scales, hidden_units=72, glimpse_units=128, units=units
    )
    network.build((None, *shape))
    return network


def localization_net(shape, count, side, pool, placement, precision):
    """Image [b, h, w, 1] → the numbers that place `count` grids, [b, count * n].

    A spatial softmax of one map gives a place, and the features seen there. The map is the blurred
    image and what a conv net adds to it, at first nothing: the place starts where the image is
    brightest. Each grid lies at an offset from the place; offsets and extents are a constant,
    which is learned, and what the features add. All lengths are in pixels, so that the same
    weights serve images of any size. Only the convolutions are in `precision`: half precision is
    too coarse for places.
    """
    images = keras.Input(shape)
    place, seen = SpatialSoftmax(pool)(*score_map(images, pool, precision))
    moves = layers.Dense(
        4 * count, kernel_initializer="zeros", bias_initializer=Starts(count, side), name="moves"
    )(layers.Rescaling(0.02)(layers.Flatten()(seen)))
    moves = layers.Reshape((count, 2, 2))(moves)
    numbers = placement(place + moves[:, :, 0], moves[:, :, 1], shape)
    return keras.Model(images, layers.Flatten()(numbers), name="localization")


def score_map(images, pool, precision):
    """Where to look in images [b, h, w, 1]: scores [b, rows, columns, 1], and 16 features."""
    small = layers.AveragePooling2D(pool)(images)
    features = small
    for size, dilation in ((5, 1), (3, 1), (3, 2)):
        # Not normalized: what is seen decides where to look, and must be the same at inference.
        x = layers.Conv2D(
            16, size, padding="same", dilation_rate=dilation, activation="relu", dtype=precision
        )
        features = x(features)
    features = ops.cast(features, "float32")
    scores = layers.Conv2D(1, 1, kernel_initializer="zeros")(features)
    blurred = layers.AveragePooling2D(5, 1, padding="same")(small)
    return layers.Add()([scores, layers.Rescaling(BRIGHTNESS)(blurred)]), features


class SpatialSoftmax(layers.Layer):
    """Scores [b, h, w, 1], features [b, h, w, f] → a place [b, 1, 2], features there [b, 1, f].

    The place is the mean of the scores' softmax (Levine et al. 2016, arXiv 1504.00702), in pixels
    of which each score covers pool × pool. At inference a step of mean shift follows, by a
    Gaussian of width `reach`: the mean of two bright spots lies on neither. Training does
    without: its gradient reaches every spot.
    """

    def __init__(self, pool, reach=12.0, **kwargs):
        super().__init__(**kwargs)
        self.pool, self.reach = pool, reach

    def call(self, scores, features, training=False):
        cells = np.indices(scores.shape[1:3], "float32").reshape(2, -1).T
        cells = cells * self.pool + (self.pool - 1) / 2
        scores = ops.reshape(scores, (-1, 1, len(cells)))
        proportions = ops.softmax(scores)
        place = ops.matmul(proportions, cells)
        if not training:
            squares = ops.sum((place - cells) ** 2, axis=-1)[:, None]  # [b, 1, h * w]
            proportions = ops.softmax(scores - squares / (2 * self.reach**2))
            place = ops.matmul(proportions, cells)
        features = ops.reshape(features, (-1, len(cells), features.shape[-1]))
        return place, ops.matmul(proportions, features)


# How strongly brightness alone decides; at 60 half of the first places lie within 2 pixels.
BRIGHTNESS = 60.0


class Starts(keras.initializers.Initializer):
    """First offsets and half extents, in pixels.

    One grid lies at the place, a pixel apart. Several lie there too, each moved by a part of their
    steps, so that together they read all between: more rows than columns, as digits are tall.
    """

    def __init__(self, count, side):
        self.count, self.side = count, side

    def __call__(self, shape, dtype=None):
        step = np.array([1.0, 1.0] if self.count == 1 else [2.5, 2.0])
        columns = int(self.count**0.5)
        rows = -(-self.count // columns)
        cells = np.stack(np.unravel_index(np.arange(self.count), (rows, columns)), axis=1)
        offsets = step * ((cells + 0.5) / (rows, columns) - 0.5)
        halves = np.broadcast_to(step * self.side / 2, offsets.shape)
        starts = np.stack([offsets, halves], axis=1)
        return ops.convert_to_tensor(starts.reshape(shape), dtype)


def box_numbers(centers, halves, shape):
    """What `BoxSource` takes for boxes of these centers and half extents, [b, g, 2] in pixels."""
    last = np.array(shape[:2], "float32") - 1
    edges = ops.stack([centers - halves, centers + halves], axis=-1) / last[:, None]
    edges = ops.clip(edges, 0.003, 0.997)  # [b, g, 2, 2]: axis, side
    return ops.log(edges / (1 - edges)) - np.array([-1, 1], "float32")


def affine_numbers(centers, halves, shape):
    """What `AffineSource` takes for upright grids, less its start; rows and columns in [−1, 1]."""
    last = np.array(shape[:2], "float32") - 1
    scales, shifts = 2 * halves / last - 0.5, 2 * centers / last - 1
    none = ops.zeros_like(scales[..., 0])
    numbers = [scales[..., 0], none, shifts[..., 0], none, scales[..., 1], shifts[..., 1]]
    return ops.stack(numbers, axis=-1)


PLACEMENTS = {"box": box_numbers, "affine": affine_numbers}


def regression_net(shape, pool):
    """Image [b, h, w, 1] → features, as Jaderberg et al. (2015) localize: conv, pool, dense."""
    images = keras.Input(shape)
    x = layers.AveragePooling2D(pool // 2)(images)
    for _ in range(2):
        x = layers.Conv2D(16, 5, padding="same", activation="relu")(layers.MaxPooling2D(2)(x))
    x = layers.MaxPooling2D(2)(x)
    return keras.Model(images, layers.Dense(20, activation="relu")(layers.Flatten()(x)))


def conv_classifier(patches, filters, units, precision):
    """Glimpses [b, g, s, s, 1] → scores [b, 10]: a conv net, of which they are the channels."""
    x = ops.moveaxis(patches[..., 0], 1, -1)
    pools = (2, 1, 2, 2) if patches.shape[2] > 12 else (1, 1, 2, 2)
    x = convolutions(x, filters, pools, precision)
    return layers.Dense(10)(dense(x, units, precision))


def mlp_classifier(patches, filters, units, precision):
    """Glimpses [b, g, s, s, 1] → scores [b, 10], by two hidden layers."""
    return layers.Dense(10)(dense(dense(patches, units, precision), units, precision))


def lstm_classifier(patches, filters, units, precision):
    """Glimpses [b, g, s, s, 1] → scores [b, 10]: one conv net's features of each, in turn."""
    count, side = patches.shape[1:3]
    x = ops.reshape(patches, (-1, side, side, 1))
    x = dense(convolutions(x, filters, (2, 1, 2, 1), precision), 48, precision)
    return layers.Dense(10)(layers.LSTM(units)(ops.reshape(x, (-1, count, 48))))


CLASSIFIERS = {"conv": conv_classifier, "mlp": mlp_classifier, "lstm": lstm_classifier}


def convolutions(x, filters, pools, precision):
    """Convolutions of 5×5, 3×3, 3×3 and 3×3, normalized; pooled before, for speed."""
    for number, size, pool in zip(filters, (5, 3, 3, 3), pools, strict=True):
        x = layers.Conv2D(number, size, padding="same", use_bias=False, dtype=precision)(x)
        x = layers.MaxPooling2D(pool, dtype=precision)(x) if pool > 1 else x
        x = _normalized(x, precision)
    return x


def dense(x, units, precision):
    x = layers.Flatten(dtype=precision)(x)
    return _normalized(layers.Dense(units, use_bias=False, dtype=precision)(x), precision)


def _normalized(x, precision):
    x = layers.BatchNormalization(momentum=0.95, dtype=precision)(x)
    return layers.ReLU(dtype=precision)(x)
