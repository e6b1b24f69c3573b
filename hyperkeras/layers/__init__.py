"""Keras layers: state, configuration and shape checks around `hyperkeras.ops`."""

from hyperkeras.layers.affine_source import AffineSource
from hyperkeras.layers.box_source import BoxSource
from hyperkeras.layers.coordinate_generator import CoordinateGenerator
from hyperkeras.layers.dct_generator import DCTGenerator
from hyperkeras.layers.dense_source import DenseSource
from hyperkeras.layers.free_source import FreeSource
from hyperkeras.layers.generator import Generator
from hyperkeras.layers.glimpse import Glimpse
from hyperkeras.layers.hyper_conv2d import HyperConv2D
from hyperkeras.layers.hyper_dense import HyperDense
from hyperkeras.layers.hyper_lstm import HyperLSTM
from hyperkeras.layers.hyper_lstm_cell import HyperLSTMCell
from hyperkeras.layers.hyper_rnn import HyperRNN
from hyperkeras.layers.hyper_rnn_cell import HyperRNNCell
from hyperkeras.layers.kernel_generator import KernelGenerator
from hyperkeras.layers.layer_norm_lstm import LayerNormLSTM
from hyperkeras.layers.layer_norm_lstm_cell import LayerNormLSTMCell
from hyperkeras.layers.mip_encoding import MIPEncoding
from hyperkeras.layers.phm_conv2d import PHMConv2D
from hyperkeras.layers.phm_dense import PHMDense
from hyperkeras.layers.phm_layer import PHMLayer
from hyperkeras.layers.quicksort import Quicksort
from hyperkeras.layers.source import Source
from hyperkeras.layers.sparse_graph_conv import SparseGraphConv
from hyperkeras.layers.sparse_graph_transform import SparseGraphTransform
from hyperkeras.layers.sparse_hyperlayer import SparseHyperlayer
from hyperkeras.layers.top_k_source import TopKSource

__all__ = [
    "AffineSource",
    "BoxSource",
    "CoordinateGenerator",
    "DCTGenerator",
    "DenseSource",
    "FreeSource",
    "Generator",
    "Glimpse",
    "HyperConv2D",
    "HyperDense",
    "HyperLSTM",
    "HyperLSTMCell",
    "HyperRNN",
    "HyperRNNCell",
    "KernelGenerator",
    "LayerNormLSTM",
    "LayerNormLSTMCell",
    "MIPEncoding",
    "PHMConv2D",
    "PHMDense",
    "PHMLayer",
    "Quicksort",
    "Source",
    "SparseGraphConv",
    "SparseGraphTransform",
    "SparseHyperlayer",
    "TopKSource",
]
