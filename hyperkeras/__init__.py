"""hyperkeras: networks that produce the weights of other networks, for Keras 3."""

from hyperkeras import initializers, layers, models, ops

__version__ = "0.1.0"

__all__ = ["initializers", "layers", "models", "ops"]
