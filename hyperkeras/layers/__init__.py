"""Keras layers: state, configuration and shape checks around `hyperkeras.ops`."""

from hyperkeras.layers.architectures.flat_encoder import FlatEncoder
from hyperkeras.layers.architectures.gated_graph_encoder import GatedGraphEncoder
from hyperkeras.layers.architectures.matrix_decoder import MatrixDecoder
from hyperkeras.layers.generated.hyper_conv2d import HyperConv2D
from hyperkeras.layers.generated.hyper_dense import HyperDense
from hyperkeras.layers.generators.base_generator import Generator
from hyperkeras.layers.generators.coordinate_generator import CoordinateGenerator
from hyperkeras.layers.generators.dct_generator import DCTGenerator
from hyperkeras.layers.generators.kernel_generator import KernelGenerator
from hyperkeras.layers.graph.sparse_graph_conv import SparseGraphConv
from hyperkeras.layers.graph.sparse_graph_transform import SparseGraphTransform
from hyperkeras.layers.heads.base_head import Head
from hyperkeras.layers.heads.chunked_head import ChunkedHead
from hyperkeras.layers.heads.dense_head import DenseHead
from hyperkeras.layers.heads.layerwise_head import LayerwiseHead
from hyperkeras.layers.heads.low_rank_head import LowRankHead
from hyperkeras.layers.heads.random_head import RandomHead
from hyperkeras.layers.heads.recurrent_head import RecurrentHead
from hyperkeras.layers.hypercomplex.base_phm_layer import PHMLayer
from hyperkeras.layers.hypercomplex.phm_conv2d import PHMConv2D
from hyperkeras.layers.hypercomplex.phm_dense import PHMDense
from hyperkeras.layers.mip_encoding import MIPEncoding
from hyperkeras.layers.quicksort import Quicksort
from hyperkeras.layers.rnn.hyper_lstm import HyperLSTM
from hyperkeras.layers.rnn.hyper_lstm_cell import HyperLSTMCell
from hyperkeras.layers.rnn.hyper_rnn import HyperRNN
from hyperkeras.layers.rnn.hyper_rnn_cell import HyperRNNCell
from hyperkeras.layers.rnn.layer_norm_lstm import LayerNormLSTM
from hyperkeras.layers.rnn.layer_norm_lstm_cell import LayerNormLSTMCell
from hyperkeras.layers.sine import Sine
from hyperkeras.layers.sources.affine_source import AffineSource
from hyperkeras.layers.sources.base_source import Source
from hyperkeras.layers.sources.box_source import BoxSource
from hyperkeras.layers.sources.dense_source import DenseSource
from hyperkeras.layers.sources.dilation_source import DilationSource
from hyperkeras.layers.sources.fixed_source import FixedSource
from hyperkeras.layers.sources.free_source import FreeSource
from hyperkeras.layers.sources.top_k_source import TopKSource
from hyperkeras.layers.sparse.dilated_conv1d import DilatedConv1D
from hyperkeras.layers.sparse.dilated_conv2d import DilatedConv2D
from hyperkeras.layers.sparse.glimpse import Glimpse
from hyperkeras.layers.sparse.sparse_hyperlayer import SparseHyperlayer

__all__ = [
    "AffineSource",
    "BoxSource",
    "ChunkedHead",
    "CoordinateGenerator",
    "DCTGenerator",
    "DenseHead",
    "DenseSource",
    "DilatedConv1D",
    "DilatedConv2D",
    "DilationSource",
    "FixedSource",
    "FlatEncoder",
    "FreeSource",
    "GatedGraphEncoder",
    "Generator",
    "Glimpse",
    "Head",
    "HyperConv2D",
    "HyperDense",
    "HyperLSTM",
    "HyperLSTMCell",
    "HyperRNN",
    "HyperRNNCell",
    "KernelGenerator",
    "LayerNormLSTM",
    "LayerNormLSTMCell",
    "LayerwiseHead",
    "LowRankHead",
    "MIPEncoding",
    "MatrixDecoder",
    "PHMConv2D",
    "PHMDense",
    "PHMLayer",
    "Quicksort",
    "RandomHead",
    "RecurrentHead",
    "Sine",
    "Source",
    "SparseGraphConv",
    "SparseGraphTransform",
    "SparseHyperlayer",
    "TopKSource",
]
