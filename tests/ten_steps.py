"""Ten steps of one model with several of our layers, on one device and on two; prints the losses.

    python tests/ten_steps.py mirrored | workers | data_parallel | model_parallel

A script, as devices are counted once a process; `workers`, of which each has a process of its own,
leaves out the steps on one device. Nothing in the model is drawn in training: layers
that sample draw other numbers on each replica. Plain gradient steps: Adam's make rounding errors of
gradients near 0 as large as other steps.
"""

import json
import os
import sys

import keras
import numpy as np

from hyperkeras import layers
from hyperkeras.models import Hypernetwork


def make():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.HyperConv2D(4, 3, layers.KernelGenerator((3, 3, 2, 2), 3), activation="relu"),
            keras.layers.Reshape((6, 24)),
            layers.HyperLSTM(6, 3, 2),
            layers.SparseHyperlayer((4,), layers.FreeSource(5), use_bias=True),
        ]
    )


def strategy_of(kind):
    import tensorflow as tf

    if kind == "workers":
        return tf.distribute.MultiWorkerMirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(80, 6, 6, 2)).astype("float32"), rng.normal(size=(80, 4))


def compiled():
    model = make()
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


def on_one_and_two(kind):
    """The losses and weights on one device and on two, which are seen from the start."""
    if kind == "model_parallel":
        return with_weights_over_devices()
    if kind == "data_parallel":
        assert len(keras.distribution.list_devices()) == 2
        one = fitted(compiled())
        keras.distribution.set_distribution(keras.distribution.DataParallel())
        return {"one": one, "two": fitted(compiled())}
    strategy = strategy_of(kind)
    assert strategy.num_replicas_in_sync == 2
    one = fitted(compiled()) if kind == "mirrored" else None
    with strategy.scope():
        model = compiled()
    # `fit` fails in Keras itself where a strategy has several workers.
    return {"one": one, "two": fitted(model) if kind == "mirrored" else by_hand(model)}


LAYOUT = {".*/(means|sigmas|values)": ("model",), ".*/head/kernel": (None, "model")}


def with_weights_over_devices():
    """Tuples, and columns of a head, each on one of eight devices; `parts`: their shapes there."""
    one = {"losses": [], "weights": []}
    many = {"losses": [], "weights": [], "parts": []}
    devices = keras.distribution.list_devices()
    for found in (one, many):
        if found is many:
            mesh = keras.distribution.DeviceMesh((1, len(devices)), ("batch", "model"), devices)
            layout = keras.distribution.LayoutMap(mesh)
            for path, axes in LAYOUT.items():
                layout[path] = axes
            distribution = keras.distribution.ModelParallel(layout_map=layout)
            keras.distribution.set_distribution(distribution)
        keras.utils.set_random_seed(0)
        x = keras.Input((12,))
        source = layers.FreeSource(64)
        y = layers.SparseHyperlayer((16,), source, global_samples=2, chunk_size=8, seed=1)(x)
        dense = [keras.layers.Dense(8), keras.layers.Dense(8)]
        target = keras.Sequential([keras.Input((16,)), *dense])
        body = keras.Sequential([keras.Input((12,)), keras.layers.Dense(4, "tanh")])
        hyper = Hypernetwork(target, body, head=layers.DenseHead(name="head"), per_sample=True)
        model = keras.Model(x, hyper([x, y]))
        model.compile(keras.optimizers.Adam(0.01, epsilon=0.1), "mse")
        rng = np.random.default_rng(0)
        inputs, outputs = (rng.normal(size=(8, n)).astype("float32") for n in (12, 8))
        found["losses"] = [float(model.train_on_batch(inputs, outputs)) for _ in range(3)]
        found["weights"] = sums(model)
        if found is many:
            weights = [*model.trainable_variables, *model.optimizer.variables]
            for weight in weights:
                parts = {str(part.data.shape) for part in weight.value.addressable_shards}
                found["parts"].append([weight.path, list(weight.shape), sorted(parts)])
    return {"one": one, "many": many}


def fitted(model):
    found = []

    class Losses(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            found.append(float(logs["loss"]))

    model.fit(*data(), batch_size=8, shuffle=False, verbose=0, callbacks=[Losses()])
    return {"losses": found, "weights": sums(model)}


def by_hand(model):
    """Steps of 8, of which each worker takes its half; what `fit` logs, the means so far."""
    import tensorflow as tf

    x, y = data()
    strategy, half = model.distribute_strategy, 4
    first = half * json.loads(os.environ["TF_CONFIG"])["task"]["index"]

    def on_replica(x, y):
        with tf.GradientTape() as tape:
            errors = keras.losses.mean_squared_error(y, model(x, training=True))
            loss = tf.reduce_sum(errors) / (2 * half)
        weights = model.trainable_variables
        model.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    @tf.function
    def step(x, y):
        return strategy.reduce("SUM", strategy.run(on_replica, (x, y)), axis=None)

    with strategy.scope():
        model.optimizer.build(model.trainable_variables)
    parts = [slice(i + first, i + first + half) for i in range(0, len(x), 2 * half)]
    found = [float(step(tf.constant(x[i]), tf.constant(y[i], "float32"))) for i in parts]
    means = [float(np.mean(found[: i + 1])) for i in range(len(found))]
    return {"losses": means, "weights": sums(model)}


def sums(model):
    return [float(np.sum(w)) for w in model.get_weights()]


if __name__ == "__main__":
    print(json.dumps(on_one_and_two(sys.argv[1])))
