"""The learners of the continual task: each learns a task's batches, then is told it is over."""

import math

import numpy as np

TASKS, CLASSES = 5, 2  # two digits a task


def learner(model, config, seed, pixels):
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    kinds = {"hypernetwork": Hypernetworks, "ewc": Consolidated, "separate": Separate}
    return kinds.get(model, Learner)(config, pixels)


def _mlp(config, pixels):
    import keras
    from keras import layers

    hidden = [layers.Dense(units, "relu") for units in config["hidden"]]
    return keras.Sequential([keras.Input((pixels,)), *hidden, layers.Dense(TASKS * CLASSES)])


def head_loss(y, logits):
    """Cross-entropy among the two outputs of the label's own task."""
    import keras
    from keras import ops

    y = ops.cast(ops.reshape(y, (-1,)), "int32")
    heads = ops.reshape(logits, (-1, TASKS, CLASSES))
    own = ops.sum(heads * ops.one_hot(y // CLASSES, TASKS)[..., None], axis=1)
    return keras.losses.sparse_categorical_crossentropy(y % CLASSES, own, from_logits=True)


class Learner:
    """A plain network: fine-tuning, or all tasks at once."""

    compiles_anew = False

    def __init__(self, config, pixels):
        self.config = config
        self.network = self.make(pixels)

    def make(self, pixels):
        return _mlp(self.config, pixels)

    def inputs(self, task, x):
        return x

    def learn(self, batches, count):
        import keras

        def given():
            for task, x, y in batches:
                yield self.inputs(task, x), y

        # Adam begins anew: moments of gradients that had become small make steps too large.
        if self.compiles_anew or not self.network.compiled:
            self.network.compile(keras.optimizers.Adam(), head_loss)
        optimizer = self.network.optimizer
        for variable in optimizer.variables:
            variable.assign(np.zeros(variable.shape))
        optimizer.learning_rate = self.config["learning_rate"]
        self.network.fit(given(), steps_per_epoch=count, epochs=1, verbose=0, shuffle=False)

    def finish(self, task, data):
        """Task `task`, with training data (x, y), is over."""

    def logits(self, x):
        """Each task's own outputs [tasks, n, 2]."""
        y = self.network.predict(x, batch_size=500, verbose=0)
        return np.moveaxis(y.reshape(-1, TASKS, CLASSES), 1, 0)

    def test(self, task, data):
        """Accuracies on (x, y) of `task`: known, and inferred by the lowest entropy."""
        x, y = data
        logits = self.logits(x)
        known = np.argmax(logits[task], -1) + CLASSES * task
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p = p / p.sum(-1, keepdims=True)
        entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(-1)  # [tasks, n]
        chosen = np.argmin(entropy, axis=0)
        inferred = np.argmax(logits[chosen, np.arange(len(x))], -1) + CLASSES * chosen
        return float(np.mean(known == y)), float(np.mean(inferred == y))

    def parameters(self):
        weights = self.network.trainable_weights
        return {"trainable": sum(math.prod(w.shape) for w in weights), "generated": 0}


class Consolidated(Learner):
    """Elastic weight consolidation."""

    def make(self, pixels):
        from baselines.ewc import EWC

        network = EWC(_mlp(self.config, pixels), self.config["ewc"])
        network.build((None, pixels))
        return network

    def finish(self, task, data):
        """The mean squared gradient of the log-likelihood of labels that the network draws."""
        import tensorflow as tf

        network, rng = self.network.network, np.random.default_rng(task)
        weights = [w.value for w in network.trainable_weights]

        @tf.function
        def squares(x, uniform):
            with tf.GradientTape() as tape:
                own = network(x[None])[0, CLASSES * task : CLASSES * (task + 1)]
                logs = tf.nn.log_softmax(own)
                drawn = tf.cast(uniform > tf.exp(logs[0]), tf.int32)
                likelihood = logs[drawn]
            return [tf.square(g) for g in tape.gradient(likelihood, weights)]

        count = min(self.config["fisher"], len(data[0]))
        total = [np.zeros(w.shape) for w in weights]
        for i in rng.permutation(len(data[0]))[:count]:
            squared = squares(tf.constant(data[0][i]), tf.constant(rng.uniform(), tf.float32))
            total = [a + np.array(b) for a, b in zip(total, squared, strict=True)]
        self.network.consolidate([a / count for a in total])


class Separate(Learner):
    """A network for each task, which is what no method can share or forget."""

    def make(self, pixels):
        self.networks = [_mlp(self.config, pixels) for _ in range(TASKS)]
        self.latest = -1
        return self.networks[0]

    def learn(self, batches, count):
        self.latest += 1
        self.network = self.networks[self.latest]
        super().learn(batches, count)

    def logits(self, x):
        outputs = [network.predict(x, batch_size=500, verbose=0) for network in self.networks]
        return np.stack([y[:, CLASSES * t : CLASSES * (t + 1)] for t, y in enumerate(outputs)])

    def parameters(self):
        return {"trainable": TASKS * super().parameters()["trainable"], "generated": 0}


class Hypernetworks(Learner):
    """The MLP's weights in chunks, from the task's embedding."""

    compiles_anew = True  # for the number of finished tasks

    def make(self, pixels):
        import keras
        from keras import layers

        from hyperkeras.layers import ChunkedHead
        from hyperkeras.models import ContinualHypernetwork

        normal = keras.initializers.RandomNormal
        size = self.config["embedding"]
        tasks = keras.Sequential(
            [
                keras.Input((), dtype="int32"),
                layers.Embedding(TASKS, size, embeddings_initializer=normal(stddev=1.0)),
            ]
        )
        hidden = [layers.Dense(10, "relu") for _ in range(4)]
        head = ChunkedHead(
            self.config["chunk"],
            size,
            keras.Sequential([keras.Input((2 * size,)), *hidden]),
            embedding_initializer=normal(stddev=0.1),
            initializer="glorot_uniform",
            order=self.config.get("chunk_order", "stored"),
        )
        network = ContinualHypernetwork(
            _mlp(self.config, pixels),
            tasks,
            range(TASKS),
            beta=self.config["beta"],
            head=head,
        )
        network.build([(None,), (None, pixels)])
        return network

    def inputs(self, task, x):
        return task, x

    def finish(self, task, data):
        self.network.finish_task()

    def logits(self, x):
        outputs = []
        for t in range(TASKS):
            given = [np.full(len(x), t, "int32"), x]
            y = self.network.predict(given, batch_size=500, verbose=0)
            outputs.append(y[:, CLASSES * t : CLASSES * (t + 1)])
        return np.stack(outputs)

    def parameters(self):
        return super().parameters() | {"generated": self.network.num_generated}
