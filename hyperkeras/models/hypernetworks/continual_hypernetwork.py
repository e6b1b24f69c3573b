"""A hypernetwork that learns tasks one after the other without forgetting."""

import keras
import numpy as np
from keras import ops

from hyperkeras.models.hypernetworks.hypernetwork import Hypernetwork
from hyperkeras.ops.argument_validation import check_int, check_number
from hyperkeras.ops.output_regularization import output_regularizer


@keras.saving.register_keras_serializable(package="hyperkeras")
class ContinualHypernetwork(Hypernetwork):
    r"""A hypernetwork conditioned on a task, which keeps the weights of tasks learned before.

    .. math:: L = L_{\mathrm{task}} + \frac{\beta}{T - 1} \sum_{t < T}
        \left\lVert f(e_t; \Theta^*) - f(e_t; \Theta) \right\rVert^2

    f gives all of a task's weights. Call `finish_task()` after each task: it stores the
    realizations f(e_t; Θ*) of all tasks so far, and from then on they are held in place, by a
    loss that training adds. Nothing of the tasks' data is kept.

    Args:
        target: As for `Hypernetwork`.
        body: As for `Hypernetwork`.
        conditions: Array `[tasks, ...]`, each task's condition in the order in which they are
            learned: `range(tasks)` for a body that begins with an `Embedding`.
        beta: Float β.
        num_sampled: Integer, how many of the stored tasks, drawn at random in each step, the sum
            is estimated from; None for all.
        seed: Integer, or None for a random one.
        **kwargs: As for `Hypernetwork`.

    Parameters: as of `Hypernetwork`, and tasks × N numbers that are not trained.

    Example:

    ```python
    target = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    body = keras.layers.Embedding(2, 4)  # of the task's number
    model = hyperkeras.models.ContinualHypernetwork(target, body, range(2), chunk_size=5)
    x, tasks = keras.random.normal((64, 8)), keras.random.normal((2, 64, 1))
    for task in range(2):
        model.compile("adam", "mse")  # anew: moments of the task before make first steps too large
        model.fit([keras.ops.full((64,), task, dtype="int32"), x], tasks[task], verbose=0)
        model.finish_task()
    ```

    References:
        - [von Oswald et al., 2020](https://arxiv.org/abs/1906.00695)
    """

    def __init__(self, target, body, conditions, beta=0.01, num_sampled=None, seed=None, **kwargs):
        super().__init__(target, body, **kwargs)
        self.conditions = np.asarray(conditions)
        if self.conditions.ndim < 1 or len(self.conditions) < 1:
            raise ValueError(
                "Received an invalid value for `conditions`, expected an array [tasks, ...] with "
                f"one row a task. Received: conditions={conditions!r}"
            )
        self.beta = check_number("beta", beta, 0)
        self.num_sampled = num_sampled
        if num_sampled is not None:
            self.num_sampled = check_int("num_sampled", num_sampled, 1)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        self.realizations = self.add_weight(
            name="realizations",
            shape=(len(self.conditions), self.num_generated),
            initializer="zeros",
            trainable=False,
        )
        self.finished = self.add_weight(
            name="finished", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        super().build(input_shape)

    def finish_task(self):
        """Stores the weights of one task more, and anew those of the tasks before it."""
        if not self.built:
            raise ValueError(f"Expected '{self.name}' to be built before a task is finished.")
        done = int(ops.convert_to_numpy(self.finished.value)) + 1
        if done > len(self.conditions):
            raise ValueError(
                f"Expected at most {len(self.conditions)} finished tasks, one for each of "
                f"`conditions`. Received: task {done}"
            )
        rows = ops.convert_to_numpy(self.generate_flat(self.conditions[:done]))
        stored = ops.convert_to_numpy(self.realizations.value).copy()
        stored[:done] = rows
        self.realizations.assign(stored)
        self.finished.assign(done)

    def call(self, inputs, training=None):
        outputs = super().call(inputs, training=training)
        if training and self.beta:
            self.add_loss(self._change())
        return outputs

    def _change(self):
        """The regularizer over the finished tasks; 0 before the first one is."""
        conditions = ops.convert_to_tensor(self.conditions)
        stored, done = self.realizations.value, self.finished.value
        tasks = len(self.conditions)
        if self.num_sampled is None or self.num_sampled >= tasks:
            kept = ops.cast(ops.arange(tasks) < done, stored.dtype)
        else:
            # The finished tasks with the largest of as many random numbers.
            draws = keras.random.uniform((tasks,), seed=self.seed_generator)
            draws = ops.where(ops.arange(tasks) < done, draws, -1.0)
            largest, index = ops.top_k(draws, self.num_sampled)
            conditions, stored = ops.take(conditions, index, 0), ops.take(stored, index, 0)
            kept = ops.cast(largest >= 0, stored.dtype)
        generated = self.generate_flat(conditions)
        # Rows that do not count are those of the moment, which cost nothing.
        stored = ops.where(kept[:, None] > 0, stored, ops.stop_gradient(generated))
        share = kept.shape[0] / ops.maximum(ops.sum(kept), 1.0)
        return share * output_regularizer(generated, stored, self.beta)

    def get_config(self):
        return {
            **super().get_config(),
            "conditions": self.conditions.tolist(),
            "beta": self.beta,
            "num_sampled": self.num_sampled,
            "seed": self.seed,
        }
