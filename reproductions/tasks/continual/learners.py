"""The learners of the continual task: each learns a task's batches, then is told it is over."""

import math

import numpy as np


def learner(kind, config, seed, data):
    """A `Learner` of this class for `Tasks`, from a seed."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    return kind(config, data)


def head_loss(tasks, classes):
    """Cross-entropy among the outputs of the label's own task."""

    def loss(y, logits):
        import keras
        from keras import ops

        y = ops.cast(ops.reshape(y, (-1,)), "int32")
        heads = ops.reshape(logits, (-1, tasks, classes))
        own = ops.sum(heads * ops.one_hot(y // classes, tasks)[..., None], axis=1)
        return keras.losses.sparse_categorical_crossentropy(y % classes, own, from_logits=True)

    return loss


class Learner:
    """A plain network: fine-tuning, or all tasks at once."""

    compiles_anew = False

    def __init__(self, config, data):
        self.config, self.pixels = config, data.pixels
        self.tasks, self.classes = data.count, data.classes
        self.network = self.make()

    def make(self):
        return self.mlp()

    def mlp(self):
        import keras
        from keras import layers

        hidden = [layers.Dense(units, "relu") for units in self.config["hidden"]]
        outputs = layers.Dense(self.tasks * self.classes, name="outputs")
        return keras.Sequential([keras.Input((self.pixels,)), *hidden, outputs])

    def own(self, task):
        """The outputs of a task."""
        return slice(self.classes * task, self.classes * (task + 1))

    def inputs(self, task, x):
        return x

    def learn(self, batches, count):
        import keras

        def given():
            for task, x, y in batches:
                yield self.inputs(task, x), y

        # Adam begins anew: moments of gradients that had become small make steps too large.
        if self.compiles_anew or not self.network.compiled:
            adam = keras.optimizers.Adam(epsilon=self.config.get("epsilon", 1e-7))
            self.network.compile(adam, head_loss(self.tasks, self.classes))
        optimizer = self.network.optimizer
        for variable in optimizer.variables:
            variable.assign(np.zeros(variable.shape))
        optimizer.learning_rate = self.config["learning_rate"]
        self.network.fit(given(), steps_per_epoch=count, epochs=1, verbose=0, shuffle=False)

    def finish(self, task, data):
        """Task `task`, with training data (x, y), is over."""

    def own_logits(self, task, x):
        """A task's own outputs [n, classes]."""
        return self.network.predict(x, batch_size=500, verbose=0)[:, self.own(task)]

    def logits(self, x):
        """Each task's own outputs [tasks, n, classes]."""
        y = self.network.predict(x, batch_size=500, verbose=0)
        return np.moveaxis(y.reshape(-1, self.tasks, self.classes), 1, 0)

    def known(self, task, data):
        """Accuracy on (x, y) of `task`, which is known."""
        x, y = data
        return float(np.mean(np.argmax(self.own_logits(task, x), -1) + self.classes * task == y))

    def test(self, task, data):
        """Accuracies on (x, y) of `task`: known, and inferred by the lowest entropy."""
        x, y = data
        logits = self.logits(x)
        known = np.argmax(logits[task], -1) + self.classes * task
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p = p / p.sum(-1, keepdims=True)
        entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(-1)  # [tasks, n]
        chosen = np.argmin(entropy, axis=0)
        inferred = np.argmax(logits[chosen, np.arange(len(x))], -1) + self.classes * chosen
        return float(np.mean(known == y)), float(np.mean(inferred == y))

    def parameters(self):
        weights = self.network.trainable_weights
        return {"trainable": sum(math.prod(w.shape) for w in weights), "generated": 0}


class Consolidated(Learner):
    """Elastic weight consolidation."""

    def make(self):
        from baselines.ewc import EWC

        network = EWC(self.mlp(), self.config["ewc"])
        network.build((None, self.pixels))
        return network

    def finish(self, task, data):
        """The mean squared gradient of the log-likelihood of labels that the network draws."""
        import tensorflow as tf

        network, rng = self.network.network, np.random.default_rng(task)
        weights = [w.value for w in network.trainable_weights]

        @tf.function
        def squares(x, uniform):
            with tf.GradientTape() as tape:
                logs = tf.nn.log_softmax(network(x[None])[0, self.own(task)])
                drawn = tf.reduce_sum(tf.cast(uniform > tf.cumsum(tf.exp(logs))[:-1], tf.int32))
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

    def make(self):
        self.networks = [self.mlp() for _ in range(self.tasks)]
        self.latest = -1
        return self.networks[0]

    def learn(self, batches, count):
        self.latest += 1
        self.network = self.networks[self.latest]
        super().learn(batches, count)

    def own_logits(self, task, x):
        return self.networks[task].predict(x, batch_size=500, verbose=0)[:, self.own(task)]

    def logits(self, x):
        return np.stack([self.own_logits(t, x) for t in range(self.tasks)])

    def parameters(self):
        return {"trainable": self.tasks * super().parameters()["trainable"], "generated": 0}


def embedded_tasks(count, size):
    """A body: an embedding of `size` numbers for each task."""
    import keras
    from keras import layers

    start = keras.initializers.RandomNormal(stddev=1.0)
    table = layers.Embedding(count, size, embeddings_initializer=start)
    return keras.Sequential([keras.Input((), dtype="int32"), table])


def chunked_head(config):
    """The head that makes all weights of a task in chunks."""
    import keras
    from keras import layers

    from hyperkeras.layers import ChunkedHead

    size, part = config["embedding"], config.get("chunk_embedding")
    part = part or size
    hidden = [layers.Dense(units, "relu") for units in config.get("generator", [10] * 4)]
    return ChunkedHead(
        config["chunk"],
        part,
        keras.Sequential([keras.Input((size + part,)), *hidden]),
        embedding_initializer=keras.initializers.RandomNormal(stddev=0.1),
        initializer="glorot_uniform",
        order=config.get("chunk_order", "stored"),
    )


class Hypernetworks(Learner):
    """The MLP's weights in chunks, from the task's embedding."""

    compiles_anew = True  # for the number of finished tasks

    def make(self):

        from hyperkeras.models import ContinualHypernetwork

        tasks = embedded_tasks(self.tasks, self.config["embedding"])
        # Before the target: what is drawn from a seed comes in the order of the records.
        head = self.head()
        network = ContinualHypernetwork(
            self.mlp(),
            tasks,
            range(self.tasks),
            beta=self.config["beta"],
            num_sampled=self.config.get("num_sampled"),
            freeze_conditions=self.config.get("frozen", False),
            regularized=self.regularized if self.config.get("held") == "own" else None,
            head=head,
        )
        network.build([(None,), (None, self.pixels)])
        return network

    def head(self):
        return chunked_head(self.config)

    def regularized(self, variable, task):
        """Whether a weight of a task is held: of the outputs, its own alone."""
        if "outputs" not in variable.path:
            return True
        return np.arange(self.tasks * self.classes) // self.classes == task

    def inputs(self, task, x):
        return task, x

    def finish(self, task, data):
        self.network.finish_task()

    def own_logits(self, task, x):
        given = [np.full(len(x), task, "int32"), x]
        return self.network.predict(given, batch_size=500, verbose=0)[:, self.own(task)]

    def logits(self, x):
        return np.stack([self.own_logits(t, x) for t in range(self.tasks)])

    def parameters(self):
        return super().parameters() | {"generated": self.network.num_generated}


LEARNERS = {"hypernetwork": Hypernetworks, "ewc": Consolidated, "separate": Separate}
