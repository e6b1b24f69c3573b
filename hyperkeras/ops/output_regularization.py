"""The regularizer of continual hypernetworks (von Oswald et al. 2020)."""

from keras import ops

from hyperkeras.annotations import Tensor


def output_regularizer(generated: Tensor, stored: Tensor, beta: float = 0.01) -> Tensor:
    r"""Loss for changes of the weights of earlier tasks (von Oswald et al. 2020, eq. 2).

    .. math:: L = \frac{\beta}{T - 1} \sum_{t=1}^{T-1}
        \left\lVert f(e_t; \Theta^*) - f(e_t; \Theta) \right\rVert^2

    Args:
        generated: Tensor f(e_t; Θ) of shape `[T - 1, N]`, the N weights that each earlier task gets
            now.
        stored: Tensor f(e_t; Θ*) of the same shape, these weights before the current task. No
            gradient goes to them.
        beta: Float β, the factor of the loss (default 0.01).

    Returns:
        Scalar. With a random subset of the tasks it estimates the loss of all T − 1.

    Example:

    ```python
    stored = keras.ops.zeros((2, 3))  # two tasks, three weights
    hyperkeras.ops.output_regularizer(stored + 1.0, stored, beta=0.5)  # 1.5
    ```
    """
    change = ops.convert_to_tensor(generated) - ops.stop_gradient(stored)
    return beta * ops.mean(ops.sum(ops.square(change), axis=-1))
