"""Callback that lets boxes and the worst case in step by step."""

import keras

from hyperkeras.models.intervals.interval_hypernetwork import IntervalHypernetwork
from hyperkeras.ops.argument_validation import check_int, check_layer, check_number


class IntervalRamp(keras.callbacks.Callback):
    r"""Callback that lets the boxes of an `IntervalHypernetwork` grow in the first steps.

    .. math:: \varepsilon_i = \varepsilon\, \frac{i}{n - 1}, \qquad
        \kappa_i = \max(1 - d\, i,\; \kappa)

    in step i of the first n, counted from the start of `fit`; from then on ε and κ as the model
    has them. Without it training starts with boxes of full size, whose bounds are wide.

    Args:
        steps: Integer n, how many steps they grow.
        kappa_decay: Float d, by how much κ falls in a step (default 5e-5, as in the authors'
            code, where it is far from its end after n steps).

    Example:

    ```python
    hyperkeras.models.IntervalRamp(steps=1000)  # of 2000 steps of a task
    ```

    References:
        - [Krukowski et al., 2024](https://arxiv.org/abs/2405.15444)
    """

    def __init__(self, steps: int, kappa_decay: float = 5e-5) -> None:
        super().__init__()
        self.steps = check_int("steps", steps, 1)
        self.kappa_decay = check_number("kappa_decay", kappa_decay, 0)
        self.step = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        check_layer("model", self.model, IntervalHypernetwork, "an IntervalHypernetwork")
        self.step = 0

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        if self.step <= self.steps:
            grown = self.step >= self.steps
            share = 1.0 if grown else self.step / max(self.steps - 1, 1)
            kappa = self.model.kappa
            if not grown:
                kappa = max(1 - self.kappa_decay * self.step, kappa)
            if keras.backend.backend() == "jax":  # whose trainer keeps the variables' values
                self.model.jax_state_sync()
            self.model.epsilon_share.assign(share)
            self.model.current_kappa.assign(kappa)
        self.step += 1

    def on_train_end(self, logs: dict | None = None) -> None:
        self.model.epsilon_share.assign(1.0)
        self.model.current_kappa.assign(self.model.kappa)
