"""Pure functions of the sparse hyperlayer.

Letters of shapes:

| letter | meaning |
|---|---|
| `b` | samples of the batch |
| `k` | continuous index tuples (means) |
| `i` | integer index tuples sampled for them |
| `c` | learned columns of a tuple |
| `r` | all columns of a tuple: output dims, then input dims |
"""
