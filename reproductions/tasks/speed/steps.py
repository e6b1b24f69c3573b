"""What the speed task measures: training steps as functions without arguments."""

import numpy as np

from reproductions.tasks.speed import graph_steps, head_steps, recurrent_steps
from reproductions.tasks.speed.per_sample_steps import per_sample_step


def build(model, contender, config, seed):
    """One training step as a function without arguments, which returns when it is done."""
    import keras

    keras.utils.set_random_seed(seed)
    if model in recurrent_steps.MODELS:
        return recurrent_steps.build(model, contender, config)
    if model in graph_steps.MODELS:
        return graph_steps.build(model, contender, config)
    if model in head_steps.MODELS:
        return head_steps.build(model, contender, config)
    makers = {
        "contract": _products,
        "identity": _identities,
        "glimpse": _glimpses,
        "wide": _wide_resnets,
        "quicksort": _quicksorts,
        "growth": _growths,
        "autoencoder": _autoencoders,
        "per": per_sample_step,
    }
    return makers[model.split("_")[0]](model, contender, config)


def _products(model, contender, config):
    import keras
    import tensorflow as tf

    from hyperkeras import ops

    n, batch = config["size"], config["batch"]
    rng = np.random.default_rng(0)
    tuples = tf.constant(rng.integers(n, size=(config["tuples"], 2)))
    values = tf.constant(rng.normal(size=config["tuples"]), tf.float32)
    x = tf.constant(rng.normal(size=(batch, n)), tf.float32)
    if model == "contract_dense" and contender == "other":
        dense = keras.layers.Dense(n, use_bias=False)
        dense.build(x.shape)

    def autodiff(values, x):
        matrix = tf.SparseTensor(tuples, values, (n, n))
        return tf.transpose(tf.sparse.sparse_dense_matmul(matrix, x, adjoint_b=True))

    upstream = tf.constant(rng.normal(size=(batch, n)), tf.float32)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch([values, x])
            weights = values
            if contender == "ours":
                y = ops.contract(tuples, values, x, (n,))
            elif model == "contract":
                y = autodiff(values, x)
            else:
                y, weights = dense(x), dense.kernel.value
        return y, tape.gradient(y, [weights, x], output_gradients=upstream)

    return step  # on a CPU it returns when it is done


def _identities(model, contender, config):
    from hyperkeras import layers

    n, samples = config["size"], config["samples"]
    shared = model.endswith("shared") and contender == "ours"
    as_it_stands = model == "identity_step" and contender == "other"
    source = layers.FreeSource(n, sigma_scale=0.1, shared=shared)
    layer = layers.SparseHyperlayer((n,), source, None, samples, samples, config["region"])
    layer.build((None, n))
    return _training_step(plain(layer) if as_it_stands else layer, (config["batch"], n))


def _glimpses(model, contender, config):
    import keras
    from keras import layers

    from baselines.spatial_transformer import SpatialTransformer
    from hyperkeras.layers import Glimpse

    canvas, side, samples = config["size"], config["side"], config["samples"]
    if model != "glimpse_conv":
        parts = [layers.AveragePooling2D(4), layers.Flatten(), layers.Dense(32, activation="relu")]
    else:
        parts = []
        for filters, pool in ((32, 4), (64, 2), (128, 1)):
            for _ in range(2):
                parts.append(layers.Conv2D(filters, 3, padding="same", activation="relu"))
            parts.append(layers.MaxPooling2D(pool))
        parts += [layers.Flatten(), *(layers.Dense(512, activation="relu") for _ in range(2))]
    if contender == "ours":
        sampling = dict(global_samples=samples, local_samples=samples, region=config["region"])
        crop = Glimpse(side, keras.Sequential(parts), **sampling)
    else:
        crop = SpatialTransformer(side, keras.Sequential(parts))
    return _training_step(crop, (config["batch"], canvas, canvas, 1), target=0.0)


def _wide_resnets(model, contender, config):
    import keras
    import tensorflow as tf

    from hyperkeras.models import wide_resnet

    network = wide_resnet(config["size"], 1, "hyper" if contender == "ours" else "dense")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.001), loss, jit_compile=False)
    x = tf.random.normal((config["batch"], 32, 32, 3))
    y = tf.zeros((config["batch"],), tf.int32)
    network.optimizer.build(network.trainable_variables)
    step = tf.function(lambda: network.train_step((x, y)))
    return lambda: step()["loss"].numpy()


