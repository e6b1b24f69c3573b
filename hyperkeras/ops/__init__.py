"""Pure functions: one equation each. No variables, no layers.

Letters of the sparse hyperlayer's shapes, used throughout:

| letter | meaning |
|---|---|
| `b` | samples of the batch |
| `k` | continuous index tuples (means) |
| `i` | integer index tuples sampled for them |
| `c` | learned columns of a tuple |
| `r` | all columns of a tuple: output dims, then input dims |
"""

from hyperkeras.ops.contraction import contract
from hyperkeras.ops.duplicates import duplicate_mask
from hyperkeras.ops.sampling import sample_tuples
from hyperkeras.ops.scaling import scale_means, scale_sigmas
from hyperkeras.ops.weighting import distribute, proportions

__all__ = [
    "contract",
    "distribute",
    "duplicate_mask",
    "proportions",
    "sample_tuples",
    "scale_means",
    "scale_sigmas",
]
