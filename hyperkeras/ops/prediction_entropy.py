"""Entropy of predictions, by which a task is inferred (von Oswald et al. 2020)."""

from keras import ops

from hyperkeras.annotations import Tensor


def prediction_entropy(logits: Tensor) -> Tensor:
    r"""Entropy of the softmax of each row (von Oswald et al. 2020, HNET+ENT).

    .. math:: H = -\sum_k p_k \log p_k, \qquad p = \mathrm{softmax}(\mathrm{logits})

    A probability of 0 adds 0, where the product alone would be NaN. In doubt between models of
    several tasks, the one whose prediction has the lowest entropy is the surest.

    Args:
        logits: Tensor of shape `[..., K]`. Entries may be −∞, but not all of a row.

    Returns:
        Tensor of shape `[...]`, from 0 to log K.

    Example:

    ```python
    hyperkeras.ops.prediction_entropy([[0.0, 0.0], [1000.0, 0.0]])  # [0.6931, 0.0]
    ```
    """
    logits = ops.convert_to_tensor(logits)
    logp = ops.log_softmax(logits, axis=-1)
    p = ops.exp(logp)
    return -ops.sum(p * ops.where(p > 0, logp, ops.zeros_like(logp)), axis=-1)
