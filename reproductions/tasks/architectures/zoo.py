"""Architectures as Keras models, what training makes of them, and the images."""

import functools
import math

import numpy as np

from reproductions.tasks.architectures import space

ROWS = 500  # images that are seen at a time


class Zoo:
    """Images and architectures: `training` ones, and `splits` of those never trained on.

    Args:
        images: {split: (x [n, h, w, c], y [n])}.
        config: The preset's settings.
    """

    def __init__(self, images, config):
        self.images, self.config = images, config
        rng = np.random.default_rng(0)
        shallow = space.SHALLOW if config.get("shallow") else {}
        known = space.draw_new(rng, config["architectures"], **shallow)
        self.architectures = {"training": known}
        for name, changes in space.SPLITS.items():
            drawn = space.draw_new(rng, config["unseen"][name], known, **changes | shallow)
            self.architectures[name] = drawn

    @functools.cached_property
    def networks(self):
        """{name: [a Keras model of each architecture]}."""
        shape = self.images["train"][0].shape[1:]
        return {
            name: [space.build(architecture, shape, 10) for architecture in architectures]
            for name, architectures in self.architectures.items()
        }

    @functools.cache  # noqa: B019 (a zoo lives as long as its process)
    def truth(self, seed):
        """What training makes of unseen architectures: {split: {name: [a figure for each]}}."""
        found = {}
        for name in space.SPLITS:
            rows = []
            for i, network in enumerate(self.networks[name]):
                he_start(network, [seed, i])
                marks = (self.config["early"], self.config["steps"])
                early, last = self.train(network, [seed, i], marks)
                count = sum(math.prod(w.shape) for w in network.trainable_weights)
                rows.append({"early": early, "trained": last, "parameters": count})
            found[name] = {key: [row[key] for row in rows] for key in rows[0]}
        return found

    def batches(self, entropy, count, size):
        """`count` batches of training images: x [count, size, …], y [count, size]."""
        x, y = self.images["train"]
        chosen = np.random.default_rng(entropy).integers(0, len(x), (count, size))
        return x[chosen], y[chosen]

    def train(self, network, entropy, marks):
        """Trains a network from the weights that it has; its accuracies after steps `marks`."""
        prepare(network, self.config)
        x, y = self.batches(entropy, max(marks), self.config["batch"])
        found = [self.accuracy(network)] if 0 in marks else []
        for step in range(max(marks)):
            network.train_on_batch(x[step], y[step])
            if step + 1 in marks:
                found.append(self.accuracy(network))
        return found

    def accuracy(self, network, split="test"):
        """A network's accuracy, with batch norm by the statistics of training images."""
        network(self.images["train"][0][:ROWS], training=True)
        x, y = self.images[split]
        parts = [np.array(network(x[i : i + ROWS])) for i in range(0, len(x), ROWS)]
        return float(np.mean(np.concatenate(parts).argmax(-1) == y))


def he_start(network, entropy):
    """Gives a network the weights that training starts from."""
    rng = np.random.default_rng(entropy)
    for variable in network.trainable_variables:
        shape = variable.shape
        if len(shape) > 1:
            depthwise = variable.path.split("/")[0].startswith("depthwise")
            fan_in = math.prod(shape[:2] if depthwise else shape[:-1])
            variable.assign(rng.normal(size=shape, scale=math.sqrt(2 / fan_in)))
        else:
            variable.assign(np.full(shape, float(variable.name == "gamma")))


def prepare(network, config):
    """Compiles a network once, and then lets its optimizer begin anew."""
    import keras

    if not network.compiled:
        rate = keras.optimizers.schedules.CosineDecay(config["rate"], config["steps"])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        network.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
        network.optimizer.build(network.trainable_variables)
    for variable in network.optimizer.variables:  # moments and the count of steps
        variable.assign(np.zeros(variable.shape))
