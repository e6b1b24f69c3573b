"""What wraps or makes a whole network."""

from hyperkeras.models.freeze import freeze
from hyperkeras.models.wide_resnet import wide_resnet

__all__ = ["freeze", "wide_resnet"]
