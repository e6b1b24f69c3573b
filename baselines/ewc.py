"""Elastic weight consolidation (Kirkpatrick et al. 2017): springs hold old tasks' weights."""

import keras
from keras import ops

from baselines.checks import check_network, check_positive


def consolidation_penalty(weights, precision, weighted, constant, strength):
    r"""The price of leaving the weights of tasks learned before (Kirkpatrick et al. 2017, eq. 3).

    .. math:: \frac{\lambda}{2} \sum_t \sum_i F_{ti} (\theta_i - \theta^*_{ti})^2
        = \frac{\lambda}{2} \Big(\sum_i P_i \theta_i^2 - 2 Q_i \theta_i + R\Big)

    with P = Σ F, Q = Σ F θ*, R = Σ F θ*², so that memory does not grow with the tasks.

    Args:
        weights: List of tensors θ.
        precision: List of tensors P.
        weighted: List of tensors Q.
        constant: Scalar R.
        strength: Float λ.

    Returns:
        Scalar.
    """
    total = constant
    for theta, p, q in zip(weights, precision, weighted, strict=True):
        total = total + ops.sum(theta * (p * theta - 2 * q))
    return strength / 2 * total


@keras.saving.register_keras_serializable(package="baselines")
class EWC(keras.Model):
    """A network that learns tasks one after the other under elastic weight consolidation.

    After each task, `consolidate(fisher)` takes the diagonal of the Fisher information of its
    trainable weights, the mean squared gradient of the log-likelihood on the task's data.

    Args:
        network: Built Keras model.
        strength: Float λ > 0.

    References:
        - [Kirkpatrick et al., 2017](https://arxiv.org/abs/1612.00796)
    """

    def __init__(self, network, strength=1000.0, **kwargs):
        super().__init__(**kwargs)
        self.network = check_network("network", network)
        if not network.built:
            raise ValueError(
                "Received an invalid value for `network`, expected a built model. "
                f"Received: network={network!r}"
            )
        self.strength = check_positive("strength", strength)
        self.precision, self.weighted = [], []
        for i, weight in enumerate(network.trainable_weights):
            for name, kept in (("precision", self.precision), ("weighted", self.weighted)):
                kept.append(
                    self.add_weight(
                        name=f"{name}_{i}",
                        shape=weight.shape,
                        initializer="zeros",
                        trainable=False,
                    )
                )
        self.constant = self.add_weight(
            name="constant", shape=(), initializer="zeros", trainable=False
        )

    def build(self, input_shape):
        self.built = True

    def consolidate(self, fisher):
        """Holds the weights as they are now, each by its entry in `fisher`, a list of arrays."""
        weights = self.network.trainable_weights
        shapes = [tuple(weight.shape) for weight in weights]
        if [tuple(f.shape) for f in fisher] != shapes:
            raise ValueError(
                f"Expected `fisher` to have an array for each trained weight, of shapes {shapes}. "
                f"Received: shapes {[tuple(f.shape) for f in fisher]}"
            )
        constant = self.constant.value
        for theta, f, p, q in zip(weights, fisher, self.precision, self.weighted, strict=True):
            f = ops.cast(f, theta.dtype)
            p.assign(p.value + f)
            q.assign(q.value + f * theta.value)
            constant = constant + ops.sum(f * theta.value**2)
        self.constant.assign(constant)

    def call(self, inputs, training=None):
        if training:
            tensors = [
                [variable.value for variable in variables]
                for variables in (self.network.trainable_weights, self.precision, self.weighted)
            ]
            self.add_loss(consolidation_penalty(*tensors, self.constant.value, self.strength))
        return self.network(inputs)

    def compute_output_shape(self, input_shape):
        return self.network.compute_output_shape(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
            "strength": self.strength,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["network"] = keras.saving.deserialize_keras_object(config["network"])
        return cls(**config)
