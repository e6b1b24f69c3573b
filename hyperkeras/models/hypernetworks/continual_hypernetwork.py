"""A hypernetwork that learns tasks one after the other without forgetting."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.annotations import Config, Seed, Shape
from hyperkeras.keras_internals import own_losses, state_variables, sublayers
from hyperkeras.models.continual import frozen_conditions
from hyperkeras.models.continual.regularized_weights import RegularizedWeights
from hyperkeras.models.hypernetworks import conditions as condition_checks
from hyperkeras.models.hypernetworks.hypernetwork import Hypernetwork
from hyperkeras.ops.argument_validation import (
    check_int_or_none,
    check_number,
    concrete_or_none,
    invalid_value,
)
from hyperkeras.ops.output_regularization import output_regularizer


@keras.saving.register_keras_serializable(package="hyperkeras")
class ContinualHypernetwork(Hypernetwork):
    r"""A hypernetwork that learns tasks one after the other and keeps the weights of earlier ones.

    .. math:: L = L_{\mathrm{task}} + \frac{\beta}{T - 1} \sum_{t < T}
        \left\lVert f(e_t; \Theta^*) - f(e_t; \Theta) \right\rVert^2

    f gives all weights of a task. Call `finish_task()` after each task. It stores the generated
    weights f(e_t; Θ*) of all tasks so far. From then on a loss that is added in training holds
    them in place. It is added once in a step, however often a model around this one calls it. None
    of the tasks' data is kept. A step generates the weights of the finished tasks, or of as many
    as `num_sampled` says. Code that was compiled before the last task was finished generates those
    of all tasks, with the same result: call `compile` after `finish_task`.

    **Moving statistics** of the target, as of `BatchNormalization`, are stored for each task when
    it is finished, and serve that task's evaluation. With `per_sample=True` they are not: the last
    task's serve all.

    **Frozen conditions.** With `freeze_conditions=True` the regularizer sends no gradient to the
    body's embeddings, so that those of finished tasks stay as they are, as in the paper's code.
    That needs an optimizer without moments of earlier tasks and without weight decay: compile anew
    for each task.

    **Own heads.** Where each task has outputs of its own, the weights of the others' need not be
    held: see `regularized`.

    **β stands beside the loss that the model is compiled with**, in Keras a mean over the batch.
    Beside a sum over n samples, as some published settings count it, the same weight is n times as
    large.

    **Trainable weights that are not generated** change with every task, so that earlier tasks lose
    what they had learned. `finish_task` warns of them: select or freeze them. So it does of moving
    statistics in the body or head, on which the weights of all tasks depend.

    Args:
        target: As for `Hypernetwork`.
        body: As for `Hypernetwork`.
        conditions: Array `[tasks, ...]`, the condition of each task in the order in which they are
            learned: `range(tasks)` for a body that begins with an `Embedding`. A dictionary of
            such arrays for a body of several inputs.
        beta: Float β, the factor of the added loss (default 0.01).
        num_sampled: Integer, how many of the stored tasks, drawn at random in each step, the sum
            is estimated from; None for all (default).
        seed: Integer, the seed of these draws, or None for a random one (default).
        freeze_conditions: Boolean, whether embeddings of finished tasks stay as they are (default
            `False`: they go on learning with the regularizer).
        regularized: Which weights of a task are held: None for all (default), or a function
            `(variable, task)` that returns a boolean, or a boolean array that broadcasts to the
            variable's shape. Instead of the function, its values: for each task a list with one
            for each of `generated_weights`.
        **kwargs: As for `Hypernetwork`.

    Parameters: as of `Hypernetwork`, and tasks × N numbers that are not trained, as well as
    tasks × (S + 1) for S moving statistics.

    Example:

    ```python
    target = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    body = keras.layers.Embedding(2, 4)  # of the task's number
    head = hyperkeras.layers.ChunkedHead(5)
    model = hyperkeras.models.ContinualHypernetwork(target, body, range(2), head=head)
    x, tasks = keras.random.normal((64, 8)), keras.random.normal((2, 64, 1))
    for task in range(2):
        model.compile("adam", "mse")  # anew: moments of the task before make first steps too large
        model.fit([keras.ops.full((64,), task, dtype="int32"), x], tasks[task], verbose=0)
        model.finish_task()
    ```

    References:
        - [von Oswald et al., 2020](https://arxiv.org/abs/1906.00695)
    """

    def __init__(
        self,
        target: layers.Layer,
        body: layers.Layer,
        conditions: Any,
        beta: float = 0.01,
        num_sampled: int | None = None,
        seed: Seed = None,
        freeze_conditions: bool = False,
        regularized: Callable | Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(target, body, **kwargs)
        arrays = _arrays(conditions)
        # Keras makes a dictionary that is an attribute one of its own kind, which bodies refuse.
        self.conditions = arrays
        self._conditions = lambda: arrays
        sizes = {a.shape[:1] for a in keras.tree.flatten(arrays)}
        if len(sizes) != 1 or sizes <= {(), (0,)}:
            raise invalid_value(
                "conditions", "an array [tasks, ...] with one row a task", conditions
            )
        ((self.num_tasks,),) = sizes
        self.beta = check_number("beta", beta, 0)
        self.num_sampled = check_int_or_none("num_sampled", num_sampled, 1)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.freeze_conditions = bool(freeze_conditions)
        self._embeddings: Callable = list
        if self.freeze_conditions:
            embeddings = frozen_conditions.embeddings_of(body)
            self._embeddings = lambda: embeddings
        self.regularized = None
        if regularized is not None:
            self.regularized = RegularizedWeights(
                regularized, self.generated_weights, self.num_tasks
            )
        self._added_change: Callable = lambda: None
        self._known_finished = 0  # the value of `finished`, where a trace has none
        generated = {id(variable) for variable in self.generated_weights}
        self._state_variables = lambda: [
            v
            for v in state_variables(target)
            if id(v) not in generated and keras.backend.is_float_dtype(v.dtype)
        ]

    def build(self, input_shape: Shape) -> None:
        self.realizations = self.add_weight(
            name="realizations",
            shape=(self.num_tasks, self.num_generated),
            initializer="zeros",
            trainable=False,
            autocast=False,
        )
        self.finished = self.add_weight(
            name="finished", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        super().build(input_shape)

    def _build_state(self) -> None:
        """Adds what keeps the target's moving statistics of each task, after all other weights."""
        self.statistics: list[keras.Variable] = []
        self.has_statistics: Any = None
        if self.per_sample or not self._state_variables():
            return
        self.statistics = [
            self.add_weight(
                name=f"statistics_{i}",
                shape=(self.num_tasks, *variable.shape),
                initializer="zeros",
                trainable=False,
                autocast=False,
            )
            for i, variable in enumerate(self._state_variables())
        ]
        self.has_statistics = self.add_weight(
            name="has_statistics",
            shape=(self.num_tasks,),
            dtype="int32",
            initializer="zeros",
            trainable=False,
        )

    def load_own_variables(self, store: Any) -> None:
        """As for any layer; files from before statistics were kept for each task have none."""
        added = [*self.statistics, *([self.has_statistics] if self.statistics else [])]
        inside = {id(v) for layer in self.layers for v in layer.variables}
        own = [v for v in self.weights if id(v) not in inside]
        values = {key: store[key] for key in store.keys()}
        first = len(own) - len(added)
        if len(values) == first:
            values.update({str(first + i): v.value for i, v in enumerate(added)})
        super().load_own_variables(values)
        self._known_finished = int(ops.convert_to_numpy(self.finished.value))

    @property
    def task_conditions(self) -> Any:
        """The condition of each task, `[tasks, ...]`, nested as it was given."""
        return self._conditions()

    def finish_task(self) -> None:
        """Stores the generated weights of all tasks so far, and statistics of the last one."""
        if not self.built:
            raise ValueError(f"Expected '{self.name}' to be built before a task is finished.")
        done = int(ops.convert_to_numpy(self.finished.value)) + 1
        if done > self.num_tasks:
            raise ValueError(
                f"Expected at most {self.num_tasks} finished tasks, one for each of "
                f"`conditions`. Received: task {done}"
            )
        learned = keras.tree.map_structure(lambda a: a[:done], self._conditions())
        _assign_rows(self.realizations, slice(done), self.generate_flat(learned))
        for stored, variable in zip(self.statistics, self._state_variables(), strict=False):
            _assign_rows(stored, done - 1, variable.value)
        if self.statistics:
            _assign_rows(self.has_statistics, done - 1, 1)
        self.finished.assign(done)
        self._known_finished = done
        self._warn_of_what_is_lost()
        condition_checks.warn_if_constant(self, self._conditions(), trained=True)

    def _warn_of_what_is_lost(self):
        generated = {id(variable) for variable in self.generated_weights}
        lost = [w.path for w in self.target.trainable_weights if id(w) not in generated]
        if lost:
            warnings.warn(
                f"'{self.name}' keeps generated weights alone. Training later tasks changes these "
                "weights of its target, and earlier tasks lose what they had learned in them; add "
                f"them to `select`, or freeze their layers: {lost}",
                stacklevel=3,
            )
        if self.per_sample and self._state_variables():
            warnings.warn(
                f"'{self.name}' can't keep moving statistics of each task with per_sample=True: "
                "after another task is learned, earlier ones are evaluated with its statistics: "
                f"{[v.path for v in self._state_variables()]}",
                stacklevel=3,
            )
        moving = [v.path for v in _moving_statistics([self.body, self.head])]
        if moving:
            warnings.warn(
                f"The weights that '{self.name}' generates change with moving statistics of its "
                "body or head, which no regularizer holds: earlier tasks lose what they had "
                "learned as later ones move them. Use layers without such statistics, as "
                f"LayerNormalization, or freeze them: {moving}",
                stacklevel=3,
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        outputs = super().call(inputs, training=training)
        if training and self.beta and not self._change_is_added():
            change = self._change()
            self.add_loss(change)
            self._added_change = lambda: change
        return outputs

    def _change_is_added(self):
        """Whether a call in the same step has added the loss, as in a siamese model."""
        added = self._added_change()
        return added is not None and any(loss is added for loss in own_losses(self))

    def _state(self, condition, training):
        """The statistics of the condition's task, where it is finished; else those of now."""
        if training or self.has_statistics is None:
            return []
        same = ops.cast(self.has_statistics.value, "bool")  # [tasks]
        pairs = zip(
            keras.tree.flatten(condition), keras.tree.flatten(self._conditions()), strict=True
        )
        for part, tasks in pairs:
            part = ops.convert_to_tensor(part)
            tasks = ops.cast(ops.convert_to_tensor(tasks), part.dtype)
            equal = ops.reshape(ops.equal(tasks, part[:1]), (self.num_tasks, -1))
            same = ops.logical_and(same, ops.all(equal, axis=1))
        known, task = ops.any(same), ops.argmax(ops.cast(same, "int32"))
        return [
            (variable, ops.where(known, ops.take(stored.value, task, axis=0), variable.value))
            for variable, stored in zip(self._state_variables(), self.statistics, strict=True)
        ]

    def _change(self):
        """The regularizer over the finished tasks; 0 before the first one is."""
        stored, done = self.realizations.value, self.finished.value
        tasks, rows = self.num_tasks, min(self.num_sampled or self.num_tasks, self.num_tasks)
        index = ops.arange(tasks)
        kept = ops.cast(index < done, stored.dtype)
        if rows < tasks:
            # The finished tasks with the largest of as many random numbers.
            draws = keras.random.uniform((tasks,), seed=self.seed_generator, dtype=stored.dtype)
            draws = ops.where(ops.arange(tasks) < done, draws, -1.0)
            largest, index = ops.top_k(draws, rows)
            kept = ops.cast(largest >= 0, stored.dtype)

        def change(count):
            return self._change_of(index[:count], kept[:count])

        # Those that count come first. Compiled code has fixed shapes: where it was compiled before
        # another task was finished, it generates the weights of all.
        count = concrete_or_none(done)
        if count is not None:
            return change(min(int(count), rows))
        known = self._known_finished
        if known >= rows or not self._may_branch():
            return change(rows)
        return ops.cond(ops.equal(done, known), lambda: change(known), lambda: change(rows))

    def _change_of(self, index, kept):
        """The regularizer over the tasks at `index`, of which those with `kept` > 0 count."""
        stored = self.realizations.value
        if kept.shape[0] == 0:
            return ops.zeros((), stored.dtype)
        stored = ops.take(stored, index, 0)
        conditions = keras.tree.map_structure(
            lambda a: ops.take(ops.convert_to_tensor(a), index, 0), self._conditions()
        )
        generated = frozen_conditions.with_still_embeddings(
            self._embeddings(), self.generate_flat, conditions
        )
        counts = kept[:, None] > 0
        if self.regularized is not None:
            counts = ops.logical_and(counts, ops.take(self.regularized.rows(), index, 0))
        # What does not count is as of the moment, which costs nothing.
        stored = ops.where(counts, stored, ops.stop_gradient(generated))
        share = kept.shape[0] / ops.maximum(ops.sum(kept), 1.0)
        change = share * output_regularizer(generated, stored, self.beta)
        return ops.cast(change, self.realizations.value.dtype)

    def _may_branch(self):
        """Whether a branch of compiled code may generate weights: nothing there may be updated."""
        parts = [*sublayers(self.body), *sublayers(self.head)]
        updated = [*self.body.non_trainable_variables, *self.head.non_trainable_variables]
        return not updated and all(part.activity_regularizer is None for part in parts)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "conditions": keras.tree.map_structure(lambda a: a.tolist(), self._conditions()),
            "beta": self.beta,
            "num_sampled": self.num_sampled,
            "seed": self.seed,
            "freeze_conditions": self.freeze_conditions,
            "regularized": self.regularized and self.regularized.entries(),
        }


def _arrays(conditions):
    if isinstance(conditions, dict):
        return {key: np.asarray(value) for key, value in conditions.items()}
    return np.asarray(conditions)


def _moving_statistics(networks):
    """The statistics that layers of `networks` update in training."""
    found: dict[int, keras.Variable] = {}
    for network in networks:
        parts = sublayers(network)
        # An outer layer's states are those inside it too, and come first here.
        for part in parts:
            found.update((id(v), v) for v in state_variables(part))
        for part in parts:  # Normalization has statistics of `adapt`, which stay
            if not part.trainable or isinstance(part, layers.Normalization):
                for variable in state_variables(part):
                    found.pop(id(variable), None)
    return [v for v in found.values() if keras.backend.is_float_dtype(v.dtype)]


def _assign_rows(variable, rows, values):
    """Sets rows of a variable, by way of NumPy: the backends' own ways differ."""
    array = ops.convert_to_numpy(variable.value).copy()
    array[rows] = ops.convert_to_numpy(values)
    variable.assign(array)
