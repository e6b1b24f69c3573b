"""Sparse hyperlayers: linear maps whose wiring is learned."""
