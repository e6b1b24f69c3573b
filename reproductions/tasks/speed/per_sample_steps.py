"""The steps of the speed task that run layers with weights of each sample's own."""


def per_sample_step(model, contender, config):
    """One training step, forward and backward, as a function without arguments."""
    return (_conv if model == "per_sample_conv" else _mlp)(contender, config)


def _mlp(contender, config):
    """`train_on_batch` of a hypernetwork around an MLP; the other has one condition a batch."""
    import keras
    import numpy as np
    from keras import layers

    from hyperkeras.models import Hypernetwork

    n, b = config["size"], config["batch"]
    hidden = [layers.Dense(n, "relu") for _ in range(2)]
    target = keras.Sequential([keras.Input((n,)), *hidden, layers.Dense(10)])
    body = keras.Sequential([keras.Input((16,)), layers.Dense(32, "relu")])
    network = Hypernetwork(target, body, per_sample=contender == "ours")
    network.compile(keras.optimizers.Adam(1e-3), "mse")
    rng = np.random.default_rng(0)
    condition = rng.normal(size=(b, 16)).astype("float32")
    if contender == "other":
        condition = np.repeat(condition[:1], b, axis=0)
    x = rng.normal(size=(b, n)).astype("float32")
    y = np.zeros((b, 10), "float32")
    return lambda: network.train_on_batch([condition, x], y)


def _conv(contender, config):
    """A 3 × 3 convolution with a kernel a sample; the other is `vectorized_map` over Keras's."""
    import tensorflow as tf
    from keras import ops

    from hyperkeras.ops import per_sample_conv

    b, c, side = config["batch"], config["channels"], config["size"]
    x, kernel = tf.random.normal((b, side, side, c)), tf.random.normal((b, 3, 3, c, c))
    upstream = tf.random.normal((b, side, side, c))

    def convolve(pair):
        return ops.conv(pair[0][None], pair[1], padding="same", data_format="channels_last")[0]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            if contender == "ours":
                y = per_sample_conv(x, kernel, padding="same")
            else:
                y = ops.vectorized_map(convolve, (x, kernel))
        return y, tape.gradient(y, [x, kernel], output_gradients=upstream)

    return step
