"""Layers whose kernels are generated."""
