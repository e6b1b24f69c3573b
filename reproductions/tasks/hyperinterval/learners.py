"""The learners of the task: each learns a task's batches, then is told that it is over."""

import math

import numpy as np

from reproductions.tasks.hyperinterval.tasks_in_a_row import TASKS

ROWS = 500  # that are evaluated at a time


def learner(model, config, seed, data):
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    kinds = {"interval_nested": Boxes, "interval_free": Boxes, "point": Points, "ewc": Consolidated}
    return kinds.get(model, Learner)(config, data.pixels, data.outputs)


def _mlp(config, pixels, outputs):
    import keras
    from keras import layers

    hidden = [layers.Dense(units, "relu") for units in config["hidden"]]
    return keras.Sequential([keras.Input((pixels,)), *hidden, layers.Dense(outputs)])


def accuracy(network, pair):
    """The accuracy of a network on (x, y)."""
    x, y = pair
    parts = [np.array(network(x[i : i + ROWS])) for i in range(0, len(x), ROWS)]
    return float(np.mean(np.concatenate(parts).argmax(-1) == y))


class Learner:
    """One network for all tasks: fine-tuning, or all tasks at once."""

    def __init__(self, config, pixels, outputs):
        import keras

        self.config = config
        self.network = self.make(pixels, outputs)
        self.optimizer = keras.optimizers.Adam(config["learning_rate"])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.network.compile(self.optimizer, loss, jit_compile=config["jit"])
        self.optimizer.build(self.network.trainable_variables)
        self.fresh = [np.array(variable) for variable in self.optimizer.variables]

    def make(self, pixels, outputs):
        return _mlp(self.config, pixels, outputs)

    def learn(self, task, x, y):
        # A fresh optimizer for each task: moments of gradients that had become small make steps too
        # large. Without compiling again.
        for variable, value in zip(self.optimizer.variables, self.fresh, strict=True):
            variable.assign(value)
        given = self.inputs(task, x)
        size = self.config["batch"]
        self.network.fit(given, y, batch_size=size, verbose=0, callbacks=self.callbacks())

    def inputs(self, task, x):
        return x

    def callbacks(self):
        return []

    def finish(self, task, pair):
        """Task `task`, with training data (x, y), is over."""

    def one_network(self):
        """The network that serves all tasks."""
        return self.network

    def of_task(self, task):
        """The network that serves a task where its number is known."""
        return self.network

    def boxes(self, pairs):
        """What boxes are good for, by the tasks' test data; None without boxes."""

    def parameters(self):
        weights = self.network.trainable_weights
        return {"trainable": sum(math.prod(w.shape) for w in weights), "generated": 0}


class Consolidated(Learner):
    """Elastic weight consolidation of one network."""

    def make(self, pixels, outputs):
        from baselines.ewc import EWC

        network = EWC(_mlp(self.config, pixels, outputs), self.config["ewc"])
        network.build((None, pixels))
        return network

    def finish(self, task, pair):
        """The mean squared gradient of the log-likelihood of labels that the network draws."""
        import tensorflow as tf

        network, rng = self.network.network, np.random.default_rng(task)
        weights = [w.value for w in network.trainable_weights]

        @tf.function
        def squares(x, uniform):
            with tf.GradientTape() as tape:
                logs = tf.nn.log_softmax(network(x[None])[0])
                below = tf.cumsum(tf.exp(logs)) < uniform
                drawn = tf.minimum(tf.reduce_sum(tf.cast(below, tf.int32)), len(logs) - 1)
                likelihood = logs[drawn]
            return [tf.square(g) for g in tape.gradient(likelihood, weights)]

        count = min(self.config["fisher"], len(pair[0]))
        total = [np.zeros(w.shape) for w in weights]
        for i in rng.permutation(len(pair[0]))[:count]:
            squared = squares(tf.constant(pair[0][i]), tf.constant(rng.uniform(), tf.float32))
            total = [a + np.array(b) for a, b in zip(total, squared, strict=True)]
        self.network.consolidate([a / count for a in total])


class Boxes(Learner):
    """Weights from boxes around the tasks' embeddings."""

    def make(self, pixels, outputs):
        import keras
        from keras import layers

        from hyperkeras.models import IntervalHypernetwork

        config = self.config
        network = IntervalHypernetwork(
            _mlp(config, pixels, outputs),
            keras.Sequential([layers.Dense(units, "relu") for units in config["body"]]),
            TASKS,
            config["embedding"],
            config["epsilon"],
            nested=config["nested"],
            kappa=config["kappa"],
            beta=config["beta"],
        )
        network.build([(None,), (None, pixels)])
        return network

    def inputs(self, task, x):
        return [np.full(len(x), task, "int32"), x]

    def callbacks(self):
        from hyperkeras.models import IntervalRamp

        return [IntervalRamp(self.config["iterations"] // 2)]

    def finish(self, task, pair):
        self.network.finish_task()

    def one_network(self):
        return self.network.materialize(self.network.universal_condition())

    def of_task(self, task):
        return self.network.materialize(np.array([task]))

    def boxes(self, pairs):
        """Certified accuracy at shares of ε, and in how many boxes the one network is."""
        shares = np.linspace(0, 1, 6)
        certified = [
            np.mean([self._certified(t, pair, share) for t, pair in enumerate(pairs)])
            for share in shares
        ]
        weights = np.array(self.network.generate_flat(self.network.universal_condition()))
        lower, upper = (np.array(a) for a in self.network.generate_bounds(np.arange(TASKS)))
        slack = 1e-5 * np.abs(weights).max()
        inside = (lower - slack <= weights) & (weights <= upper + slack)
        return {
            "shares": shares.tolist(),
            "certified": [float(value) for value in certified],
            "inside": float(inside.all(axis=1).mean()),
            "radius": float((upper - lower).mean() / 2),
            "weight": float(np.abs(upper + lower).mean() / 2),
        }

    def _certified(self, task, pair, share):
        """The share of (x, y) that every network in the task's box gets right."""
        from hyperkeras.ops import worst_case_logits

        right = []
        for start in range(0, len(pair[0]), ROWS):
            x, y = (a[start : start + ROWS] for a in pair)
            lower, upper = self.network.bounds([np.array([task]), x], share)
            label = np.eye(lower.shape[-1], dtype="float32")[y]
            worst = np.array(worst_case_logits(lower, upper, label))
            others = np.where(label, -np.inf, worst).max(-1)
            right.append(worst[np.arange(len(y)), y] > others)
        return float(np.concatenate(right).mean())

    def parameters(self):
        return super().parameters() | {"generated": self.network.num_generated}


class Points(Boxes):
    """The plain hypernetwork: boxes without extent. For all tasks it has its mean embedding."""

    def callbacks(self):
        return []

    def one_network(self):
        centers = np.array(self.network.frozen_boxes)[0]
        return self.network.materialize(centers.mean(axis=0, keepdims=True))

    def boxes(self, pairs):
        return None
