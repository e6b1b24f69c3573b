"""The steps of the speed task that make the weights of a network by a head."""

MODELS = (
    *("head_dense", "head_chunked", "head_low_rank", "head_random", "head_layerwise"),
    "head_recurrent",
)
LAYERS = 8  # of the network whose weights are made, all of the same width
WIDTHS = {"smoke": (4,), "quick": (32, 112), "full": (32, 112, 352)}


def configurations(preset, repeats):
    """A configuration for each number of weights; processor time, since a step has one thread."""
    return [
        dict(repeats=2 * repeats, size=LAYERS * (width + 1) * width, width=width)
        | dict(conditions=4, features=32, processor_time=True)
        for width in WIDTHS[preset]
    ]


def build(model, contender, config):
    """Forward and backward from a given gradient, and Adam; the other is a dense layer."""
    import keras
    import tensorflow as tf

    features = tf.random.normal((config["conditions"], config["features"]))
    upstream = tf.random.normal((config["conditions"], config["size"]))
    head = _head(model, config) if contender == "ours" else keras.layers.Dense(config["size"])
    head.build(features.shape)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(head.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(features)
            made = head(features)
        weights = head.trainable_variables
        of_features, *gradients = tape.gradient(
            made, [features, *(weight.value for weight in weights)], output_gradients=upstream
        )
        if weights:
            optimizer.apply(gradients, weights)
        return of_features

    return lambda: step().numpy()


def _head(model, config):
    import keras

    from hyperkeras import layers

    def recurrent():
        lstm = keras.layers.LSTM(config["features"], return_sequences=True, unroll=True)
        return layers.RecurrentHead(lstm, rank=4)

    heads = {
        "head_dense": layers.DenseHead,
        "head_chunked": lambda: layers.ChunkedHead(1024),
        "head_low_rank": lambda: layers.LowRankHead(4),
        "head_random": lambda: layers.RandomHead(0),
        "head_layerwise": layers.LayerwiseHead,
        "head_recurrent": recurrent,
    }
    head = heads[model]()
    head.bind(_weights(config["width"]))
    return head


def _weights(width):
    """Kernels and biases of dense layers."""
    import keras

    stack = [keras.layers.Dense(width, "relu") for _ in range(LAYERS)]
    return keras.Sequential([keras.Input((width,)), *stack]).trainable_weights
