"""Pure functions of graph layers.

Letters of shapes:

| letter | meaning |
|---|---|
| `n`, `e` | nodes, edges: of one graph of a batch, or of all |
| `f` | features of a node |
| `k` | Gaussians of a node or of an edge |
| `t` | tuples, each of k Gaussians |
| `c` | candidates of a Gaussian |
"""
