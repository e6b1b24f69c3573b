"""Pure functions of the sparse, differentiable sort.

Letters of shapes:

| letter | meaning |
|---|---|
| `n` | elements of a set |
| `z` | numbers of an element |
| `m` | choice vectors that are weighed against each other |
"""