def _quicksorts(model, contender, config):
    import tensorflow as tf

    from hyperkeras.layers import Quicksort

    shape = (config["batch"], config["size"], config["features"])
    x, upstream = tf.random.normal(shape), tf.random.normal(shape)
    keys = tf.random.normal(shape[:2])
    layer = Quicksort(config["samples"])
    sort = layer if contender == "ours" else sparse_sort(layer)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch([x, keys])
            y, _ = sort(x, keys, training=True)
        return tape.gradient(y, [x, keys], output_gradients=upstream)

    return lambda: step()[1].numpy()


def sparse_sort(layer):
    """The training call of a `Quicksort`, each split a sparse product with the elements."""
    import tensorflow as tf

    from hyperkeras import ops
    from hyperkeras.ops.sorting import quicksort

    def sort(x, keys, training):
        b, n = keys.shape
        for depth in range(quicksort.num_splits(n)):
            bounds = ops.bucket_bounds(n, depth)
            logits = layer.certainty * (keys - ops.bucket_pivots(keys, bounds))
            drawn = ops.balanced_choices(layer._scores(logits), bounds)
            choices = ops.balanced_choices(keys, bounds)[:, None]
            choices = tf.concat([choices, drawn], axis=1)  # [b, m, n]
            weights = tf.reshape(ops.choice_proportions(choices, logits, bounds), (b, -1))
            rows = quicksort.moved_places(choices, bounds)
            columns = tf.broadcast_to(np.arange(n, dtype="int32"), rows.shape)
            tuples = tf.reshape(tf.stack([rows, columns], axis=-1), (b, -1, 2))
            x = ops.contract(tuples, weights, x, (n,))
            keys = ops.contract(tuples, weights, keys, (n,))
        return x, keys

    return sort


def _growths(model, contender, config):
    import keras

    from hyperkeras import layers

    n, samples = config["size"], config["samples"]
    layer = keras.layers.Dense(n, use_bias=False)
    if contender == "ours":
        layer = layers.SparseHyperlayer(
            (n,), layers.FreeSource(n), config["chunk"], samples, samples, config["region"]
        )
    return _training_step(layer, (config["batch"], n))


def _autoencoders(model, contender, config):
    """`train_on_batch` of the networks of the task `autoencoder`, by its settings."""
    import keras

    from reproductions.tasks import autoencoder
    from reproductions.tasks.autoencoder import networks

    name = "sparse" if contender == "ours" else "dense"
    sizes = (autoencoder.LARGE if config["size"] == 28 else autoencoder.TINY)[name]
    shape = (config["size"], config["size"], 1)
    network = networks.autoencoder(name, False, shape, latent=config["latent"], **sizes)
    network.compile(keras.optimizers.Adam(0.003), networks.cross_entropy)
    images = keras.random.uniform((config["batch"], *shape))
    return lambda: network.train_on_batch(images, images)


def _training_step(layer, shape, target=None):
    """Towards `target`, or the input itself."""
    import keras

    if not layer.built:
        layer.build(shape)
    if keras.backend.backend() != "tensorflow":
        return _train_on_batch(layer, shape, target)
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(0.005)
    optimizer.build(layer.trainable_variables)
    x = tf.random.normal(shape)
    goal = x if target is None else target

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(layer(x, training=True) - goal))
        gradients = tape.gradient(loss, layer.trainable_variables)
        optimizer.apply(gradients, layer.trainable_variables)
        return loss

    return lambda: step().numpy()


def _train_on_batch(layer, shape, target):
    """A training step by Keras's own trainer, on any backend."""
    import keras

    network = keras.Sequential([keras.Input(shape[1:]), layer])
    network.compile(keras.optimizers.Adam(0.005), "mse")
    x = keras.random.normal(shape)
    y = x if target is None else keras.ops.full((shape[0], *network.output_shape[1:]), target)
    return lambda: network.train_on_batch(x, y)


def plain(layer):
    """`layer`, built, with the proportions' equation as it stands, [b, i, k, r] and all."""
    import keras

    from hyperkeras import ops

    def sample(means, sigmas, values, first, end):
        tuples = layer._sample(means)
        difference = keras.ops.cast(tuples[:, :, None], "float32") - means[:, None]  # [b, i, k, r]
        exponent = keras.ops.sum(difference**2 / (1e-6 + sigmas[:, None]), axis=-1)
        copies = ops.duplicate_mask(tuples, layer.size)
        q = keras.ops.where(copies[..., None], 0.0, keras.ops.exp(-exponent / 2))
        q = q / (keras.ops.sum(q, axis=1, keepdims=True) + 1e-6)
        return tuples, keras.ops.sum(q * values[:, None], axis=-1)

    layer._holds_whole, layer._sampled_tuples = False, sample
    return layer
