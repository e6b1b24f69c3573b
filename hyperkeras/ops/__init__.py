"""Pure functions: one equation each. No variables, no layers.

Letters of the sparse hyperlayer's shapes, used throughout:

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
"""

from hyperkeras.ops.contraction import contract
from hyperkeras.ops.duplicates import duplicate_mask
from hyperkeras.ops.kernels import coordinate_kernel, dct_kernel, generate_kernel, join_tiles
from hyperkeras.ops.sampling import sample_tuples
from hyperkeras.ops.scaling import scale_means, scale_sigmas
from hyperkeras.ops.weighting import distribute, proportions

__all__ = [
    "contract",
    "coordinate_kernel",
    "dct_kernel",
    "distribute",
    "duplicate_mask",
    "generate_kernel",
    "join_tiles",
    "proportions",
    "sample_tuples",
    "scale_means",
    "scale_sigmas",
]
