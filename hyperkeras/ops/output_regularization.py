"""What keeps a hypernetwork from forgetting (von Oswald et al. 2020)."""

from keras import ops

from hyperkeras.annotations import Tensor


def output_regularizer(generated: Tensor, stored: Tensor, beta: float = 0.01) -> Tensor:
    r"""The price of other weights for tasks learned before (von Oswald et al. 2020, eq. 2).

    .. math:: L = \frac{\beta}{T - 1} \sum_{t=1}^{T-1}
        \left\lVert f(e_t; \Theta^*) - f(e_t; \Theta) \right\rVert^2

    Args:
        generated: Tensor f(e_t; Θ) of shape `[T - 1, N]`: for each task its N weights now.
        stored: Tensor f(e_t; Θ*) of the same shape: as they were before the task at hand.
        beta: Float β.

    Returns:
        Scalar. With a random subset of tasks instead of all T − 1 it estimates theirs.
    """
    change = ops.convert_to_tensor(generated) - ops.stop_gradient(stored)
    return beta * ops.mean(ops.sum(ops.square(change), axis=-1))
