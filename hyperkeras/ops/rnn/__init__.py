"""Pure functions of recurrent layers whose weights change at every step.

Letters of shapes:

| letter | meaning |
|---|---|
| `t` | steps of a sequence |
| `x` | features of the input |
| `n` | units of the large network |
| `m` | units of the small network, the hypernetwork |
| `e` | numbers of an embedding |
"""
