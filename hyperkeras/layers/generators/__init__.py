"""Generators: layers that turn embeddings into tiles of kernels."""
