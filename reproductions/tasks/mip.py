"""Generating weights from one number: four ways to give that number to a hypernetwork.

The target is an MLP that learns a family of waves, y = sin(2π(1 + γ) x₁) + γ x₂, one for each γ in
[0, 1]. Its weights are generated from the γ of each sample. What a plain hypernetwork generates
grows with γ. `encoding` puts γ on the unit circle, `residual` adds what is generated to base
weights, and `mip` does both (Ortiz et al. 2023). `gradient_variance` is the variance over γ of the
norm of the loss's gradient, relative to its squared mean.
"""

import numpy as np

from reproductions.engine.display import Display
from reproductions.engine.task import Task

MODELS = ("plain", "encoding", "residual", "mip")
METRICS = {"mse": "min", "gradient_variance": "min"}
DATA = {"waves": "sines of a frequency that γ sets, made as they are needed"}
BASE = dict(data="waves", batch=64, learning_rate=1e-3, features=32, hidden=[32, 32], fresh=1024)
PRESETS = {
    "smoke": BASE | dict(seeds=1, epochs=2, steps=3, fresh=32),
    "quick": BASE | dict(seeds=1, epochs=10, steps=60),
    "full": BASE | dict(seeds=5, epochs=50, steps=200, hidden=[64, 64]),
}
DEVIATIONS = (
    "A regression of our own: the paper's tasks (image registration, segmentation, Bayesian "
    "networks) are of another size. Plain heads start by Hyperfan-in, residual ones at zero.",
)
GRID = 11  # values of γ at which gradients are taken


class Waves:
    """Batches ((γ [b, 1], x [b, 2]), y [b, 1])."""

    def __init__(self, config):
        self.config = config
        self.valid, self.test = (self._draw(config["fresh"], split) for split in (1, 2))

    def _draw(self, count, *seed):
        rng = np.random.default_rng(seed)
        gamma, x = rng.uniform(size=(count, 1)), rng.uniform(-1, 1, size=(count, 2))
        return wave(gamma, x)

    def train(self, seed, epoch):
        for step in range(self.config["steps"]):
            yield self._draw(self.config["batch"], 0, seed, epoch, step)


def wave(gamma, x):
    y = np.sin(2 * np.pi * (1 + gamma) * x[:, :1]) + gamma * x[:, 1:]
    return tuple(a.astype("float32") for a in (gamma, x)), y.astype("float32")


def data(name, config, data_dir):
    return Waves(config)


def build(model, config, data):
    import keras
    from keras import layers

    from hyperkeras.layers import MIPEncoding
    from hyperkeras.models import Hypernetwork

    hidden = [layers.Dense(units, "relu") for units in config["hidden"]]
    target = keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(1)])
    encoding = [MIPEncoding()] if model in ("encoding", "mip") else []
    body = [layers.Dense(config["features"], "leaky_relu") for _ in range(2)]
    body = keras.Sequential([keras.Input((1,)), *encoding, *body])
    network = Hypernetwork(
        target, body, per_sample=True, residual=model in ("residual", "mip"), name=model
    )
    network.build([(None, 1), (None, 2)])
    network.compile(keras.optimizers.Adam(config["learning_rate"]), "mse")
    return network


def generated(network):
    return network.num_generated


def evaluate(network, x, y, config):
    predicted = network.predict(list(x), batch_size=512, verbose=0)
    return {
        "mse": float(np.mean((predicted - y) ** 2)),
        "gradient_variance": gradient_variance(network, x[1]),
    }


def gradient_variance(network, x):
    """Var / mean² over γ of the norm of the loss's gradient, the same points x for each γ."""
    import tensorflow as tf

    norms, x = [], x[:256]
    for gamma in np.linspace(0, 1, GRID):
        inputs, y = wave(np.full((len(x), 1), gamma), x)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(list(inputs), training=False) - y))
        weights = [w.value for w in network.trainable_weights]
        norms.append(float(tf.linalg.global_norm(tape.gradient(loss, weights))))
    return float(np.var(norms) / np.mean(norms) ** 2)


TASK = Task(
    name="mip",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    deviations=DEVIATIONS,
    display=Display(families={"hypernetwork": ("*",)}),
    data=data,
    build=build,
    evaluate=evaluate,
    generated=generated,
)
