"""Keras layers: state, configuration and shape checks around `hyperkeras.ops`."""

from hyperkeras.layers.affine_source import AffineSource
from hyperkeras.layers.box_source import BoxSource
from hyperkeras.layers.dense_source import DenseSource
from hyperkeras.layers.free_source import FreeSource
from hyperkeras.layers.glimpse import Glimpse
from hyperkeras.layers.source import Source
from hyperkeras.layers.sparse_hyperlayer import SparseHyperlayer
from hyperkeras.layers.top_k_source import TopKSource

__all__ = [
    "AffineSource",
    "BoxSource",
    "DenseSource",
    "FreeSource",
    "Glimpse",
    "Source",
    "SparseHyperlayer",
    "TopKSource",
]
