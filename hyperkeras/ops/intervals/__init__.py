"""Pure functions of interval arithmetic: what a layer can give for all inputs and weights of a box.

A box is a pair of tensors (lower, upper). A tensor in place of a box is a single point.

Letters of shapes:

| letter | meaning |
|---|---|
| `b` | samples of the batch |
| `i`, `o` | inputs and outputs of a layer |
| `t` | tasks |
| `e` | numbers of an embedding |
"""
