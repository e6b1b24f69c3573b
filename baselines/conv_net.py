"""A convolutional classifier of whole images: what one that looks at parts is compared with."""

import keras
from keras import layers


def conv_net(input_shape, num_classes, filters=(12, 24, 48, 64), units=36, name="conv_net"):
    """3×3 convolutions with 2×2 max pooling, then a hidden layer; batch norm before each ReLU.

    Maps images [b, h, w, c] to class scores (logits) [b, num_classes].
    """
    if len(input_shape) != 3:
        raise ValueError(
            "Received an invalid value for `input_shape`, expected (height, width, channels). "
            f"Received: input_shape={input_shape}"
        )
    inputs = x = keras.Input(input_shape)
    for count in filters:
        x = layers.Conv2D(count, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dense(units, use_bias=False)(layers.Flatten()(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))
    return keras.Model(inputs, layers.Dense(num_classes)(x), name=name)
