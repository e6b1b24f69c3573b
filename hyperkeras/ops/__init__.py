"""Pure functions: one equation each. No variables, no layers.

Each family's package has the glossary of its shape letters.
"""

from hyperkeras.ops.architectures.propagation import gated_sweep, path_weights
from hyperkeras.ops.architectures.weight_shapes import (
    fit_to_shape,
    scale_by_fan_in,
    scale_by_norm,
)
from hyperkeras.ops.cosine_distances import cosine_distances
from hyperkeras.ops.encodings import mip_encoding
from hyperkeras.ops.generated.hyperfan import hyperfan_in, hyperfan_out
from hyperkeras.ops.generated.kernels import (
    coordinate_kernel,
    dct_kernel,
    generate_kernel,
    join_tiles,
)
from hyperkeras.ops.generated.kronecker import kronecker_sum
from hyperkeras.ops.generated.per_sample import (
    per_sample_conv,
    per_sample_dense,
    per_sample_depthwise_conv,
    per_sample_embedding,
)
from hyperkeras.ops.graph.candidates import candidate_nodes, candidate_proportions
from hyperkeras.ops.graph.message_passing import disjoint_union, neighbor_proportions, propagate
from hyperkeras.ops.intervals.boxes import common_box, embedding_box
from hyperkeras.ops.intervals.monotone import interval_monotone
from hyperkeras.ops.intervals.products import interval_conv, interval_dense
from hyperkeras.ops.intervals.worst_case import worst_case_logits
from hyperkeras.ops.output_regularization import output_regularizer
from hyperkeras.ops.prediction_entropy import prediction_entropy
from hyperkeras.ops.rnn.hyper_lstm import hyper_lstm_step
from hyperkeras.ops.rnn.hyper_rnn import full_hyper_rnn_step, hyper_rnn_step
from hyperkeras.ops.rnn.layer_norm_lstm import layer_norm_lstm_step, layer_normalization
from hyperkeras.ops.rnn.row_scaling import generate_rows, weight_changes
from hyperkeras.ops.sorting.expected_permutation import mean_half_permutation
from hyperkeras.ops.sorting.quicksort import (
    balanced_choices,
    bucket_bounds,
    bucket_pivots,
    choice_logits,
    choice_proportions,
    half_permutation,
    sort_log_likelihood,
)
from hyperkeras.ops.sparse.contraction import contract
from hyperkeras.ops.sparse.duplicates import duplicate_mask
from hyperkeras.ops.sparse.index_space import scale_means, scale_sigmas
from hyperkeras.ops.sparse.proportions import distribute, proportions
from hyperkeras.ops.sparse.sampling import sample_tuples

__all__ = [
    "balanced_choices",
    "bucket_bounds",
    "bucket_pivots",
    "candidate_nodes",
    "candidate_proportions",
    "choice_logits",
    "choice_proportions",
    "common_box",
    "contract",
    "coordinate_kernel",
    "cosine_distances",
    "dct_kernel",
    "disjoint_union",
    "distribute",
    "duplicate_mask",
    "embedding_box",
    "fit_to_shape",
    "full_hyper_rnn_step",
    "gated_sweep",
    "generate_kernel",
    "generate_rows",
    "half_permutation",
    "hyper_lstm_step",
    "hyper_rnn_step",
    "hyperfan_in",
    "hyperfan_out",
    "interval_conv",
    "interval_dense",
    "interval_monotone",
    "join_tiles",
    "kronecker_sum",
    "layer_norm_lstm_step",
    "layer_normalization",
    "mean_half_permutation",
    "mip_encoding",
    "neighbor_proportions",
    "output_regularizer",
    "path_weights",
    "per_sample_conv",
    "per_sample_dense",
    "per_sample_depthwise_conv",
    "per_sample_embedding",
    "prediction_entropy",
    "propagate",
    "proportions",
    "sample_tuples",
    "scale_by_fan_in",
    "scale_by_norm",
    "scale_means",
    "scale_sigmas",
    "sort_log_likelihood",
    "weight_changes",
    "worst_case_logits",
]
