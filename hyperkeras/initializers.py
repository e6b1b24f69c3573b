"""How generated weights start."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="hyperkeras")
class LogitUniform(keras.initializers.RandomUniform):
    r"""Raw means that `scale_means` spreads evenly over the tensor.

    .. math:: \hat\mu = \log\frac{u}{1 - u}, \qquad u \sim U(\delta, 1 - \delta)

    so that sigmoid(μ̂) is uniform. A normal start, by contrast, crowds the tuples in the middle
    of the tensor, from where the far corners give them no gradient.

    Args:
        margin: Float δ in (0, 0.5): how far sigmoid(μ̂) stays from 0 and 1, where its gradient
            vanishes.
        seed: Integer or `keras.random.SeedGenerator`, or None for a random one.
    """

    def __init__(self, margin=0.01, seed=None):
        if not 0 < margin < 0.5:
            raise ValueError(
                "Received an invalid value for `margin`, expected a number between 0 and 0.5. "
                f"Received: margin={margin}"
            )
        super().__init__(minval=margin, maxval=1 - margin, seed=seed)
        self.margin = margin

    def __call__(self, shape, dtype=None):
        u = super().__call__(shape, dtype)
        return ops.log(u) - ops.log1p(-u)

    def get_config(self):
        return {"margin": self.margin, "seed": super().get_config()["seed"]}


__all__ = ["LogitUniform"]
