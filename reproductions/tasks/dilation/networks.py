"""The networks of the dilation task: convolutions side by side, and detectors of an echo."""

import math

import keras
from keras import layers

from hyperkeras.layers import DilatedConv1D


def convolution(model, config, most, kernel_size, padding, dilation=None):
    """A convolution whose dilation is learned, or `dilation`."""
    if model == "fixed":
        return layers.Conv1D(
            config["filters"], kernel_size, padding=padding, dilation_rate=dilation
        )
    size = config["length"] + (kernel_size - 1) * most  # with the padding
    return DilatedConv1D(
        config["filters"],
        kernel_size,
        most,
        config["start"],
        padding,
        sigma_scale=config["deviation"] ** 2 / (math.log1p(math.exp(2)) * size),
        global_samples=config["global_samples"],
        local_samples=config["local_samples"],
        region=config["region"],
    )


def students(model, config, most):
    """Signal [b, length, 1] → [b, length, teachers, filters]: a convolution for each teacher."""
    signal, count = keras.Input((config["length"], 1)), config["teachers"]
    read = [
        convolution(model, config, most, 3, "same", dilation)(signal)
        for dilation in range(1, count + 1)
    ]
    outputs = layers.Reshape((config["length"], count, config["filters"]))(
        layers.Concatenate()(read)
    )
    network = keras.Model(signal, outputs, name=model)
    # No student is part of another's loss, and Adam has a scale for each weight.
    network.compile(keras.optimizers.Adam(config["learning_rate"]), "mse", jit_compile=False)
    return network


def detector(model, config, most):
    """Signal [b, length, 1] → scores [b, 2] of an echo upside down and of an upright one."""
    signal = keras.Input((config["length"], 1))
    if model == "dense":
        x = layers.Dense(config["filters"], "relu")(layers.Flatten()(signal))
    else:
        if model == "large_kernel":
            conv = layers.Conv1D(config["filters"], most + 1, padding="causal")
        else:
            conv = convolution(model, config, most, 2, "causal", config.get("dilation"))
        x = layers.GlobalAveragePooling1D()(layers.ReLU()(conv(signal)))
    network = keras.Model(signal, layers.Dense(2)(x), name=model)
    network.compile(
        keras.optimizers.Adam(config["learning_rate"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return network
