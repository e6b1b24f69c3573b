"""A convolutional classifier of whole images: what one that looks at parts is compared with."""

import keras
from keras import layers


def conv_net(
    input_shape, num_classes, filters=(12, 24, 48, 64), units=36, strides=1, name="conv_net"
):
    """3×3 convolutions with 2×2 max pooling, then a hidden layer; batch norm before each ReLU.

    Maps images [b, h, w, c] to class scores (logits) [b, num_classes]. `strides` are the first
    convolution's, whose kernel is 5×5 where they are more than 1.
    """
    if len(input_shape) != 3:
        raise ValueError(
            "Received an invalid value for `input_shape`, expected (height, width, channels). "
            f"Received: input_shape={input_shape}"
        )
    inputs = x = keras.Input(input_shape)
    for i, count in enumerate(filters):
        first = dict(kernel_size=5, strides=strides) if i == 0 and strides > 1 else {}
        x = layers.Conv2D(count, **dict(kernel_size=3) | first, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dense(units, use_bias=False)(layers.Flatten()(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))
    return keras.Model(inputs, layers.Dense(num_classes)(x), name=name)
