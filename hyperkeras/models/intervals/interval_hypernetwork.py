"""A hypernetwork whose condition is a box around each task's embedding."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.annotations import Config, Shape, Tensor
from hyperkeras.layers.heads.base_head import Head
from hyperkeras.layers.heads.dense_head import DenseHead
from hyperkeras.models.hypernetworks import conditions, validation
from hyperkeras.models.hypernetworks.hypernetwork import Hypernetwork
from hyperkeras.models.hypernetworks.variable_substitution import run
from hyperkeras.models.hypernetworks.weight_selection import Selector
from hyperkeras.models.intervals.interval_layers import check_intervals, interval_call
from hyperkeras.ops.argument_validation import (
    check_int,
    check_layer,
    check_number,
    concrete_or_none,
    invalid_value,
)
from hyperkeras.ops.intervals.boxes import common_box, embedding_box
from hyperkeras.ops.intervals.products import Box, interval_dense
from hyperkeras.ops.intervals.worst_case import worst_case_logits
from hyperkeras.ops.output_regularization import output_regularizer


@keras.saving.register_keras_serializable(package="hyperkeras")
class IntervalHypernetwork(Hypernetwork):
    r"""A continual hypernetwork on boxes of embeddings, with bounds of all it gives.

    .. math::
        [\underline w, \overline w] &= \mathrm{head}(\mathrm{body}([c_t - r_t,\; c_t + r_t])),
        \qquad w = (\underline w + \overline w) / 2 \\
        L &= \kappa\, \ell(y, \mathrm{target}(x; w)) + (1 - \kappa)\, \ell(y, z) + \beta R

    A task has a box around its embedding, with center c and radius r (`hyperkeras.ops.
    embedding_box`). Interval arithmetic carries it through body and head to a box of weights, and
    through the target to bounds of the logits. ℓ is the loss that the model is compiled with, one
    of logits. z are the worst logits within the bounds (`hyperkeras.ops.worst_case_logits`).
    Outputs, and metrics, are those of w, the middle of the box of weights.

    **Tasks in a row.** `finish_task()` after each task freezes its box and stores the weights of
    all tasks so far: those in the middle, and with `nested` the bounds, too. From then on R, the
    mean squared change over these tasks, is added in training, as `output_regularizer` has it.

    **One network for all tasks.** Nested boxes always meet. `universal_condition()` is an
    embedding in all of them, and `materialize` makes an ordinary model of it, whose weights lie
    in each task's box of weights: it is right wherever the worst case is. Free boxes need not
    meet, and tasks have to be known.

    **Conditions** are a task's number, an integer for each row of x as for
    `ContinualHypernetwork`, or an embedding `[c, E]`, which is a point without a box.

    **Layers** of target and body have to have bounds: Dense, Conv2D, Activation, ReLU,
    MaxPooling2D and AveragePooling2D, also global, Flatten, Reshape and Add, with activations
    that never fall. Other layers are refused by name. The head is a `DenseHead`.

    Args:
        target: Built Sequential or Functional model that returns logits. It serves one
            hypernetwork and no other model.
        body: Layer or model from embeddings `[c, E]` to features.
        num_tasks: Integer, how many tasks there can be.
        embedding_dim: Integer E, numbers of an embedding.
        epsilon: Float ε, the sum of a box's radii (default 1); 0 makes boxes points.
        nested: Boolean, whether all boxes contain one cube around 0, so that one network serves
            all tasks (default `False`).
        kappa: Float κ between 0 and 1, the share of the loss of the middle (default 0.5); the rest
            is that of the worst case. `IntervalRamp` changes it in training.
        beta: Float β, the factor of R (default 0.01).
        head: A `DenseHead`, or None (default) for a new one.
        select: As for `Hypernetwork`.
        **kwargs: Arguments of `keras.Model`: `name`, `dtype`, `trainable`.

    Input shape:
        `[b]` or `[b, E]` for the condition, one row or equal rows, and `[b, ...]` for x.

    Output shape:
        The target's.

    Parameters: the body's, the head's, and the target's that are not selected; E for each task,
    2 E with free boxes. Not trained: N for each task, 3 N with nested boxes, for N generated
    weights; 2 E for each task, and 3 numbers.

    Example:

    ```python
    target = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, "relu"),
                               keras.layers.Dense(2)])
    body = keras.layers.Dense(6, "relu")
    model = hyperkeras.models.IntervalHypernetwork(target, body, 2, 5, epsilon=2.0, nested=True)
    x, y = keras.random.uniform((64, 8)), np.random.default_rng(0).integers(0, 2, 64)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for task in range(1):  # of 2
        model.compile("adam", loss, metrics=["accuracy"])  # anew, as for ContinualHypernetwork
        ramp = hyperkeras.models.IntervalRamp(steps=1)
        model.fit([np.full(64, task), x], y, callbacks=[ramp], verbose=0)
        model.finish_task()
    plain = model.materialize(model.universal_condition())
    plain(x).shape  # (64, 2)
    ```

    References:
        - [Krukowski et al., 2024](https://arxiv.org/abs/2405.15444)
    """

    def __init__(
        self,
        target: layers.Layer,
        body: layers.Layer,
        num_tasks: int,
        embedding_dim: int,
        epsilon: float = 1.0,
        nested: bool = False,
        kappa: float = 0.5,
        beta: float = 0.01,
        head: Head | None = None,
        select: Selector = None,
        **kwargs: Any,
    ) -> None:
        if head is not None:
            check_layer("head", head, DenseHead, "a DenseHead: other heads have no bounds")
            if head.normalize:
                raise invalid_value("head", "a DenseHead without `normalize`", head)
        super().__init__(target, body, head, select, **kwargs)
        check_intervals("target", target)
        self.num_tasks = check_int("num_tasks", num_tasks, 1)
        self.embedding_dim = check_int("embedding_dim", embedding_dim, 1)
        self.epsilon = check_number("epsilon", epsilon, 0)
        self.nested = bool(nested)
        self.kappa = check_number("kappa", kappa, 0)
        if kappa > 1:
            raise invalid_value("kappa", "a number between 0 and 1", kappa)
        self.beta = check_number("beta", beta, 0)
        # What training takes of ε and of the loss of the middle: see `IntervalRamp`, which sets
        # them before the model is built.
        kappa_start = keras.initializers.Constant(self.kappa)
        self.epsilon_share = self._add_state("epsilon_share", (), "ones")
        self.current_kappa = self._add_state("current_kappa", (), kappa_start)
        self._trained_bounds: Any = lambda: (None, None)

    def _add_state(self, name, shape, initializer="zeros", dtype=None):
        """A weight that is not trained, in full precision."""
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype=dtype,
            trainable=False,
            autocast=False,
        )

    def build(self, input_shape: Shape) -> None:
        tasks, dim = self.num_tasks, self.embedding_dim
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(tasks, dim),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        self.spreads = None
        if not self.nested:
            self.spreads = self.add_weight(name="spreads", shape=(tasks, dim), initializer="zeros")

        self.frozen_boxes = self._add_state("frozen_boxes", (2, tasks, dim))  # centers, radii
        kept = 3 if self.nested else 1
        self.realizations = self._add_state("realizations", (tasks, kept, self.num_generated))
        self.finished = self._add_state("finished", (), dtype="int32")
        super().build([(None, dim), input_shape[1]])
        check_intervals("body", self.body)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        condition, x = self._check_inputs(inputs)
        differ = conditions.rows_differ(condition)
        condition = conditions.first_row(condition)
        share = self.epsilon_share.value if training else 1.0
        lower, upper = self._weight_box(condition, share)
        if differ is not None:
            lower = ops.where(differ, float("nan"), lower)
        outputs = self._run_target((lower + upper) / 2, x, training)
        if training:
            bounds = self._logit_bounds(lower, upper, x)
            self._trained_bounds = lambda: (outputs, bounds)
            if self.beta:
                self.add_loss(self._change())
        return outputs

    def _run_target(self, rows, x, training):
        """The target's outputs with generated weights `[1, N]`."""
        validation.check_used_once(self.target)
        self.selection.check()
        pairs = [(variable, value[0]) for variable, value in self._pairs(rows)]
        kwargs = {} if training is None else {"training": training}
        outputs, losses = run(self.target, pairs, x, **kwargs)
        for loss in losses:
            self.add_loss(loss)
        return outputs

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The compiled loss of the middle; in training mixed with that of the worst case."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        outputs, bounds = self._trained_bounds()
        self._trained_bounds = lambda: (None, None)
        if not training or outputs is not y_pred:
            return loss
        lower, upper = bounds
        worst = worst_case_logits(lower, upper, _as_targets(y, lower))
        # Both have the added losses, whose shares sum to 1.
        kappa = ops.cast(self.current_kappa.value, loss.dtype)
        worst_loss = super().compute_loss(x, y, worst, sample_weight, training)
        return kappa * loss + (1 - kappa) * worst_loss

    def generate_bounds(self, condition: Any, share: float = 1.0) -> Box:
        """Bounds of the generated weights of each condition.

        Args:
            condition: Integer tensor of shape `[c]`, tasks, or embeddings `[c, E]`.
            share: Float, the share of the box's radius (default 1).

        Returns:
            Pair of tensors of shape `[c, N]`, lower and upper. The weights that `generate_flat`
            gives are their middle.
        """
        condition = ops.convert_to_tensor(condition)
        if not self.built:
            raise ValueError(f"Expected '{self.name}' to be built; call it on [condition, x] once.")
        self._check_condition(conditions.shapes_of(condition))
        return self._weight_box(condition, share)

    def bounds(self, inputs: Any, share: float = 1.0) -> Box:
        """Bounds of the outputs for all weights in the box of the condition.

        Args:
            inputs: List [condition, x] of which the condition has one row, or equal rows.
            share: Float, the share of the box's radius (default 1).

        Returns:
            Pair of tensors of the outputs' shape, lower and upper.
        """
        inputs = [ops.convert_to_tensor(part) for part in inputs]
        condition, x = self._check_inputs(inputs)
        conditions.rows_differ(condition)
        lower, upper = self.generate_bounds(conditions.first_row(condition), share)
        return self._logit_bounds(lower, upper, x)

    def universal_condition(self) -> Tensor:
        """An embedding `[1, E]` in the boxes of all finished tasks, the middle of their overlap.

        Free boxes may not overlap; along such axes it is between them.
        """
        done = self._num_finished()
        if not done:
            raise ValueError(
                f"Expected '{self.name}' to have finished a task: call `finish_task` after each. "
                "Received: none finished"
            )
        lower, upper = common_box(*self._embedding_box(ops.arange(done)))
        return ops.expand_dims((lower + upper) / 2, 0)

    def finish_task(self) -> None:
        """Freezes the box of the current task, and stores the weights of all tasks so far."""
        done = self._num_finished() + 1
        if done > self.num_tasks:
            raise ValueError(
                f"Expected at most {self.num_tasks} finished tasks, `num_tasks` of "
                f"'{self.name}'. Received: task {done}"
            )
        lower, upper = (_array(bound) for bound in self._embedding_box([done - 1]))
        frozen = _array(self.frozen_boxes.value)
        frozen[:, done - 1] = (lower + upper)[0] / 2, (upper - lower)[0] / 2
        self.frozen_boxes.assign(frozen)
        self.finished.assign(done)
        stored = _array(self.realizations.value)
        stored[:done] = _array(self._kept_weights(ops.arange(done)))
        self.realizations.assign(stored)

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Refuses: bounds are made of weights in full precision."""
        raise ValueError(
            f"Expected '{self.name}' to stay in full precision, since its bounds are those of its "
            "own weights. Quantize what `materialize` gives. Received: a call of `quantize`"
        )

    def _num_finished(self):
        if not self.built:
            raise ValueError(f"Expected '{self.name}' to be built before a task is finished.")
        return int(ops.convert_to_numpy(self.finished.value))

    def _embedding_box(self, condition, share=1.0):
        """Bounds `[c, E]` of tasks `[c]`, with a share of their radius; an embedding as it is."""
        condition = ops.convert_to_tensor(condition)
        if len(condition.shape) == 2:
            point = ops.cast(condition, self.variable_dtype)
            return point, point
        numbers = concrete_or_none(condition)
        if numbers is not None and not np.all((numbers >= 0) & (numbers < self.num_tasks)):
            raise ValueError(
                f"Expected tasks from 0 to {self.num_tasks - 1} as `condition` of '{self.name}'. "
                f"Received: condition={numbers}"
            )
        learned = embedding_box(
            self.embeddings.value,
            self.epsilon,
            None if self.spreads is None else self.spreads.value,
        )
        is_frozen = (ops.arange(self.num_tasks) < self.finished.value)[:, None]
        task = ops.cast(condition, "int32")
        center, radius = (
            ops.take(ops.where(is_frozen, self.frozen_boxes.value[i], learned[i]), task, axis=0)
            for i in (0, 1)
        )
        return center - share * radius, center + share * radius

    def _weight_box(self, condition, share=1.0):
        """Bounds `[c, N]` of the generated weights."""
        box = self._embedding_box(condition, share)
        lower, upper = interval_call(self.body, box)
        rows = (ops.shape(lower)[0], self.num_features)
        features = ops.reshape(lower, rows), ops.reshape(upper, rows)
        return interval_dense(features, self.head.kernel.value, self.head.bias.value)

    def _rows(self, condition):
        lower, upper = self._weight_box(condition)
        return (lower + upper) / 2

    def _logit_bounds(self, lower, upper, x):
        """Bounds of the target's outputs, from those of its weights `[1, N]`."""
        pairs = zip(self.head.split(lower), self.head.split(upper), strict=True)
        boxes = {
            id(variable): (low[0], high[0])
            for variable, (low, high) in zip(self.selection.variables, pairs, strict=True)
        }
        return interval_call(self.target, x, boxes)

    def _kept_weights(self, tasks):
        """What R compares `[c, 1 or 3, N]`: the middle, and with nested boxes the bounds, too."""
        lower, upper = self._weight_box(tasks)
        middle = (lower + upper) / 2
        return ops.stack([lower, middle, upper] if self.nested else [middle], axis=1)

    def _change(self):
        """βR over the finished tasks; 0 before the first one is."""
        generated = self._kept_weights(ops.arange(self.num_tasks))
        is_kept = ops.arange(self.num_tasks) < self.finished.value
        # Rows that do not count are those of the moment, which cost nothing.
        stored = ops.where(is_kept[:, None, None], self.realizations.value, generated)
        share = self.num_tasks / ops.maximum(ops.cast(self.finished.value, stored.dtype), 1.0)
        rows = (-1, self.num_generated)
        stored, generated = ops.reshape(stored, rows), ops.reshape(generated, rows)
        return share * output_regularizer(generated, stored, self.beta)

    def _check_condition(self, shapes: Any) -> None:
        if len(shapes) == 1 or (len(shapes) == 2 and shapes[1] in (None, self.embedding_dim)):
            return
        raise ValueError(
            f"Expected `condition` of '{self.name}' to be tasks of shape [c], or embeddings of "
            f"shape [c, {self.embedding_dim}]. Received: condition of shape {shapes}"
        )

    def _warn_if_constant(self, inputs: Any, trained: bool = False) -> None:
        """No warning: weights that do not depend on the task are a result of this method."""

    def get_config(self) -> Config:
        config = super().get_config()
        del config["per_sample"], config["residual"]
        return {
            **config,
            "num_tasks": self.num_tasks,
            "embedding_dim": self.embedding_dim,
            "epsilon": self.epsilon,
            "nested": self.nested,
            "kappa": self.kappa,
            "beta": self.beta,
        }


def _array(tensor):
    """A copy as an array."""
    return np.array(ops.convert_to_numpy(ops.stop_gradient(tensor)))


def _as_targets(y, logits):
    """Labels as numbers of the logits' shape: classes' numbers become one-hot rows."""
    y, classes = ops.convert_to_tensor(y), logits.shape[-1]
    if classes == 1 or (len(y.shape) == len(logits.shape) and y.shape[-1] == classes):
        return ops.reshape(y, ops.shape(logits))
    rows = ops.reshape(ops.cast(y, "int32"), ops.shape(logits)[:-1])
    return ops.one_hot(rows, classes, dtype=logits.dtype)
