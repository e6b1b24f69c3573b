"""Pure functions: one equation each. No variables, no layers.

Letters of shapes, those of the sparse hyperlayer:

| letter | meaning |
|---|---|
| `b` | samples of the batch |
| `k` | continuous index tuples (means) |
| `i` | integer index tuples sampled for them |
| `c` | learned columns of a tuple |
| `r` | all columns of a tuple: output dims, then input dims |

and of generated kernels':

| letter | meaning |
|---|---|
| `f` | height and width of a kernel |
| `N_in`, `N_out` | input and output channels of a tile |
| `N_z` | numbers of an embedding |
| `d`, `h` | hidden numbers of a generator |

and of the recurrent layers':

| letter | meaning |
|---|---|
| `t` | steps of a sequence |
| `x` | features of the input |
| `n` | units of the large network |
| `m` | units of the small network, the hypernetwork |
| `e` | numbers of an embedding |

and of sorting's:

| letter | meaning |
|---|---|
| `n` | elements of a set |
| `z` | numbers of an element |
| `m` | choice vectors that are weighed against each other |

and of graphs':

| letter | meaning |
|---|---|
| `n`, `e` | nodes, edges: of one graph of a batch, or of all |
| `f` | features of a node |
| `k` | Gaussians of a node or of an edge |
| `t` | tuples, each of k Gaussians |
| `c` | candidates of a Gaussian |
"""

from hyperkeras.ops.balanced import mean_half_permutation
from hyperkeras.ops.continual import output_regularizer
from hyperkeras.ops.contraction import contract
from hyperkeras.ops.duplicates import duplicate_mask
from hyperkeras.ops.encoding import mip_encoding
from hyperkeras.ops.graph_candidates import candidate_nodes, candidate_shares
from hyperkeras.ops.graphs import disjoint_union, neighbour_shares, propagate
from hyperkeras.ops.hyper_lstm import hyper_lstm_step
from hyperkeras.ops.hyper_rnn import full_hyper_rnn_step, hyper_rnn_step
from hyperkeras.ops.hyperfan import hyperfan_in, hyperfan_out
from hyperkeras.ops.kernels import coordinate_kernel, dct_kernel, generate_kernel, join_tiles
from hyperkeras.ops.kronecker import kronecker_sum
from hyperkeras.ops.layer_norm_lstm import layer_norm_lstm_step, normalize
from hyperkeras.ops.per_sample import (
    per_sample_conv,
    per_sample_dense,
    per_sample_depthwise_conv,
    per_sample_embedding,
)
from hyperkeras.ops.row_scaling import generate_rows, weight_changes
from hyperkeras.ops.sampling import sample_tuples
from hyperkeras.ops.scaling import scale_means, scale_sigmas
from hyperkeras.ops.sorting import (
    balanced_choices,
    bucket_bounds,
    bucket_pivots,
    choice_logits,
    choice_shares,
    half_permutation,
    sort_log_likelihood,
)
from hyperkeras.ops.weighting import distribute, proportions

__all__ = [
    "balanced_choices",
    "bucket_bounds",
    "bucket_pivots",
    "candidate_nodes",
    "candidate_shares",
    "choice_logits",
    "choice_shares",
    "contract",
    "coordinate_kernel",
    "dct_kernel",
    "disjoint_union",
    "distribute",
    "duplicate_mask",
    "full_hyper_rnn_step",
    "generate_kernel",
    "generate_rows",
    "half_permutation",
    "hyper_lstm_step",
    "hyper_rnn_step",
    "hyperfan_in",
    "hyperfan_out",
    "join_tiles",
    "kronecker_sum",
    "layer_norm_lstm_step",
    "mean_half_permutation",
    "mip_encoding",
    "neighbour_shares",
    "normalize",
    "output_regularizer",
    "per_sample_conv",
    "per_sample_dense",
    "per_sample_depthwise_conv",
    "per_sample_embedding",
    "propagate",
    "proportions",
    "sample_tuples",
    "scale_means",
    "scale_sigmas",
    "sort_log_likelihood",
    "weight_changes",
]
