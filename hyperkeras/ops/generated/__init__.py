"""Pure functions of generated weights.

Letters of shapes:

| letter | meaning |
|---|---|
| `f` | height and width of a kernel |
| `N_in`, `N_out` | input and output channels of a tile |
| `N_z` | numbers of an embedding |
| `d`, `h` | hidden numbers of a generator |
"""
