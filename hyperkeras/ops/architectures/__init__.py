"""Pure functions that make weights for the graph of an architecture.

Letters of shapes:

| letter | meaning |
|---|---|
| `g` | graphs |
| `n` | nodes of a graph, in topological order; padding comes last |
| `d` | features of a node |
| `m` | weights that are made at once |
"""
